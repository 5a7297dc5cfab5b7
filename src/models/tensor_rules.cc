#include "models/tensor_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <unordered_set>
#include <utility>

#include "core/checked.h"
#include "models/transforms.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::size_t kMaxDigits = 9;
constexpr std::size_t kMaxAxes = 4;

// Parts of a multimodal checkpoint, by the converter's list.
constexpr std::array<std::string_view, 10> kOtherModalityStarts = {
    "mlp",     "vit.",       "vpm.",           "siglip2.",          "conformer.",
    "merger.", "resampler.", "sound_encoder.", "sound_projection.", "speech_embeddings."};
constexpr std::array<std::string_view, 17> kOtherModalityParts = {
    "visual.",         "vision.",         "audio.",      "talker.",       "vision_",
    "audio_",          "token2wav.",      "code2wav.",   "projector.",    "pre_mm_projector_norm",
    "image_newline",   "view_seperator",  "patch_embed", "patch_merger.", "patch_merge_mlp.",
    "patch_embedding", "model.connector."};
constexpr std::array<std::string_view, 3> kBufferEnds = {".attention.masked_bias",
                                                         ".attention.bias", ".rotary_emb.inv_freq"};

// Small tensors that stay F32 although they are matrices; {L} is the layer.
constexpr std::array<std::string_view, 18> kF32Names = {
    "blk.{L}.ffn_gate_inp.weight",
    "blk.{L}.ffn_gate_inp_shexp.weight",
    "position_embd.weight",
    "token_types.weight",
    "blk.{L}.ssm_conv1d.weight",
    "blk.{L}.ssm_conv1d_q.weight",
    "blk.{L}.ssm_conv1d_k.weight",
    "blk.{L}.ssm_conv1d_v.weight",
    "blk.{L}.shortconv.conv.weight",
    "blk.{L}.time_mix_first.weight",
    "blk.{L}.time_mix_w1.weight",
    "blk.{L}.time_mix_w2.weight",
    "blk.{L}.time_mix_decay_w1.weight",
    "blk.{L}.time_mix_decay_w2.weight",
    "blk.{L}.time_mix_lerp_fused.weight",
    "blk.{L}.altup_correct_coef.weight",
    "blk.{L}.altup_predict_coef.weight",
    "blk.{L}.indexer.proj.weight",
};

void erase_all(std::string& text, std::string_view part) {
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at)) {
    text.erase(at, part.size());
  }
}

bool is_whole_name(const TensorRule& rule) {
  return rule.gguf.ends_with(".weight") || rule.gguf.ends_with(".bias");
}

struct RuleHit {
  const TensorRule* rule;
  PatternMatch numbers;
  std::string_view suffix;  // ".weight", ".bias" or "" when the rule names the whole tensor
};

std::optional<RuleHit> find_rule(const ModelClass& row, std::string_view name) {
  std::string_view module = name;
  std::string_view suffix;
  for (const std::string_view end : {std::string_view(".weight"), std::string_view(".bias")}) {
    if (!name.ends_with(end)) continue;
    module = name.substr(0, name.size() - end.size());
    suffix = end;
  }
  for (const TensorRule& rule : row.tensors) {
    if (is_whole_name(rule)) {
      if (const auto numbers = match_pattern(rule.hf, name)) return RuleHit{&rule, *numbers, {}};
    } else if (!suffix.empty() && !(rule.stack != Stack::none && suffix == ".bias")) {
      if (const auto numbers = match_pattern(rule.hf, module)) {
        return RuleHit{&rule, *numbers, suffix};
      }
    }
  }
  return std::nullopt;
}

std::string output_name(const TensorRule& rule, std::uint64_t layer) {
  std::string name = expand_pattern(rule.gguf, layer, 0);
  if (!is_whole_name(rule)) name += ".weight";
  return name;
}

// Collects the pieces of stacked tensors and everything that was emitted.
class Assembly {
 public:
  Assembly(const ModelContext& model, ModelSpec& spec) : model_(model), spec_(spec) {}

  void add(const SourceTensor& tensor) {
    const auto name = rule_name(model_, tensor.name);
    if (!name) return;
    const auto hit = find_rule(model_.row, *name);
    if (!hit) {
      throw ValidationError({.where = tensor.name,
                             .found = "a tensor without a rule",
                             .expected = fmt::format("a tensor of {}", model_.row.name),
                             .remedy = {}});
    }
    check_layer(*hit, tensor);
    check_shape(tensor);
    const auto source = static_cast<std::uint32_t>(spec_.sources.size());
    spec_.sources.push_back(tensor.name);
    RuleMatch match{*hit->rule, tensor, source, hit->numbers.layer, hit->numbers.index, {}};
    match.name = expand_pattern(hit->rule->gguf, match.layer, 0) + std::string(hit->suffix);
    if (hit->rule->stack != Stack::none) return add_piece(std::move(match));
    hit->rule->transform(model_, match, emitted_);
    flush();
  }

