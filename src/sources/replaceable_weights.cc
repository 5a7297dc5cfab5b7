#include "sources/replaceable_weights.h"

#include <string_view>
#include <unordered_map>
#include <utility>

namespace qwodel {

class ReplaceableWeights::Tensor final : public WeightTensor {
 public:
  explicit Tensor(const WeightTensor& stored)
      : WeightTensor(stored.name(), stored.shape(), stored.type(), stored.is_quantized()),
        stored_(stored) {}

  void replace(Values values) { values_ = std::move(values); }

  void read(std::uint64_t first, std::span<float> out) const override {
    if (values_) {
      values_(first, out);
    } else {
      stored_.read(first, out);
    }
  }

  std::vector<std::span<const std::byte>> storage(std::uint64_t first,
                                                  std::uint64_t count) const override {
    return stored_.storage(first, count);
  }

 private:
  const WeightTensor& stored_;
  Values values_;
};

ReplaceableWeights::ReplaceableWeights(const Graph& graph, const ModelSpec& spec,
                                       const Weights& weights) {
  std::unordered_map<std::string_view, const WeightTensor*> by_name;
  for (const std::string& name : spec.sources) {
    const WeightTensor* stored = weights.find(name);
    tensors_.push_back(stored == nullptr ? nullptr : std::make_unique<Tensor>(*stored));
    if (stored != nullptr) by_name.emplace(stored->name(), tensors_.back().get());
  }
  const auto find = [&](std::string_view name) {
    const auto found = by_name.find(name);
    return found == by_name.end() ? nullptr : found->second;
  };
  readers_.reserve(spec.tensors.size());
  for (const ModelTensor& tensor : spec.tensors) readers_.emplace_back(spec, tensor, find);
  weights_ = std::make_unique<CheckpointWeights>(graph, readers_);
}

ReplaceableWeights::~ReplaceableWeights() = default;

void ReplaceableWeights::replace(std::uint32_t source, Values values) {
  tensors_[source]->replace(std::move(values));
}

void ReplaceableWeights::read(WeightId weight, std::uint64_t first, std::span<float> out) const {
  weights_->read(weight, first, out);
}

void ReplaceableWeights::will_need(WeightId weight) const { weights_->will_need(weight); }

void ReplaceableWeights::done_with(WeightId weight) const { weights_->done_with(weight); }

}  // namespace qwodel
