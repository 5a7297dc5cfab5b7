#include "plan/type_mix.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>
#include <utility>

#include "qwodel/error.h"

namespace qwodel {
namespace {

using FT = FileType;
using TT = TensorType;

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

bool is_one_of(FileType type, std::initializer_list<FileType> types) {
  return std::find(types.begin(), types.end(), type) != types.end();
}

// Value projections decide quality more than their size: llama.cpp gives them extra bits.
bool is_value_like(TensorRole role) {
  return role == TensorRole::attention_v || role == TensorRole::attention_qkv ||
         role == TensorRole::attention_kv_b;
}

// The first and last eighth of the layers and every third between them.
bool deserves_more_bits(int layer, int layers) {
  return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

constexpr std::array<std::pair<std::string_view, TensorRole>, 9> kRoleOfPart = {{
    {"attn_qkv.weight", TensorRole::attention_qkv},
    {"attn_kv_b.weight", TensorRole::attention_kv_b},
    {"attn_v.weight", TensorRole::attention_v},
    {"attn_k.weight", TensorRole::attention_k},
    {"attn_q.weight", TensorRole::attention_q},
    {"attn_output.weight", TensorRole::attention_output},
    {"ffn_up", TensorRole::ffn_up},
    {"ffn_gate", TensorRole::ffn_gate},
    {"ffn_down", TensorRole::ffn_down},
}};

// Small or sensitive matrices that stay as the converter wrote them.
constexpr std::array<std::string_view, 33> kNeverQuantized = {
    "_norm.weight",
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
};

}  // namespace

TensorRole tensor_role(std::string_view name) {
  if (name == "output.weight") return TensorRole::output;
  if (name == "token_embd.weight" || name == "per_layer_token_embd.weight") {
    return TensorRole::token_embedding;
  }
  for (const auto& [part, role] : kRoleOfPart) {
    if (contains(name, part)) return role;
  }
  return TensorRole::other;
}

bool may_be_quantized(std::string_view name, const std::vector<std::uint64_t>& shape) {
  // Axes as ggml counts them: leading ones (its trailing ones) do not count.
  const auto first = std::find_if(shape.begin(), shape.end(), [](auto axis) { return axis != 1; });
  if (std::distance(first, shape.end()) < 2) return false;
  if (!name.ends_with("weight")) return false;
  if (name == "position_embd.weight" || name == "token_types.weight") return false;
  return std::none_of(kNeverQuantized.begin(), kNeverQuantized.end(),
                      [name](std::string_view part) { return contains(name, part); });
}

TypeMix::TypeMix(FileType file_type, const QuantizationTraits& traits,
                 const std::vector<std::string>& names, bool has_importance)
    : file_type_(file_type), traits_(traits), has_importance_(has_importance) {
  value_count_ = static_cast<int>(std::count_if(names.begin(), names.end(), [](const auto& name) {
    return is_value_like(tensor_role(name));
  }));
}

TypeChoice TypeMix::default_choice() const {
  return {info(file_type_).default_type, fmt::format("{} default", info(file_type_).name)};
}

TypeMix::Layer TypeMix::layer_of(std::string_view name, int counter) const {
  const int layers = static_cast<int>(traits_.layers);
  if (traits_.experts <= 1) return {counter, layers};
  // Expert models visit this rule several times per layer, so the name tells the layer.
  int layer = -1;
  if (name.starts_with("blk.")) {
    const std::string_view digits = name.substr(4);
    std::from_chars(digits.data(), digits.data() + digits.size(), layer);
  }
  if (layer < 0 || layer >= layers) {
    throw ValidationError({.where = fmt::format("tensor {}", name),
                           .found = "no layer number in range",
                           .expected = fmt::format("blk.N with N below {}", layers),
                           .remedy = ""});
  }
  return {layer, layers};
}

TypeChoice TypeMix::choose(std::string_view name, const std::vector<std::uint64_t>& shape) {
  const TensorRole role = tensor_role(name);
  if (role == TensorRole::output ||
      (traits_.tied_embeddings && role == TensorRole::token_embedding)) {
    return output(shape);
  }
  if (file_type_ == FT::mxfp4_moe) {
    const bool stacked = shape.size() > 2 && shape[shape.size() - 3] > 1;
    if (stacked) return {TT::mxfp4, "MXFP4_MOE: stacked experts"};
    return {TT::q8_0, "MXFP4_MOE: outside the experts"};
  }
  if (role == TensorRole::token_embedding) return token_embedding();
  if (is_one_of(file_type_,
                {FT::iq1_s, FT::iq1_m, FT::iq2_xxs, FT::iq2_xs, FT::iq2_s, FT::iq2_m})) {
    return smallest(role);
  }
  if (is_value_like(role)) return value_like();
  if (role == TensorRole::attention_k || role == TensorRole::attention_q) return query_or_key(role);
  if (role == TensorRole::ffn_down) return ffn_down(name);
  if (role == TensorRole::attention_output) return attention_output();
  if (role == TensorRole::ffn_gate || role == TensorRole::ffn_up) return ffn_gate_or_up(role, name);
  return default_choice();
}

TypeChoice TypeMix::output(const std::vector<std::uint64_t>& shape) const {
  const TensorType type = info(file_type_).default_type;
  const std::string what = traits_.tied_embeddings ? "embedding is also the output" : "output";
  if (file_type_ == FT::mxfp4_moe || traits_.plain_ffn_down ||
      shape.back() % info(type).block_size != 0) {
    return {TT::q8_0, what};
  }
  if (is_one_of(file_type_, {FT::iq2_xxs, FT::iq2_xs, FT::iq3_xxs, FT::iq1_s, FT::iq2_s, FT::iq2_m,
                             FT::iq1_m})) {
    return {TT::q5_k, what};
  }
  return {type == TT::q8_0 ? TT::q8_0 : TT::q6_k, what};
}

TypeChoice TypeMix::token_embedding() const {
  if (is_one_of(file_type_, {FT::iq2_xxs, FT::iq2_xs, FT::iq1_s, FT::iq1_m})) {
    return {TT::q2_k, "token embedding"};
  }
  if (is_one_of(file_type_, {FT::iq2_s, FT::iq2_m, FT::iq3_xxs})) {
    return {TT::iq3_s, "token embedding"};
  }
  if (is_one_of(file_type_, {FT::tq1_0, FT::tq2_0, FT::q2_0})) {
    return {TT::q4_k, "token embedding"};
  }
  return default_choice();
}

TypeChoice TypeMix::smallest(TensorRole role) {
  const bool big = is_one_of(file_type_, {FT::iq2_s, FT::iq2_m});
  if (is_value_like(role)) {
    ++value_index_;
    if (traits_.grouped_queries >= 4 || traits_.experts >= 4) {
      return {TT::q4_k, "value projection shared by many heads"};
    }
    return {big ? TT::iq3_s : TT::q2_k, "value projection"};
  }
  if (traits_.experts == 8 && role == TensorRole::attention_k) {
    return {TT::q4_k, "key projection of an 8-expert model"};
  }
  if (role == TensorRole::ffn_down) {
    const bool early = ffn_down_index_ < static_cast<int>(traits_.layers) / 8;
    ++ffn_down_index_;
    if (early) return {big ? TT::iq3_s : TT::q2_k, "ffn_down of an early layer"};
    return default_choice();
  }
  if (role == TensorRole::attention_output) {
    if (traits_.experts == 8) return {TT::q5_k, "attention output of an 8-expert model"};
    if (is_one_of(file_type_, {FT::iq1_s, FT::iq1_m})) return {TT::iq2_xxs, "attention output"};
    if (big) return {TT::iq3_s, "attention output"};
  }
  return default_choice();
}

TypeChoice TypeMix::value_like() {
  const int index = value_index_++;
  const bool grouped = traits_.grouped_queries >= 4;
  TypeChoice choice = default_choice();
  const auto set = [&choice](TensorType type, std::string reason = "value projection") {
    choice = {type, std::move(reason)};
  };
  const std::string shared = "value projection shared by many heads";
  if (file_type_ == FT::q2_k) {
    set(grouped ? TT::q4_k : TT::q3_k);
  } else if (file_type_ == FT::q2_k_s && grouped) {
    set(TT::q4_k, shared);
  } else if (file_type_ == FT::iq3_xxs) {
    set(grouped ? TT::q4_k : has_importance_ ? TT::iq3_xxs : TT::iq3_s);
  } else if (is_one_of(file_type_, {FT::iq3_xs, FT::iq3_s}) && grouped) {
    set(TT::q4_k, shared);
  } else if (file_type_ == FT::iq3_m) {
    set(TT::q4_k);
  } else if (file_type_ == FT::q3_k_m) {
    set(index < 2 ? TT::q5_k : TT::q4_k);
  } else if (file_type_ == FT::q3_k_l) {
    set(TT::q5_k);
  } else if (is_one_of(file_type_, {FT::iq4_nl, FT::iq4_xs}) && grouped) {
    set(TT::q5_k, shared);
  } else if (is_one_of(file_type_, {FT::q4_k_m, FT::q5_k_m}) &&
             deserves_more_bits(index, value_count_)) {
    set(TT::q6_k, "value projection of a sensitive layer");
  } else if (file_type_ == FT::q4_k_s && index < 4) {
    set(TT::q5_k, "value projection of an early layer");
  }
  if (traits_.shared_value_heads && (choice.type == TT::q3_k || choice.type == TT::q4_k)) {
    set(TT::q5_k, "value projection of a 70B model");
  }
  if (traits_.experts == 8) set(TT::q8_0, "value projection of an 8-expert model");
  return choice;
}

TypeChoice TypeMix::query_or_key(TensorRole role) const {
  if (role == TensorRole::attention_k && traits_.experts == 8) {
    return {TT::q8_0, "key projection of an 8-expert model"};
  }
  if (file_type_ == FT::iq3_xs) return {TT::iq3_xxs, "query or key projection"};
  if (file_type_ == FT::iq3_xxs) return {TT::iq2_s, "query or key projection"};
  return default_choice();
}

TypeChoice TypeMix::ffn_down(std::string_view name) {
  const auto [layer, layers] = layer_of(name, ffn_down_index_++);
  const bool early = layer < layers / 8;
  const bool more = deserves_more_bits(layer, layers);
  const bool plain = traits_.plain_ffn_down;
  const std::string reason = more ? "ffn_down of a sensitive layer" : "ffn_down";
  switch (file_type_) {
    case FT::q2_k:
      return {TT::q3_k, reason};
    case FT::q2_k_s:
      if (early) return {TT::q4_k, reason};
      break;
    case FT::iq3_xxs:
      if (!has_importance_) return {early ? TT::q4_k : TT::q3_k, reason};
      break;
    case FT::q3_k_m:
      if (layer < layers / 16) return {TT::q5_k, reason};
      return {!plain || more ? TT::q4_k : TT::q3_k, reason};
    case FT::iq3_m:
      if (early || (traits_.experts == 8 && more)) return {TT::q4_k, reason};
      break;
    case FT::q3_k_l:
      return {plain ? TT::q4_k : TT::q5_k, reason};
    case FT::q4_k_m:
      if (plain) return {layer < layers / 16 ? TT::q6_k : more ? TT::q5_k : TT::q4_k, reason};
      if (more) return {TT::q6_k, reason};
      break;
    case FT::iq4_nl:
    case FT::iq4_xs:
      if (early && !has_importance_) return {TT::q5_k, reason};
      break;
    case FT::q5_k_m:
      if (more) return {TT::q6_k, reason};
      break;
    case FT::q4_k_s:
      if (!plain && early) return {TT::q5_k, reason};
      break;
    case FT::q4_0:
    case FT::q5_0:
      // Importance can mislead the symmetric types in the first layers; those get a minimum.
      if (has_importance_ && early) return {file_type_ == FT::q4_0 ? TT::q4_1 : TT::q5_1, reason};
      break;
    default:
      break;
  }
  return default_choice();
}

TypeChoice TypeMix::attention_output() const {
  if (traits_.plain_ffn_down) {
    if (file_type_ == FT::q3_k_l) return {TT::q4_k, "attention output"};
    return default_choice();
  }
  if (traits_.experts == 8) {
    if (is_one_of(file_type_,
                  {FT::q2_k, FT::iq3_xs, FT::iq3_xxs, FT::q3_k_s, FT::q3_k_m, FT::iq4_nl,
                   FT::q4_k_s, FT::q4_k_m, FT::iq3_s, FT::iq3_m, FT::iq4_xs})) {
      return {TT::q5_k, "attention output of an 8-expert model"};
    }
    return default_choice();
  }
  constexpr std::array<std::pair<FileType, TensorType>, 5> kTypes = {{{FT::q2_k, TT::q3_k},
                                                                      {FT::iq3_xxs, TT::iq3_s},
                                                                      {FT::q3_k_m, TT::q4_k},
                                                                      {FT::q3_k_l, TT::q5_k},
                                                                      {FT::iq3_m, TT::q4_k}}};
  for (const auto& [file_type, type] : kTypes) {
    if (file_type == file_type_) return {type, "attention output"};
  }
  return default_choice();
}

TypeChoice TypeMix::ffn_gate_or_up(TensorRole role, std::string_view name) {
  int& index = role == TensorRole::ffn_gate ? ffn_gate_index_ : ffn_up_index_;
  const auto [layer, layers] = layer_of(name, index++);
  if (file_type_ == FT::iq3_xs && layer >= layers / 8 && layer < 7 * layers / 8) {
    return {TT::iq3_xxs, "feed-forward of a middle layer"};
  }
  return default_choice();
}

TensorType shape_fallback(TensorType type, std::uint64_t cols) {
  if (cols % info(type).block_size == 0) return type;
  constexpr std::array<std::pair<TensorType, TensorType>, 16> kRelatives = {
      {{TT::iq1_s, TT::iq4_nl},
       {TT::iq1_m, TT::iq4_nl},
       {TT::iq2_xxs, TT::iq4_nl},
       {TT::iq2_xs, TT::iq4_nl},
       {TT::iq2_s, TT::iq4_nl},
       {TT::iq3_xxs, TT::iq4_nl},
       {TT::iq3_s, TT::iq4_nl},
       {TT::iq4_xs, TT::iq4_nl},
       {TT::q2_0, TT::q4_0},
       {TT::q2_k, TT::q4_0},
       {TT::q3_k, TT::q4_0},
       {TT::tq1_0, TT::q4_0},
       {TT::tq2_0, TT::q4_0},
       {TT::q4_k, TT::q5_0},
       {TT::q5_k, TT::q5_1},
       {TT::q6_k, TT::q8_0}}};
  TensorType relative = type;
  const auto row = std::find_if(kRelatives.begin(), kRelatives.end(),
                                [type](const auto& pair) { return pair.first == type; });
  if (row != kRelatives.end()) {
    relative = row->second;
  } else if (info(type).block_size > 32) {
    throw FormatNotSupportedError(
        {.where = fmt::format("type {}", info(type).name),
         .found = fmt::format("rows of {} values", cols),
         .expected =
             fmt::format("a multiple of {}, since no related type exists", info(type).block_size),
         .remedy = "choose another type for these tensors with --tensor-type"});
  }
  return cols % info(relative).block_size == 0 ? relative : TT::f16;
}

bool requires_importance(std::string_view name, TensorType type, FileType file_type) {
  const TensorRole role = tensor_role(name);
  if (role == TensorRole::output || role == TensorRole::token_embedding) return false;
  if (type == TT::q2_k) return file_type == FT::q2_k_s;
  constexpr std::array kNeedy = {TT::iq3_xxs, TT::iq2_xxs, TT::iq2_xs,
                                 TT::iq2_s,   TT::iq1_m,   TT::iq1_s};
  return std::find(kNeedy.begin(), kNeedy.end(), type) != kNeedy.end();
}

}  // namespace qwodel
