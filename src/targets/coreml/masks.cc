// What is added to attention scores: which keys a query sees, and ALiBi's distances.
#include <fmt/format.h>

#include <numeric>

#include "core/half.h"
#include "targets/coreml/lowering.h"
#include "targets/coreml/mil_ops.h"

namespace qwodel {
namespace {

// Finite in half precision, and far below any score.
constexpr float kHidden = -30000;

// Position of the query minus position of the key: int32 [1, 1, queries, keys].
MilValue distances(Lowering& lowering) {
  const auto known = lowering.made.find("distances");
  if (known != lowering.made.end()) return known->second;
  MilBuilder& mil = lowering.mil;
  const Sequence& sequence = lowering.sequence;
  const auto context = static_cast<std::int64_t>(lowering.options.context_length);
  std::vector<std::int32_t> positions(static_cast<std::size_t>(context));
  std::iota(positions.begin(), positions.end(), 0);
  const MilValue columns_of = lowering.integers("query_positions", positions, {1, 1, context, 1});
  const MilValue rows_of = lowering.integers("key_positions", positions, {1, 1, 1, context});
  const MilValue queries =
      slice(mil, "queries_at", columns_of, {2, sequence.past, sequence.end, sequence.queries});
  const MilValue keys =
      slice(mil, "keys_at", rows_of, {3, mil.integers({0}), sequence.end, sequence.keys});
  return lowering.made["distances"] = elementwise(mil, "sub", "distances", queries, keys);
}

// 0 where the comparison fails, kHidden where it holds.
MilValue hidden_where(MilBuilder& mil, const MilValue& condition) {
  const MilValue number = cast(mil, "hidden_flags", condition, mil::FLOAT16);
  return elementwise(mil, "mul", "hidden", number, mil.half(kHidden));
}

}  // namespace

std::optional<MilValue> attention_mask(Lowering& lowering, const AttentionOp& op) {
  MilBuilder& mil = lowering.mil;
  const bool windowed = op.window != 0 && op.window < lowering.options.context_length;
  std::string key = fmt::format("mask {} {}", op.causal, windowed ? op.window : 0);
  for (const float slope : op.alibi_slopes) key += fmt::format(" {}", slope);
  const auto known = lowering.made.find(key);
  if (known != lowering.made.end()) return known->second;
  std::optional<MilValue> mask = lowering.sequence.mask;
  const auto hide = [&](const MilValue& condition) {
    const MilValue more = hidden_where(mil, condition);
    mask = mask ? elementwise(mil, "minimum", "mask", *mask, more) : more;
  };
  if (op.causal && !mask) {
    hide(compare(mil, "less", "is_later", distances(lowering), mil.integer(0)));
  }
  if (windowed) {
    hide(compare(mil, "greater_equal", "is_beyond_window", distances(lowering),
                 mil.integer(static_cast<std::int32_t>(op.window))));
  }
  if (!op.alibi_slopes.empty()) {
    std::vector<std::uint16_t> slopes;
    for (const float slope : op.alibi_slopes) slopes.push_back(float_to_half(-slope));
    const MilValue per_head = lowering.halves("alibi_slopes", slopes,
                                              {1, static_cast<std::int64_t>(slopes.size()), 1, 1});
    const MilValue far = cast(mil, "distances_fp16", distances(lowering), mil::FLOAT16);
    const MilValue bias = elementwise(mil, "mul", "alibi", far, per_head);
    mask = mask ? elementwise(mil, "add", "mask_with_alibi", bias, *mask) : bias;
  }
  if (mask) lowering.made[key] = *mask;
  return mask;
}

}  // namespace qwodel
