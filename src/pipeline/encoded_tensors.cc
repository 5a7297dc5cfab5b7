#include "pipeline/encoded_tensors.h"

#include <xxhash.h>

#include <algorithm>
#include <system_error>
#include <unordered_map>

#include "codecs/codec.h"
#include "io/json.h"

namespace qwodel {
namespace {

constexpr const char* kBlocks = "blocks";
constexpr std::uint64_t kHashBytes = std::uint64_t{1} << 20;

// The folder that never appears: what is in it goes into the artifact.
std::filesystem::path folder_of(const std::filesystem::path& artifact) {
  return artifact.parent_path() / (artifact.filename().string() + ".blocks");
}

}  // namespace

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

EncodedTensors::EncodedTensors(const Work& work, const std::vector<PlanInput>& inputs,
                               const TensorPlan& plan, std::span<const std::size_t> tensors,
                               const RowEncoder* others)
    : inputs_(inputs),
      plan_(plan),
      others_(others),
      slots_(lay_out(inputs, plan, tensors)),
      directory_(folder_of(work.artifact), true, work.resume),
      journal_(open_journal(directory_, work.key)),
      file_(open_blocks()) {
  // What the journal says counts as done when the file still holds it.
  for (auto& [tensor, slot] : slots_) {
    const auto entry = journal_.entries().find(name_of(tensor));
    slot.finished = entry != journal_.entries().end() && entry->second.hash == hash_of(tensor);
  }
}

PositionedFile EncodedTensors::open_blocks() const {
  const std::filesystem::path path = directory_.staging() / kBlocks;
  const std::uint64_t size = size_of(slots_, plan_);
  std::error_code missing;
  const bool whole =
      !journal_.entries().empty() && std::filesystem::file_size(path, missing) == size && !missing;
  return {path, whole ? PositionedFile::Mode::open : PositionedFile::Mode::create, size};
}

std::string EncodedTensors::name_of(std::size_t tensor) const {
  return inputs_[plan_.tensors[tensor].input].name;
}

std::uint64_t EncodedTensors::hash_of(std::size_t tensor) const {
  const std::uint64_t begin = slots_.at(tensor).offset;
  const std::uint64_t size = plan_.tensors[tensor].bytes;
  std::uint64_t hash = 0;
  std::vector<std::byte> bytes;
  for (std::uint64_t at = 0; at < size; at += bytes.size()) {
    bytes.resize(static_cast<std::size_t>(std::min(kHashBytes, size - at)));
    if (begin + at + bytes.size() > file_.size()) return hash;  // where nothing can be reserved
    file_.read_at(begin + at, bytes);
    hash = XXH3_64bits_withSeed(bytes.data(), bytes.size(), hash);
  }
  return hash;
}

void EncodedTensors::finish(std::size_t tensor) {
  journal_.add(name_of(tensor), {.hash = hash_of(tensor), .note = Json::object()});
  slots_.at(tensor).finished = true;
}

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
