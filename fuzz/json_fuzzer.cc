#include "io/json.h"

#include "fuzz/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return qwodel::fuzz([&] {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const qwodel::Json document = qwodel::parse_json(text, "fuzz");
    // What was accepted can be written and read again.
    if (qwodel::parse_json(document.dump(), "fuzz") != document) std::abort();
  });
}
