// Bytes as a tokenizer.json, and behind a zero byte a text: parsing, splitting the probe text with
// the pre-tokenizer, and tokenizing the text and back, either work or throw qwodel::Error.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "qwodel/error.h"
#include "tokenizer/pipeline_tokenizer.h"
#include "tokenizer/pre_families.h"
#include "tokenizer/tokenizer_json.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(input.find('\0'), size);
  const std::string_view text = input.substr(std::min(end + 1, size));
  try {
    qwodel::TokenizerFiles files;
    files.tokenizer = qwodel::parse_tokenizer_json(input.substr(0, end), "input");
    files.tokenizer_config = files.model_config = qwodel::Json::object();
    try {
      const qwodel::PreTokenizer splitter(files.tokenizer->pre_tokenizer, "input");
      qwodel::derive_pre_name(splitter, {}, "input");
    } catch (const qwodel::Error&) {
    }
    const qwodel::Tokenizer tokenizer(qwodel::make_pipeline_tokenizer(files, "input"));
    tokenizer.decode(tokenizer.encode(text.empty() ? qwodel::probe_text() : text));
  } catch (const qwodel::Error&) {
  }
  return 0;
}
