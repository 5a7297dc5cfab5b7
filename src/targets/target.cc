#include "targets/target.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "qwodel/error.h"
#include "targets/awq/awq_target.h"
#include "targets/compressed_tensors/compressed_tensors_target.h"
#include "targets/coreml/coreml_target.h"
#include "targets/gguf/gguf_target.h"
#include "targets/gptq/gptq_target.h"

namespace qwodel {
namespace {

constexpr std::array kBackends = {
    Backend{"gguf", "llama.cpp, Ollama, LM Studio", "Q4_K_M", "", gguf_formats, parse_gguf_format},
    Backend{"awq", "vLLM, SGLang, LMDeploy, transformers", "g128", "", awq_formats,
            parse_awq_format},
    Backend{"gptq", "vLLM, SGLang, LMDeploy, transformers", "4bit-g128", "", gptq_formats,
            parse_gptq_format},
    Backend{"ct", "vLLM, SGLang, transformers", "W4A16", "", compressed_tensors_formats,
            parse_compressed_tensors_format},
    Backend{"coreml", "iOS, macOS", "int4", "", coreml_formats, parse_coreml_format},
};

const Backend* find_backend(std::string_view name) {
  const auto row = std::ranges::find(kBackends, name, &Backend::name);
  return row == kBackends.end() ? nullptr : &*row;
}

std::string backend_names() {
  std::vector<std::string_view> names;
  for (const Backend& backend : kBackends) names.push_back(backend.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

std::string built_names() {
  std::vector<std::string_view> names;
  for (const Backend& backend : kBackends) {
    if (backend.available()) names.push_back(backend.name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

std::span<const Backend> backends() { return kBackends; }

void refuse_format(const std::string& found, const std::string& expected) {
  throw Error(
      ErrorCode::usage,
      {.where = "--to", .found = found, .expected = expected, .remedy = "see qwodel list-formats"});
}

std::vector<Format> formats(std::string_view backend) {
  const Backend* row = find_backend(backend);
  if (row == nullptr) {
    throw FormatNotSupportedError({.where = "backend",
                                   .found = std::string(backend),
                                   .expected = fmt::format("one of {}", backend_names()),
                                   .remedy = ""});
  }
  return row->formats == nullptr ? std::vector<Format>() : row->formats();
}

Target parse_target(const std::string& text) {
  const std::size_t colon = text.find(':');
  const Backend* backend = find_backend(text.substr(0, colon));
  if (backend == nullptr) {
    refuse_format(text, fmt::format("BACKEND:FORMAT with one of {}", backend_names()));
  }
  if (!backend->available()) {
    throw FormatNotSupportedError(
        {.where = "--to",
         .found = fmt::format("the target {}", text),
         .expected = fmt::format("one that this version writes: {}", built_names()),
         .remedy = "use gguf:Q4_K_M or wait for a later version"});
  }
  Target target = backend->parse(colon == std::string::npos ? std::string(backend->default_format)
                                                            : text.substr(colon + 1));
  target.backend = backend->name;
  return target;
}

std::vector<Target> parse_targets(const std::vector<std::string>& texts) {
  std::vector<Target> targets;
  for (const std::string& text : texts) {
    for (std::size_t start = 0; start <= text.size();) {
      const std::size_t comma = std::min(text.find(',', start), text.size());
      targets.push_back(parse_target(text.substr(start, comma - start)));
      start = comma + 1;
    }
  }
  if (targets.empty()) refuse_format("nothing", "at least one target such as gguf:Q4_K_M");
  return targets;
}

}  // namespace qwodel
