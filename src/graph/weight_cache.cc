#include "graph/weight_cache.h"

#include <algorithm>

#include "core/checked.h"
#include "graph/aligned_buffer.h"

namespace qwodel {
namespace {

// Values decoded by one task, about; whole panels.
constexpr std::size_t kTaskValues = std::size_t{1} << 18;

struct Chunk {
  std::size_t part;
  std::size_t matrix;
  std::size_t first;
  std::size_t count;
};

std::size_t rows_per_task(std::size_t cols) {
  constexpr std::size_t kPanel = PackedMatrix::kPanel;
  return std::max<std::size_t>(1, kTaskValues / (kPanel * std::max<std::size_t>(1, cols))) * kPanel;
}

}  // namespace

WeightCache::WeightCache(const Graph& graph, const GraphWeights& weights, ComputeType compute,
                         const TaskThreads& threads, std::uint64_t capacity)
    : graph_(&graph),
      weights_(&weights),
      compute_(compute),
      threads_(&threads),
      capacity_(capacity) {}

std::uint64_t WeightCache::columns(WeightId weight) const {
  return graph_->weights[weight].shape.back();
}

WeightRows WeightCache::whole(WeightId weight) const {
  const auto& shape = graph_->weights[weight].shape;
  const auto rows = checked_product({shape.data(), shape.size() - 1});
  return {weight, 0, rows.value_or(0)};
}

std::uint64_t WeightCache::decoded_bytes(const WeightRows& part) const {
  return part.count * columns(part.weight) * packed_value_bytes(compute_ == ComputeType::bf16);
}

std::shared_ptr<DecodedWeight> WeightCache::make_empty(const WeightRows& part) const {
  const auto& shape = graph_->weights[part.weight].shape;
  const auto cols = static_cast<std::size_t>(columns(part.weight));
  std::size_t count = 1;
  if (shape.size() == 3 && shape[1] != 0) count = static_cast<std::size_t>(part.count / shape[1]);
  auto decoded = std::make_shared<DecodedWeight>();
  for (std::size_t i = 0; i < count; ++i) {
    decoded->matrices.emplace_back(static_cast<std::size_t>(part.count) / count, cols,
                                   compute_ == ComputeType::bf16);
  }
  return decoded;
}

void WeightCache::decode(WeightId weight, std::uint64_t from_row, std::size_t first,
                         std::size_t count, PackedMatrix& out) const {
  thread_local AlignedBuffer<float> scratch;
  scratch.reserve(count * out.cols());
  weights_->read(weight, from_row * out.cols(), {scratch.data(), count * out.cols()});
  out.pack(first, {scratch.data(), count, out.cols()});
}

std::vector<WeightHandle> WeightCache::load(std::span<const WeightRows> parts) {
  std::vector<WeightHandle> handles(parts.size());
  std::vector<std::shared_ptr<DecodedWeight>> fresh(parts.size());
  std::vector<Chunk> chunks;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto found = matrices_.find(parts[i]);
    if (found != matrices_.end()) {
      handles[i] = found->second;
      continue;
    }
    fresh[i] = make_empty(parts[i]);
    handles[i] = fresh[i];
    for (std::size_t m = 0; m < fresh[i]->matrices.size(); ++m) {
      const std::size_t rows = fresh[i]->matrices[m].rows();
      const std::size_t height = rows_per_task(fresh[i]->matrices[m].cols());
      for (std::size_t row = 0; row < rows; row += height) {
        chunks.push_back({i, m, row, std::min(height, rows - row)});
      }
    }
  }
  threads_->run(chunks.size(), [&](std::size_t i) {
    const Chunk& chunk = chunks[i];
    PackedMatrix& matrix = fresh[chunk.part]->matrices[chunk.matrix];
    decode(parts[chunk.part].weight,
           parts[chunk.part].first + chunk.matrix * matrix.rows() + chunk.first, chunk.first,
           chunk.count, matrix);
  });
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::uint64_t bytes = decoded_bytes(parts[i]);
    if (fresh[i] == nullptr || held_ + bytes > capacity_) continue;
    if (matrices_.emplace(parts[i], handles[i]).second) held_ += bytes;
  }
  return handles;
}

std::span<const float> WeightCache::vector(WeightId weight) {
  if (weight == kNoId) return {};
  const std::scoped_lock lock(vectors_mutex_);
  std::vector<float>& values = vectors_[weight];
  if (values.empty()) {
    values.resize(static_cast<std::size_t>(whole(weight).count * columns(weight)));
    weights_->read(weight, 0, values);
  }
  return values;
}

void WeightCache::drop(WeightId weight) {
  const auto begin = matrices_.lower_bound({weight, 0, 0});
  auto end = begin;
  for (; end != matrices_.end() && end->first.weight == weight; ++end) {
    held_ -= decoded_bytes(end->first);
  }
  matrices_.erase(begin, end);
  const std::scoped_lock lock(vectors_mutex_);
  vectors_.erase(weight);
}

}  // namespace qwodel
