#include "plan/tensor_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <numeric>
#include <regex>

#include "codecs/codec.h"
#include "formats/tensor_info.h"
#include "plan/type_mix.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

// The number N of "blk.N.", or -1: tensors outside the layers come first.
int layer_number(std::string_view name) {
  int layer = -1;
  if (!name.starts_with("blk.")) return layer;
  const std::string_view rest = name.substr(4);
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), layer);
  const bool valid = error == std::errc() && end != rest.data() + rest.size() && *end == '.';
  return valid ? layer : -1;
}

std::vector<std::size_t> artifact_order(const std::vector<PlanInput>& inputs) {
  std::vector<std::size_t> order(inputs.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const int layer_a = layer_number(inputs[a].name);
    const int layer_b = layer_number(inputs[b].name);
    return layer_a != layer_b ? layer_a < layer_b : inputs[a].name < inputs[b].name;
  });
  return order;
}

class Planner {
 public:
  Planner(const std::vector<PlanInput>& inputs, const QuantizationTraits& traits,
          const PlanOptions& options, const ImportanceMatrix* importance, bool dry_run)
      : inputs_(inputs),
        options_(options),
        importance_(importance),
        dry_run_(dry_run),
        mix_(options.file_type, traits, names(inputs), importance != nullptr) {}

  TensorPlan run() {
    for (const std::size_t index : artifact_order(inputs_)) add(index);
    if (plan_.fallbacks > 0) {
      plan_.warnings.push_back(
          fmt::format("{} of {} tensors have rows that do not fit their type and fall back to a "
                      "related one",
                      plan_.fallbacks, plan_.tensors.size()));
    }
    return std::move(plan_);
  }

 private:
  static std::vector<std::string> names(const std::vector<PlanInput>& inputs) {
    std::vector<std::string> all;
    for (const PlanInput& input : inputs) all.push_back(input.name);
    return all;
  }

  void add(std::size_t index) {
    const PlanInput& input = inputs_[index];
    PlannedTensor tensor{
        .input = index, .type = input.stored, .reason = "kept: not a matrix weight"};
    const bool kept_output = options_.keep_output && input.name == "output.weight";
    if (may_be_quantized(input.name, input.shape) && !kept_output) {
      TypeChoice choice = choose(input);
      tensor.type = choice.type;
      tensor.reason = std::move(choice.reason);
      tensor.quantized = tensor.type != input.stored;
    }
    if (tensor.quantized) set_importance(input, tensor);
    const auto bytes = bytes_of(tensor.type, element_count(input.shape));
    if (!bytes || input.shape.empty() || input.shape.back() % info(tensor.type).block_size != 0) {
      throw ValidationError(
          {.where = fmt::format("tensor {}", input.name),
           .found = fmt::format("shape {}", shape_text(input.shape)),
           .expected = fmt::format("rows of whole blocks of {} for {}",
                                   info(tensor.type).block_size, info(tensor.type).name),
           .remedy = "choose another type for it"});
    }
    tensor.bytes = *bytes;
    plan_.data_bytes += *bytes;
    plan_.tensors.push_back(std::move(tensor));
  }

  const TensorTypeOverride* override_for(const std::string& name) const {
    for (const TensorTypeOverride& candidate : options_.overrides) {
      if (candidate.applies_to(name)) return &candidate;
    }
    return nullptr;
  }

  // Precedence as in llama-quantize: the two explicit types, then --tensor-type, then the mix.
  TypeChoice choose(const PlanInput& input) {
    const TensorRole role = tensor_role(input.name);
    const TensorTypeOverride* named = override_for(input.name);
    if (options_.token_embedding_type && role == TensorRole::token_embedding &&
        !(input.name == "per_layer_token_embd.weight" && named != nullptr)) {
      return {*options_.token_embedding_type, "--token-embedding-type"};
    }
    if (options_.output_type && role == TensorRole::output) {
      return {*options_.output_type, "--output-tensor-type"};
    }
    const FileTypeInfo& file_type = info(options_.file_type);
    TypeChoice choice{file_type.default_type, fmt::format("{} default", file_type.name)};
    if (!info(choice.type).is_quantized()) return choice;
    if (named != nullptr) {
      choice = {named->type, fmt::format("--tensor-type {}", named->text)};
    } else if (!options_.pure) {
      // A tied embedding is the output, so --output-tensor-type means it too.
      const bool is_output = role == TensorRole::token_embedding && mix_.tied_embeddings();
      choice = is_output && options_.output_type
                   ? TypeChoice{*options_.output_type, "--output-tensor-type (tied embedding)"}
                   : mix_.choose(input.name, input.shape);
    }
    return fit_rows(input, std::move(choice));
  }

