// Rotary position embedding with tables of cosines and sines.
#include <fmt/format.h>

#include <cmath>

#include "core/half.h"
#include "targets/coreml/lowering.h"
#include "targets/coreml/mil_ops.h"

namespace qwodel {
namespace {

struct Angles {
  const std::vector<float>* frequencies;
  float magnitude;
};

// LongRoPE's long factors serve sequences beyond the trained length: a package whose context may
// become that long has them for all.
Angles angles_of(const Lowering& lowering, const RopeOp& op) {
  const bool is_long =
      !op.long_frequencies.empty() && lowering.options.context_length > op.long_context;
  return is_long ? Angles{&op.long_frequencies, op.long_magnitude}
                 : Angles{&op.frequencies, op.magnitude};
}

struct Tables {
  MilValue cosines;  // [1, 1, queries, columns]
  MilValue sines;
};

// Where pair i's two columns lie among the rotated ones.
struct Columns {
  bool halves;
  std::size_t pairs;

  std::size_t first(std::size_t i) const { return halves ? i : 2 * i; }
  std::size_t second(std::size_t i) const { return halves ? pairs + i : 2 * i + 1; }
};

// The angle is rounded to single precision, as the models were trained with it.
Tables tables_of(Lowering& lowering, const RopeOp& op, bool halves) {
  const Angles angles = angles_of(lowering, op);
  const std::size_t pairs = angles.frequencies->size();
  const Columns place{halves, pairs};
  std::string key = fmt::format("rope {} {}", halves, angles.magnitude);
  for (const float frequency : *angles.frequencies) key += fmt::format(" {}", frequency);
  const auto context = static_cast<std::size_t>(lowering.options.context_length);
  if (!lowering.made.contains("cos " + key)) {
    std::vector<std::uint16_t> cosines(context * 2 * pairs);
    std::vector<std::uint16_t> sines(context * 2 * pairs);
    for (std::size_t position = 0; position < context; ++position) {
      for (std::size_t i = 0; i < pairs; ++i) {
        const auto angle =
            static_cast<double>(static_cast<float>(position) * (*angles.frequencies)[i]);
        const std::size_t row = position * 2 * pairs;
        for (const std::size_t column : {place.first(i), place.second(i)}) {
          cosines[row + column] =
              float_to_half(static_cast<float>(std::cos(angle)) * angles.magnitude);
          sines[row + column] =
              float_to_half(static_cast<float>(std::sin(angle)) * angles.magnitude);
        }
      }
    }
    const MilDims dims = {1, 1, static_cast<std::int64_t>(context),
                          static_cast<std::int64_t>(2 * pairs)};
    const std::string number = std::to_string(lowering.made.size());
    const Sequence& sequence = lowering.sequence;
    const auto now = [&](const std::string& name, const std::vector<std::uint16_t>& values) {
      const MilValue table = lowering.halves(name + number, values, dims);
      return slice(lowering.mil, name + "_now", table,
                   {2, sequence.past, sequence.end, sequence.queries});
    };
    lowering.made["cos " + key] = now("rope_cos", cosines);
    lowering.made["sin " + key] = now("rope_sin", sines);
  }
  return {lowering.made.at("cos " + key), lowering.made.at("sin " + key)};
}

// (a, b) -> (-b, a) for pairs that lie as halves.
MilValue quarter_turn_of_halves(MilBuilder& mil, const MilValue& x, std::uint64_t pairs) {
  const MilValue a = columns(mil, "rope_a", x, 0, pairs);
  const MilValue b = columns(mil, "rope_b", x, pairs, pairs);
  const MilValue minus = elementwise(mil, "mul", "rope_minus_b", b, mil.half(-1));
  return mil.concat("rope_turned", {minus, a}, -1, x.dims);
}

// The same for neighbouring columns: a product with a matrix that has one entry in each column, so
// it is exact.
MilValue quarter_turn_of_neighbours(Lowering& lowering, const MilValue& x, std::uint64_t pairs) {
  const auto size = static_cast<std::size_t>(2 * pairs);
  std::vector<std::uint16_t> turn(size * size, 0);
  for (std::size_t i = 0; i < size; i += 2) {
    turn[(i + 1) * size + i] = float_to_half(-1);
    turn[i * size + i + 1] = float_to_half(1);
  }
  const auto extent = static_cast<std::int64_t>(size);
  const MilValue matrix = lowering.halves("quarter_turn", turn, {extent, extent});
  return matmul(lowering.mil, "rope_turned", x, matrix, false, x.dims);
}

}  // namespace

Activation lower_rope(Lowering& lowering, const RopeOp& op, bool halves, Activation& x) {
  MilBuilder& mil = lowering.mil;
  const bool as_halves = halves || op.layout == RopeLayout::halves;
  const std::uint64_t pairs = op.frequencies.size();
  const std::uint64_t rotated = 2 * pairs;
  const MilValue in = lowering.heads(x, op.head_dim);
  const bool whole = op.first == 0 && rotated == op.head_dim;
  const MilValue part = whole ? in : columns(mil, "rope_in", in, op.first, rotated);
  const Tables tables = tables_of(lowering, op, as_halves);
  const MilValue turned = as_halves ? quarter_turn_of_halves(mil, part, pairs)
                                    : quarter_turn_of_neighbours(lowering, part, pairs);
  const MilValue along = elementwise(mil, "mul", "rope_along", part, tables.cosines);
  const MilValue across = elementwise(mil, "mul", "rope_across", turned, tables.sines);
  MilValue result = elementwise(mil, "add", "rope", along, across);
  if (!whole) {
    std::vector<MilValue> parts;
    if (op.first > 0) parts.push_back(columns(mil, "rope_before", in, 0, op.first));
    parts.push_back(result);
    const std::uint64_t end = op.first + rotated;
    if (end < op.head_dim) {
      parts.push_back(columns(mil, "rope_after", in, end, op.head_dim - end));
    }
    result = mil.concat("rope_all", parts, -1, in.dims);
  }
  Activation out;
  out.width = x.width;
  out.heads[op.head_dim] = result;
  return out;
}

}  // namespace qwodel