  void add_generated() {
    if (model_.row.generate != nullptr) model_.row.generate(model_, emitted_);
    flush();
  }

  void finish() const {
    check_stacks();
    check_required();
  }

 private:
  using StackKey = std::pair<Stack, std::uint64_t>;  // and the layer
  struct StackPieces {
    std::map<const TensorRule*, std::map<std::uint64_t, RuleMatch>> by_rule;
    std::uint64_t pieces = 0;
  };

  void check_layer(const RuleHit& hit, const SourceTensor& tensor) const {
    if (hit.rule->hf.find("{L}") == std::string_view::npos) return;
    if (hit.numbers.layer < model_.layers) return;
    throw ValidationError(
        {.where = tensor.name,
         .found = fmt::format("layer {}", hit.numbers.layer),
         .expected = fmt::format("layers 0 to {}, as config.json says", model_.layers - 1),
         .remedy = {}});
  }

  static void check_shape(const SourceTensor& tensor) {
    if (tensor.shape.size() <= kMaxAxes && checked_product(tensor.shape)) return;
    throw ValidationError({.where = tensor.name,
                           .found = fmt::format("{} axes", tensor.shape.size()),
                           .expected = fmt::format("at most {} axes and 2^64 values", kMaxAxes),
                           .remedy = {}});
  }

  std::uint64_t stack_size(Stack stack) const {
    if (stack == Stack::heads) return model_.config.values.heads();
    if (stack == Stack::kv_heads) return model_.config.values.kv_heads();
    return model_.config.values.experts();
  }

  std::uint64_t rules_of(Stack stack) const {
    const auto rules = model_.row.tensors;
    return static_cast<std::uint64_t>(std::count_if(
        rules.begin(), rules.end(), [&](const TensorRule& rule) { return rule.stack == stack; }));
  }

  void add_piece(RuleMatch match) {
    const Stack stack = match.rule.stack;
    const std::uint64_t size = stack_size(stack);
    if (match.index >= size) {
      throw ValidationError({.where = match.tensor.name,
                             .found = fmt::format("number {}", match.index),
                             .expected = fmt::format("0 to {}, as config.json says", size - 1),
                             .remedy = {}});
    }
    StackPieces& pieces = stacks_[{stack, match.layer}];
    const std::uint64_t layer = match.layer;
    auto& of_rule = pieces.by_rule[&match.rule];
    if (!of_rule.empty() && of_rule.begin()->second.tensor.shape != match.tensor.shape) {
      throw_bad_shape(match, "the shape of " + of_rule.begin()->second.tensor.name);
    }
    const std::uint64_t index = match.index;
    const std::string name = match.tensor.name;
    if (!of_rule.emplace(index, std::move(match)).second) throw_twice(name);
    const auto all = checked_mul(size, rules_of(stack));
    if (!all || ++pieces.pieces < *all) return;
    for (const TensorRule& rule : model_.row.tensors) {
      if (rule.stack == stack) emit_stack(pieces.by_rule.at(&rule));
    }
    stacks_.erase({stack, layer});
  }

  void emit_stack(const std::map<std::uint64_t, RuleMatch>& pieces) {
    const RuleMatch& first = pieces.begin()->second;
    ModelTensor tensor{.name = first.name, .shape = {pieces.size()}, .parts = {}, .generated = {}};
    const auto& shape = first.tensor.shape;
    tensor.shape.insert(tensor.shape.end(), shape.begin(), shape.end());
    for (const auto& [index, match] : pieces) tensor.parts.push_back(whole_view(match));
    emitted_.push_back(std::move(tensor));
    flush();
  }

  [[noreturn]] static void throw_twice(const std::string& name) {
    throw ValidationError({.where = name,
                           .found = "a second tensor for the same place in the model",
                           .expected = "one",
                           .remedy = {}});
  }

  void flush() {
    for (ModelTensor& tensor : emitted_) {
      if (!names_.insert(tensor.name).second) throw_twice(tensor.name);
      tensor.keep_f32 = is_kept_f32(tensor.name, tensor.shape.size());
      spec_.tensors.push_back(std::move(tensor));
    }
    emitted_.clear();
  }

  void check_stacks() const {
    if (stacks_.empty()) return;
    const auto& [key, pieces] = *stacks_.begin();
    const std::uint64_t size = stack_size(key.first);
    for (const TensorRule& rule : model_.row.tensors) {
      if (rule.stack != key.first) continue;
      const auto found = pieces.by_rule.find(&rule);
      std::uint64_t index = 0;
      if (found != pieces.by_rule.end()) {
        while (index < size && found->second.contains(index)) ++index;
      }
      if (index < size) throw_missing(expand_pattern(rule.hf, key.second, index) + ".weight");
    }
  }

