#include "models/describe.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "core/checked.h"
#include "io/json.h"
#include "models/general_metadata.h"
#include "models/metadata.h"
#include "models/model_spec.h"
#include "models/registry.h"
#include "models/tensor_rules.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kQuantizationVersion = 2;  // GGML_QNT_VERSION

// The first tensor that a class has no rule for. A config.json that its hooks cannot read says
// nothing about the class.
std::optional<std::string> unknown_to(const ModelClass& row, const LoadedConfig& config,
                                      std::span<const SourceTensor> tensors,
                                      const ModelOptions& options,
                                      const std::filesystem::path& directory) {
  try {
    return first_unknown_tensor({row, config, options, directory, tensors, 0});
  } catch (const ValidationError&) {
    return std::nullopt;
  }
}

[[noreturn]] void throw_unknown_class(const std::string& name, const LoadedConfig& config,
                                      std::span<const SourceTensor> tensors,
                                      const ModelOptions& options,
                                      const std::filesystem::path& directory) {
  const std::string nearest(nearest_model_class(name));
  const ModelClass& row = *find_model_class(nearest);
  const auto unknown = unknown_to(row, config, tensors, options, directory);
  std::string expected = "a known class; the nearest is " + nearest;
  if (unknown) expected += fmt::format(", which has no rule for tensor {}", *unknown);
  const ModelClass& llama = *find_architecture("llama");
  std::string remedy;
  if (!unknown_to(llama, config, tensors, options, directory)) {
    remedy = "every tensor has a Llama's name: if it computes like one, pass --arch-as llama";
  }
  throw FormatNotSupportedError({.where = "config.json, architectures",
                                 .found = "class " + name,
                                 .expected = std::move(expected),
                                 .remedy = std::move(remedy)});
}

// Of the nested text configuration, or of the class that nests it when it does not say.
const ConfigDefaults* defaults_of(const Json& config) {
  const Json* text = text_config_of(config);
  for (const Json* object : {text, &config}) {
    if (object == nullptr) continue;
    const Json* type = find_member(*object, "model_type");
    if (type == nullptr || !type->is_string()) continue;
    if (const ConfigDefaults* known = find_config_defaults(type->get<std::string>())) return known;
  }
  return nullptr;
}

const ModelClass* chosen_row(const std::string& name, const ModelOptions& options) {
  const ModelClass* row = find_model_class(name);
  if (row != nullptr || options.arch_as.empty()) return row;
  row = find_architecture(options.arch_as);
  if (row != nullptr) return row;
  throw FormatNotSupportedError({.where = "--arch-as",
                                 .found = options.arch_as,
                                 .expected = "a GGUF architecture such as llama",
                                 .remedy = {}});
}

// gguf-py: get_total_parameter_count.
ParameterCount count_parameters(std::span<const ModelTensor> tensors) {
  ParameterCount count;
  std::uint64_t expert_sum = 0;
  std::uint64_t expert_tensors = 0;
  for (const ModelTensor& tensor : tensors) {
    const std::uint64_t size = checked_product(tensor.shape).value_or(0);
    count.total += size;
    const bool stacked =
        tensor.name.find("_exps.") != std::string::npos && tensor.shape.size() >= 3;
    if (!stacked) {
      count.shared += size;
      continue;
    }
    const std::size_t axis = tensor.shape.size() - (tensor.name.ends_with(".bias") ? 2 : 3);
    const std::uint64_t experts = std::max<std::uint64_t>(tensor.shape[axis], 1);
    count.expert += size / experts;
    expert_sum += experts;
    ++expert_tensors;
  }
  count.expert_count = expert_tensors == 0 ? 0 : expert_sum / expert_tensors;
  return count;
}

}  // namespace

ModelChoice choose_model(const std::filesystem::path& directory, const Json& config,
                         std::span<const SourceTensor> tensors, const ModelOptions& options) {
  const std::string name = model_class_of(config);
  ModelChoice choice{nullptr, load_config(config, defaults_of(config))};
  choice.row = chosen_row(name, options);
  if (choice.row == nullptr) throw_unknown_class(name, choice.config, tensors, options, directory);
  return choice;
}

ModelSpec describe_without_vocabulary(const ModelContext& model, const Json& config) {
  const ModelClass& row = model.row;
  ModelSpec spec;
  spec.architecture = row.architecture;
  assemble_tensors(model, spec);
  MetadataWriter out(row.architecture, spec.metadata);
  spec.metadata.set_string("general.architecture", row.architecture);
  if (row.early_metadata != nullptr) row.early_metadata(model, out);
  add_general_metadata(model.directory, config, model.options.model_name,
                       count_parameters(spec.tensors), spec.metadata);
  row.metadata(model, out);
  spec.metadata.set_u32("general.quantization_version", kQuantizationVersion);
  spec.hints = graph_hints(model.config, model.layers);
  return spec;
}

}  // namespace qwodel
