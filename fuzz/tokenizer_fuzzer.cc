// Bytes as a tokenizer.json: parsing, and splitting the probe text with its pre-tokenizer, either
// work or throw qwodel::Error.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "qwodel/error.h"
#include "tokenizer/pre_families.h"
#include "tokenizer/tokenizer_json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const qwodel::TokenizerJson tokenizer =
        qwodel::parse_tokenizer_json({reinterpret_cast<const char*>(data), size}, "input");
    const qwodel::PreTokenizer splitter(tokenizer.pre_tokenizer, "input");
    qwodel::derive_pre_name(splitter, {}, "input");
  } catch (const qwodel::Error&) {
  }
  return 0;
}
