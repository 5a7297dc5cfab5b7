#include "pipeline/encoded_tensors.h"

#include <algorithm>
#include <unordered_map>

#include "codecs/codec.h"

namespace qwodel {

std::map<std::size_t, EncodedTensors::Slot> EncodedTensors::lay_out(
    const std::vector<PlanInput>& inputs, const TensorPlan& plan,
    std::span<const std::size_t> tensors) {
  std::map<std::size_t, Slot> slots;
  std::uint64_t offset = 0;
  for (const std::size_t tensor : tensors) {
    const PlannedTensor& planned = plan.tensors[tensor];
    const std::uint64_t cols = inputs[planned.input].shape.back();
    slots.emplace(tensor, Slot{.offset = offset, .row_bytes = *bytes_of(planned.type, cols)});
    offset += planned.bytes;
  }
  return slots;
}

std::uint64_t EncodedTensors::size_of(const std::map<std::size_t, Slot>& slots,
                                      const TensorPlan& plan) {
  std::uint64_t size = 0;
  for (const auto& slot : slots) size += plan.tensors[slot.first].bytes;
  return size;
}

EncodedTensors::EncodedTensors(const std::filesystem::path& artifact,
                               const std::vector<PlanInput>& inputs, const TensorPlan& plan,
                               std::span<const std::size_t> tensors, const RowEncoder* others)
    : plan_(plan),
      others_(others),
      slots_(lay_out(inputs, plan, tensors)),
      file_(artifact.parent_path() / (artifact.filename().string() + ".blocks"),
            size_of(slots_, plan), true) {}

void EncodedTensors::write(std::size_t tensor, std::uint64_t first_row,
                           std::span<const std::byte> blocks) {
  const Slot& slot = slots_.at(tensor);
  file_.write_at(slot.offset + first_row * slot.row_bytes, blocks);
}

bool EncodedTensors::finished(std::size_t tensor) const {
  const auto slot = slots_.find(tensor);
  return slot != slots_.end() && slot->second.finished;
}

// Blocks around the values that are asked for are decoded whole.
void EncodedTensors::read(std::size_t tensor, std::uint64_t first, std::span<float> out) const {
  if (out.empty()) return;
  const Slot& slot = slots_.at(tensor);
  const TensorType type = plan_.tensors[tensor].type;
  const std::uint64_t block = info(type).block_size;
  const std::uint64_t begin = first / block;
  const std::uint64_t end = (first + out.size() - 1) / block + 1;
  const auto count = static_cast<std::size_t>(end - begin);
  std::vector<std::byte> bytes(count * info(type).block_bytes);
  file_.read_at(slot.offset + begin * info(type).block_bytes, bytes);
  std::vector<float> values(count * static_cast<std::size_t>(block));
  find_codec(type)->decode(bytes.data(), values.size(), values.data());
  std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(first - begin * block), out.size(),
              out.begin());
}

bool EncodedTensors::encodes(const Tile& tile) const {
  return finished(tile.tensor) || (others_ != nullptr && others_->encodes(tile));
}

void EncodedTensors::encode(const Tile& tile, ConstMatrixView values, std::byte* out) const {
  if (!finished(tile.tensor)) {
    others_->encode(tile, values, out);
    return;
  }
  const Slot& slot = slots_.at(tile.tensor);
  file_.read_at(slot.offset + tile.first_row * slot.row_bytes,
                {out, static_cast<std::size_t>(tile.rows * slot.row_bytes)});
}

EncodedWeights::EncodedWeights(const Graph& graph, const TensorPlan& plan,
                               const GraphWeights& weights, const EncodedTensors& encoded)
    : weights_(weights), encoded_(encoded) {
  std::unordered_map<std::size_t, std::size_t> by_input;
  for (std::size_t i = 0; i < plan.tensors.size(); ++i) by_input.emplace(plan.tensors[i].input, i);
  for (const GraphWeight& weight : graph.weights) planned_.push_back(by_input.at(weight.tensor));
}

void EncodedWeights::read(WeightId weight, std::uint64_t first, std::span<float> out) const {
  if (encoded_.finished(planned_[weight])) {
    encoded_.read(planned_[weight], first, out);
  } else {
    weights_.read(weight, first, out);
  }
}

}  // namespace qwodel