  // Stops at the first layer without its tensor, so a layer count without tensors costs nothing.
  void check_required() const {
    for (const TensorRule& rule : model_.row.tensors) {
      if (rule.need != Need::required) continue;
      const bool layered = rule.gguf.find("{L}") != std::string_view::npos;
      for (std::uint64_t layer = 0; layer < (layered ? model_.layers : 1); ++layer) {
        if (names_.contains(output_name(rule, layer))) continue;
        std::string name = expand_pattern(rule.hf, layer, 0);
        if (!is_whole_name(rule)) name += ".weight";
        throw_missing(name);
      }
    }
  }

  [[noreturn]] void throw_missing(const std::string& name) const {
    throw ValidationError(
        {.where = "checkpoint",
         .found = fmt::format("no tensor {}{}",
                              name.starts_with("lm_head") ? "" : model_.row.prefix, name),
         .expected =
             fmt::format("every tensor of {} with {} layers", model_.row.name, model_.layers),
         .remedy = {}});
  }

  const ModelContext& model_;
  ModelSpec& spec_;
  std::vector<ModelTensor> emitted_;
  std::unordered_set<std::string> names_;
  std::map<StackKey, StackPieces> stacks_;
};

}  // namespace

std::optional<PatternMatch> match_pattern(std::string_view pattern, std::string_view name) {
  PatternMatch match;
  for (;;) {
    const std::size_t brace = pattern.find('{');
    if (brace == std::string_view::npos) {
      return pattern == name ? std::optional(match) : std::nullopt;
    }
    if (name.substr(0, brace) != pattern.substr(0, brace)) return std::nullopt;
    name.remove_prefix(brace);
    std::uint64_t number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    const auto digits = static_cast<std::size_t>(end - name.data());
    if (error != std::errc() || digits > kMaxDigits || (digits > 1 && name[0] == '0')) {
      return std::nullopt;
    }
    (pattern[brace + 1] == 'L' ? match.layer : match.index) = number;
    name.remove_prefix(digits);
    pattern.remove_prefix(brace + 3);
  }
}

std::string expand_pattern(std::string_view pattern, std::uint64_t layer, std::uint64_t index) {
  std::string text;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '{') {
      text += pattern[i];
      continue;
    }
    text += std::to_string(pattern[i + 1] == 'L' ? layer : index);
    i += 2;
  }
  return text;
}

std::optional<std::string> rule_name(const ModelContext& model, std::string_view original) {
  const auto contains = [&](std::string_view part) {
    return original.find(part) != std::string_view::npos;
  };
  const auto starts = [&](std::string_view start) { return original.starts_with(start); };
  if (std::ranges::any_of(kOtherModalityStarts, starts)) return std::nullopt;
  if (std::ranges::any_of(kOtherModalityParts, contains)) return std::nullopt;
  if (std::ranges::find(model.row.dropped, original) != model.row.dropped.end()) {
    return std::nullopt;
  }
  std::string name(original);
  for (const std::string_view part : model.row.strip) erase_all(name, part);
  erase_all(name, "language_model.");
  if (name.ends_with("e_score_correction_bias")) name[name.size() - 5] = '.';
  for (const std::string_view end : kBufferEnds) {
    if (name.ends_with(end)) return std::nullopt;
  }
  if (name.starts_with(model.row.prefix)) name.erase(0, model.row.prefix.size());
  if (model.row.drop != nullptr && model.row.drop(model, name)) return std::nullopt;
  return name;
}

std::optional<std::string> first_unknown_tensor(const ModelContext& model) {
  for (const SourceTensor& tensor : model.tensors) {
    const auto name = rule_name(model, tensor.name);
    if (name && !find_rule(model.row, *name)) return tensor.name;
  }
  return std::nullopt;
}

bool is_kept_f32(std::string_view name, std::size_t axes) {
  if (axes <= 1 || name.ends_with("_norm.weight") || !name.ends_with(".weight")) return true;
  return std::ranges::any_of(kF32Names, [&](std::string_view pattern) {
    return match_pattern(pattern, name).has_value();
  });
}

void assemble_tensors(const ModelContext& model, ModelSpec& spec) {
  if (model.row.check != nullptr) model.row.check(model);
  Assembly assembly(model, spec);
  assembly.add_generated();
  for (const SourceTensor& tensor : model.tensors) assembly.add(tensor);
  assembly.finish();
}

}  // namespace qwodel
