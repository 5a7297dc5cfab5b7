#include "targets/coreml/weight_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/checked.h"
#include "graph/edges.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

// Smaller weights are not worth a table or scales; coremltools has the same limit.
constexpr std::uint64_t kSmallest = 2048;
// Core ML refuses tensors of 2 GiB.
constexpr std::uint64_t kMaxBytes = (std::uint64_t{1} << 31) - 1;
constexpr int kCurrent = 9;  // the specification that has groups, blocks and 3 and 4 bits

void check_version(const WeightScheme& scheme, const MilVersion& version) {
  if (version.specification >= kCurrent) return;
  const bool linear = scheme.form == WeightForm::linear;
  const bool known = scheme.form == WeightForm::float16 ||
                     (linear && scheme.bits == 8 && scheme.block == 0) ||
                     (!linear && scheme.bits != 3 && scheme.group_rows == 0);
  if (known) return;
  throw FormatNotSupportedError(
      {.where = fmt::format("--minimum-target {}", version.name),
       .found = name_of(scheme),
       .expected =
           "float16, int8 per row or a palette of 1, 2, 4, 6 or 8 bits per tensor, all that "
           "it can read",
       .remedy = "use --minimum-target ios18, or --granularity per_tensor"});
}

// Whether a weight is multiplied or looked up.
std::vector<bool> find_matrices(const Graph& graph) {
  std::vector<bool> matrices(graph.weights.size(), false);
  for (const Stage& stage : graph.stages) {
    for (const Op& op : stage.ops) {
      if (const WeightId weight = linear_weight(op); weight != kNoId) matrices[weight] = true;
      if (const auto* embedding = std::get_if<EmbeddingOp>(&op.kind)) {
        matrices[embedding->weight] = true;
      }
    }
  }
  return matrices;
}

// The divisor of `rows` nearest to the group in ratio, at most four times as many or as few rows; 0
// when there is none.
std::uint64_t nearest_divisor(std::uint64_t rows, std::uint64_t group) {
  const auto ratio = [&](std::uint64_t size) {
    return static_cast<double>(std::max(size, group)) / static_cast<double>(std::min(size, group));
  };
  std::uint64_t best = 0;
  for (std::uint64_t size = std::max<std::uint64_t>(group / 4, 1); size <= 4 * group; ++size) {
    if (rows % size == 0 && (best == 0 || ratio(size) < ratio(best))) best = size;
  }
  return best;
}

WeightChoice fit(WeightScheme scheme, std::uint64_t rows, std::uint64_t columns) {
  constexpr WeightScheme kPerRow = {
      .form = WeightForm::linear, .bits = 8, .symmetric = true, .per_tensor = false};
  if (scheme.form == WeightForm::palette && scheme.group_rows != 0 &&
      rows % scheme.group_rows != 0) {
    const std::uint64_t asked = scheme.group_rows;
    scheme.group_rows = nearest_divisor(rows, asked);
    if (scheme.group_rows == 0) {
      return {kPerRow, fmt::format("{} rows have no groups near {}", rows, asked)};
    }
    return {scheme, fmt::format("{} rows are no multiple of {}", rows, asked)};
  }
  if (scheme.form == WeightForm::linear && scheme.block != 0 && columns % scheme.block != 0) {
    const std::uint64_t asked = scheme.block;
    scheme.block = asked % 2 == 0 && columns % (asked / 2) == 0 ? asked / 2 : 0;
    const std::string reason = fmt::format("{} columns are no multiple of {}", columns, asked);
    return {scheme.block == 0 ? kPerRow : scheme, reason};
  }
  return {scheme, "matrix"};
}

}  // namespace

std::vector<WeightChoice> plan_weights(const Graph& graph, const WeightScheme& scheme,
                                       const MilVersion& version) {
  check_version(scheme, version);
  const std::vector<bool> matrices = find_matrices(graph);
  std::vector<WeightChoice> choices;
  for (std::size_t i = 0; i < graph.weights.size(); ++i) {
    const GraphWeight& weight = graph.weights[i];
    const auto values = checked_product(weight.shape);
    const auto bytes = values ? checked_mul(*values, 2) : std::nullopt;
    if (!bytes || *bytes > kMaxBytes) {
      throw FormatNotSupportedError(
          {.where = weight.name,
           .found = fmt::format("{} values", values.value_or(0)),
           .expected = "less than 2 GiB in half precision, the most Core ML reads as one tensor",
           .remedy = {}});
    }
    if (!matrices[i]) {
      choices.push_back({{}, "no matrix"});
    } else if (scheme.form != WeightForm::float16 && *values <= kSmallest) {
      choices.push_back({{}, fmt::format("{} values are too few", *values)});
    } else {
      choices.push_back(fit(scheme, *values / weight.shape.back(), weight.shape.back()));
    }
  }
  return choices;
}

}  // namespace qwodel
