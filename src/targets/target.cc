#include "targets/target.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::array kBackends = {
    Backend{"gguf", "llama.cpp, Ollama, LM Studio", "", true},
    Backend{"awq", "vLLM, SGLang, LMDeploy, transformers", "4-bit, group sizes 32, 64, 128", false},
    Backend{"gptq", "vLLM, SGLang, LMDeploy, transformers", "2, 3, 4, 8-bit", false},
    Backend{"ct", "vLLM, SGLang, transformers", "W4A16, W8A16, FP8", false},
    Backend{"coreml", "iOS, macOS", "float16, int8_linear, int4, int6", false},
};

[[noreturn]] void refuse(const std::string& found, const std::string& expected) {
  throw Error(
      ErrorCode::usage,
      {.where = "--to", .found = found, .expected = expected, .remedy = "see qwodel list-formats"});
}

const Backend* find_backend(std::string_view name) {
  const auto row = std::find_if(kBackends.begin(), kBackends.end(),
                                [name](const Backend& b) { return b.name == name; });
  return row == kBackends.end() ? nullptr : &*row;
}

std::string backend_names() {
  std::vector<std::string_view> names;
  for (const Backend& backend : kBackends) names.push_back(backend.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

std::span<const Backend> backends() { return kBackends; }

std::vector<Format> formats(std::string_view backend) {
  const Backend* row = find_backend(backend);
  if (row == nullptr) {
    throw FormatNotSupportedError({.where = "backend",
                                   .found = std::string(backend),
                                   .expected = fmt::format("one of {}", backend_names()),
                                   .remedy = ""});
  }
  std::vector<Format> all;
  if (row->name != "gguf") return all;
  for (const FileTypeInfo& type : file_types()) {
    all.push_back({std::string(type.name), std::string(type.summary),
                   info(type.default_type).bits_per_weight()});
  }
  return all;
}

Target parse_target(const std::string& text) {
  const std::size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  const Backend* backend = find_backend(name);
  if (backend == nullptr)
    refuse(text, fmt::format("BACKEND:FORMAT with one of {}", backend_names()));
  if (!backend->available) {
    throw FormatNotSupportedError({.where = "--to",
                                   .found = fmt::format("the target {}", text),
                                   .expected = "gguf:TYPE, the only one this version writes",
                                   .remedy = "use gguf:Q4_K_M or wait for a later version"});
  }
  const std::string format = colon == std::string::npos ? "Q4_K_M" : text.substr(colon + 1);
  const auto file_type = file_type_from_name(format);
  if (!file_type) refuse(format, "a GGUF type such as Q4_K_M");
  if (*file_type == FileType::nvfp4) {
    throw FormatNotSupportedError(
        {.where = "--to",
         .found = "gguf:NVFP4",
         .expected = "another file type: llama.cpp refuses NVFP4 for whole files",
         .remedy = "use a --tensor-type REGEX=NVFP4 override within another type"});
  }
  return {name, *file_type, std::string(info(*file_type).name)};
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
  if (targets.empty()) refuse("nothing", "at least one target such as gguf:Q4_K_M");
  return targets;
}

}  // namespace qwodel
