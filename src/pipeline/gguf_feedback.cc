#include "pipeline/gguf_feedback.h"

#include <algorithm>

#include "codecs/codec.h"
#include "methods/second_moments.h"

namespace qwodel {
namespace {

constexpr double kEnoughTokens = 0.25;  // per column

std::uint64_t rows_per_matrix(const PlanInput& input) {
  return input.shape.size() > 1 ? input.shape[input.shape.size() - 2] : 1;
}

std::uint64_t matrices(const PlanInput& input) {
  std::uint64_t count = 1;
  for (std::size_t axis = 0; axis + 2 < input.shape.size(); ++axis) count *= input.shape[axis];
  return count;
}

}  // namespace

bool enough_for_feedback(std::uint64_t tokens, std::uint64_t cols) {
  return static_cast<double>(tokens) >= kEnoughTokens * static_cast<double>(cols);
}

bool GgufFeedback::can_encode(const PlanInput& input, const PlannedTensor& planned,
                              const StatisticsFile& statistics) {
  const Codec* codec = find_codec(planned.type);
  if (!planned.quantized || codec == nullptr || codec->scalar == nullptr) return false;
  const auto known = statistics.find(input.name);
  if (!known || !statistics.header().has_gram || input.shape.size() < 2) return false;
  const StatisticsInput& moments = statistics.inputs()[*known];
  if (moments.width != input.shape.back()) return false;
  return moments.parts == 1 || moments.parts == matrices(input);
}

GgufFeedback::GgufFeedback(const std::vector<PlanInput>& inputs, const TensorPlan& plan,
                           const StatisticsFile& statistics, const TensorFolds* folds,
                           const BlockFeedbackOptions& options)
    : inputs_(inputs), plan_(plan), statistics_(statistics), folds_(folds), options_(options) {
  for (const PlannedTensor& planned : plan.tensors) {
    const PlanInput& input = inputs[planned.input];
    if (!can_encode(input, planned, statistics)) continue;
    const std::size_t known = *statistics.find(input.name);
    const InputSums sums = statistics.read(known, false);
    const std::uint64_t parts = statistics.inputs()[known].parts;
    for (std::size_t part = 0; part < parts; ++part) {
      Entry& entry = entries_[{known, part}];
      entry.known = enough_for_feedback(sums.counts[part], input.shape.back());
      entry.rows_left += rows_per_matrix(input) * (parts == 1 ? matrices(input) : 1);
    }
  }
}

std::optional<GgufFeedback::Key> GgufFeedback::key_of(const Tile& tile) const {
  const PlannedTensor& planned = plan_.tensors[tile.tensor];
  const PlanInput& input = inputs_[planned.input];
  if (!can_encode(input, planned, statistics_)) return std::nullopt;
  const std::size_t known = *statistics_.find(input.name);
  const std::uint64_t matrix = tile.first_row / rows_per_matrix(input);
  const bool whole = statistics_.inputs()[known].parts == 1;
  const Key key{known, whole ? 0 : static_cast<std::size_t>(matrix)};
  if (!entries_.at(key).known) return std::nullopt;
  return key;
}

bool GgufFeedback::encodes(const Tile& tile) const { return key_of(tile).has_value(); }

// Made by the first tile that asks, gone with the last row.
std::shared_ptr<const BlockHessian> GgufFeedback::hessian(const Key& key, const Tile& tile) const {
  Entry& entry = entries_.at(key);
  const std::lock_guard lock(entry.mutex);
  if (entry.hessian == nullptr) {
    SecondMoments moments =
        second_moments(statistics_.read_part(key.first, key.second), 0,
                       static_cast<std::size_t>(statistics_.inputs()[key.first].width));
    if (folds_ != nullptr) folds_->divide(key.first, key.second, moments);
    entry.hessian = std::make_shared<const BlockHessian>(make_block_hessian(
        moments.matrix(), options_, inputs_[plan_.tensors[tile.tensor].input].name));
  }
  auto result = entry.hessian;
  entry.rows_left -= std::min(entry.rows_left, tile.rows);
  if (entry.rows_left == 0) entry.hessian.reset();
  return result;
}

void GgufFeedback::encode(const Tile& tile, ConstMatrixView values, std::byte* out) const {
  const auto factor = hessian(*key_of(tile), tile);
  const Codec* codec = find_codec(plan_.tensors[tile.tensor].type);
  feed_back_blocks(values, *factor, *codec->scalar, options_, out);
}

}  // namespace qwodel
