#include "sources/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>

#include "io/json.h"
#include "qwodel/error.h"
#include "sources/parts.h"
#include "sources/transposed.h"

namespace qwodel {
namespace {

constexpr std::array kSchemes = {
    SourceScheme{"awq", collect_awq},
    SourceScheme{"compressed-tensors", collect_compressed_tensors},
    SourceScheme{"fbgemm_fp8", collect_fp8},
    SourceScheme{"fp8", collect_fp8},
    SourceScheme{"gptq", collect_gptq},
};

// The object that says how weights are stored: under one of two keys of config.json or of its part
// for the text model; null when there is none.
Json quantization_of(const Json& config) {
  const Json* text = find_member(config, "text_config");
  for (const Json* owner : {&config, text}) {
    if (owner == nullptr) continue;
    for (const char* key : {"quantization_config", "compression_config"}) {
      const Json* found = find_member(*owner, key);
      if (found != nullptr && found->is_object()) return *found;
    }
  }
  return nullptr;
}

// Older GPTQ and AWQ checkpoints keep it in a file of its own.
Json quantization_file(const Checkpoint& checkpoint) {
  struct OldFile {
    const char* name;
    const char* method;
  };
  for (const OldFile& file :
       {OldFile{"quantize_config.json", "gptq"}, OldFile{"quant_config.json", "awq"}}) {
    const auto path = checkpoint.directory() / file.name;
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) continue;
    Json quantization = read_json(path);
    if (!quantization.is_object()) continue;
    if (!quantization.contains("quant_method")) quantization["quant_method"] = file.method;
    return quantization;
  }
  throw FormatNotSupportedError({.where = checkpoint.directory().string(),
                                 .found = "quantized tensors (\".qweight\")",
                                 .expected = "quantization_config in config.json",
                                 .remedy = "use the config.json of the quantized checkpoint"});
}

const SourceScheme& scheme_of(const Json& quantization) {
  const Json* value = find_member(quantization, "quant_method");
  const std::string method =
      value != nullptr && value->is_string() ? value->get<std::string>() : "none named";
  const auto scheme = std::ranges::find(kSchemes, method, &SourceScheme::method);
  if (scheme != kSchemes.end()) return *scheme;
  std::string known;
  for (const SourceScheme& row : kSchemes) {
    known += (known.empty() ? "" : ", ") + std::string(row.method);
  }
  throw FormatNotSupportedError({.where = "quantization_config",
                                 .found = fmt::format("quantization method \"{}\"", method),
                                 .expected = "one of " + known,
                                 .remedy = "use the original, unquantized checkpoint"});
}

}  // namespace

Weights::Weights(const Checkpoint& checkpoint) {
  Parts parts(checkpoint);
  if (!checkpoint.gguf_metadata()) {
    Json quantization = quantization_of(checkpoint.config());
    if (quantization.is_null() && !parts.bases_of(".qweight").empty()) {
      quantization = quantization_file(checkpoint);
    }
    if (!quantization.is_null()) scheme_of(quantization).collect(quantization, parts);
  }
  tensors_ = parts.finish();
  for (const auto& tensor : tensors_) by_name_.emplace(tensor->name(), tensor.get());
}

const WeightTensor* Weights::find(std::string_view name) const {
  const auto entry = by_name_.find(name);
  return entry == by_name_.end() ? nullptr : entry->second;
}

void Weights::transpose(std::string_view name) {
  const auto entry = by_name_.find(name);
  transposed_.push_back(make_transposed_tensor(*entry->second));
  entry->second = transposed_.back().get();
}

}  // namespace qwodel