  TypeChoice fit_rows(const PlanInput& input, TypeChoice choice) {
    if (input.shape.back() % info(choice.type).block_size == 0) return choice;
    const TensorType fitting = shape_fallback(choice.type, input.shape.back());
    ++plan_.fallbacks;
    return {fitting, fmt::format("{}; rows of {} do not fit {}", choice.reason, input.shape.back(),
                                 info(choice.type).name)};
  }

  void set_importance(const PlanInput& input, PlannedTensor& tensor) {
    const std::vector<float>* values = nullptr;
    if (importance_ != nullptr) {
      const auto entry = importance_->entries.find(input.name);
      if (entry != importance_->entries.end()) values = &entry->second;
    }
    const std::size_t axes = input.shape.size();
    const std::uint64_t experts = axes > 2 ? input.shape[axes - 3] : 1;
    if (values != nullptr && values->size() != input.shape.back() * experts) {
      if (tensor_role(input.name) != TensorRole::token_embedding) {
        throw ValidationError({.where = fmt::format("importance matrix for {}", input.name),
                               .found = fmt::format("{} values", values->size()),
                               .expected = std::to_string(input.shape.back() * experts),
                               .remedy = "use an importance matrix made from this model"});
      }
      values = nullptr;
    }
    tensor.importance = values;
    const Codec* codec = find_codec(tensor.type);
    const bool needed = requires_importance(input.name, tensor.type, options_.file_type) ||
                        (codec != nullptr && codec->needs_importance);
    if (values != nullptr || !needed) return;
    const std::string where = fmt::format("tensor {}", input.name);
    if (!dry_run_) {
      throw ValidationError({.where = where,
                             .found = "no importance for it",
                             .expected = fmt::format("importance, because {} is useless without it",
                                                     info(tensor.type).name),
                             .remedy = "give an importance matrix with --imatrix"});
    }
    plan_.warnings.push_back(
        fmt::format("{} will need an importance matrix for {}", where, info(tensor.type).name));
  }

  const std::vector<PlanInput>& inputs_;
  const PlanOptions& options_;
  const ImportanceMatrix* importance_;
  bool dry_run_;
  TypeMix mix_;
  TensorPlan plan_;
};

}  // namespace

TensorTypeOverride parse_tensor_type_override(const std::string& text) {
  const auto refuse = [&](std::string found) {
    throw Error(ErrorCode::usage, {.where = "--tensor-type",
                                   .found = std::move(found),
                                   .expected = "REGEX=TYPE, such as ffn_down=Q6_K",
                                   .remedy = ""});
  };
  const std::size_t equals = text.rfind('=');
  if (equals == std::string::npos || equals == 0) refuse(text);
  const auto type = tensor_type_from_name(text.substr(equals + 1));
  if (!type || find_codec(*type) == nullptr) {
    refuse(fmt::format("type \"{}\"", text.substr(equals + 1)));
  }
  std::string pattern = text.substr(0, equals);
  for (char& c : pattern) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  try {
    const std::regex regex(pattern);
    const auto applies_to = [regex](const std::string& name) {
      return std::regex_search(name, regex);
    };
    // NOLINTNEXTLINE(bugprone-unchecked-optional-access): refuse() has thrown without one
    return {text, applies_to, *type};
  } catch (const std::regex_error&) {
    refuse(fmt::format("the invalid regular expression \"{}\"", pattern));
  }
  return {};
}

TensorPlan plan_tensors(const std::vector<PlanInput>& inputs, const QuantizationTraits& traits,
                        const PlanOptions& options, const ImportanceMatrix* importance,
                        bool dry_run) {
  return Planner(inputs, traits, options, importance, dry_run).run();
}

}  // namespace qwodel
