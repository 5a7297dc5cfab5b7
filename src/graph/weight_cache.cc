#include "graph/weight_cache.h"

#include <algorithm>

#include "core/checked.h"
#include "kernels/convert.h"

namespace qwodel {
namespace {

// Values decoded by one task; whole rows.
constexpr std::uint64_t kTaskValues = std::uint64_t{1} << 18;

struct Chunk {
  std::size_t part;
  std::uint64_t first;
  std::uint64_t count;
};

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
  return part.count * columns(part.weight) * (compute_ == ComputeType::bf16 ? 2 : 4);
}

std::shared_ptr<DecodedWeight> WeightCache::make_empty(const WeightRows& part) const {
  auto decoded = std::make_shared<DecodedWeight>();
  decoded->rows = static_cast<std::size_t>(part.count);
  decoded->cols = static_cast<std::size_t>(columns(part.weight));
  const std::size_t values = decoded->rows * decoded->cols;
  if (compute_ == ComputeType::bf16) {
    decoded->bf16 = AlignedBuffer<std::uint16_t>(values);
  } else {
    decoded->f32 = AlignedBuffer<float>(values);
  }
  return decoded;
}

void WeightCache::decode(const WeightRows& part, std::uint64_t first, std::uint64_t count,
                         const DecodedWeight& out) const {
  const std::uint64_t from = (part.first + first) * out.cols;
  const auto to = static_cast<std::size_t>(first) * out.cols;
  const auto values = static_cast<std::size_t>(count) * out.cols;
  if (compute_ != ComputeType::bf16) {
    weights_->read(part.weight, from, {out.f32.data() + to, values});
    return;
  }
  thread_local AlignedBuffer<float> scratch;
  scratch.reserve(values);
  weights_->read(part.weight, from, {scratch.data(), values});
  float_to_bfloat16(scratch.data(), values, out.bf16.data() + to);
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
    const std::uint64_t height =
        std::max<std::uint64_t>(1, kTaskValues / std::max<std::uint64_t>(1, fresh[i]->cols));
    for (std::uint64_t row = 0; row < parts[i].count; row += height) {
      chunks.push_back({i, row, std::min(height, parts[i].count - row)});
    }
  }
  threads_->run(chunks.size(), [&](std::size_t i) {
    const Chunk& chunk = chunks[i];
    decode(parts[chunk.part], chunk.first, chunk.count, *fresh[chunk.part]);
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
