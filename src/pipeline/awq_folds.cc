#include "pipeline/awq_folds.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <set>
#include <unordered_map>

#include "codecs/codec.h"
#include "graph/edges.h"
#include "graph/task_threads.h"
#include "methods/awq.h"
#include "methods/second_moments.h"
#include "pipeline/block_loss.h"
#include "pipeline/fold_check.h"
#include "pipeline/progress_meter.h"

namespace qwodel {
namespace {

// Weights that one search looks at; of many experts some stand for all.
constexpr std::uint64_t kSearchValues = std::uint64_t{1} << 26;

float as_stored(float value, TensorType type) {
  const Codec* codec = find_codec(type);
  std::array<std::byte, 8> bytes{};
  float stored = 0;
  codec->encode(&value, 1, 1, nullptr, bytes.data());
  codec->decode(bytes.data(), 1, &stored);
  return stored;
}

// True when the view is all of its source in its own order.
bool is_whole(const TensorView& view, const WeightTensor& source) {
  return view == whole_tensor(view.source, source.shape());
}

class FoldSearch {
 public:
  FoldSearch(const LinearTask& task, const StatisticsFile& statistics)
      : task_(task), statistics_(statistics), threads_(task.threads) {
    folds_.columns.resize(task.plan.linears.size());
    folds_.rows.resize(task.plan.linears.size());
    folds_.fold_of.resize(task.plan.linears.size());
    for (std::size_t i = 0; i < task.plan.linears.size(); ++i) {
      planned_.emplace(task.plan.linears[i].source, i);
    }
  }

  AwqFolds run() {
    if (task_.block_tokens != nullptr) block_.emplace(task_, *task_.block_tokens);
    for (const LinearGroup& group : linear_groups(task_.graph)) {
      throw_if_cancelled(task_.cancel);
      const auto absorber = scale_absorber(task_.graph, group);
      if (!absorber) continue;
      const Stage& stage = task_.graph.stages[group.stage];
      if (!absorber->per_expert) {
        fold(group, *absorber, std::nullopt);
        continue;
      }
      const WeightId weight = linear_weight(stage.ops[group.linears.front()]);
      for (std::size_t part = 0; part < tensor_of(weight).parts.size(); ++part) {
        fold(group, *absorber, part);
      }
    }
    return std::move(folds_);
  }

 private:
  const ModelTensor& tensor_of(WeightId weight) const {
    return task_.model.spec.tensors[task_.graph.weights[weight].tensor];
  }
  const WeightTensor& source_of(std::uint32_t source) const {
    return *task_.model.weights->find(task_.model.spec.sources[source]);
  }

  // Sources of the linears that read the group's value, each once.
  std::vector<std::uint32_t> readers(const LinearGroup& group,
                                     std::optional<std::size_t> part) const {
    std::set<std::uint32_t> sources;
    for (const std::size_t op : group.linears) {
      const auto& parts = tensor_of(linear_weight(task_.graph.stages[group.stage].ops[op])).parts;
      for (std::size_t p = 0; p < parts.size(); ++p) {
        if (!part || p == *part) sources.insert(parts[p].source);
      }
    }
    return {sources.begin(), sources.end()};
  }

  std::optional<SecondMoments> moments(const LinearGroup& group,
                                       std::optional<std::size_t> part) const {
    for (const std::size_t op : group.linears) {
      const WeightId weight = linear_weight(task_.graph.stages[group.stage].ops[op]);
      const auto input = statistics_.find(task_.graph.weights[weight].name);
      if (!input) continue;
      const StatisticsInput& known = statistics_.inputs()[*input];
      if (part ? *part >= known.parts : known.parts != 1) continue;
      SecondMoments found = second_moments(statistics_.read_part(*input, part.value_or(0)), 0,
                                           static_cast<std::size_t>(known.width));
      if (found.rows == 0) continue;
      damp_channels(found);
      return found;
    }
    return std::nullopt;
  }

  // What took the scales, so that it can be divided. Nothing when it cannot be written.
  struct Absorber {
    WeightId weight = kNoId;
    WeightId bias = kNoId;
    std::optional<std::size_t> linear;  // of the plan; else a norm
    std::size_t part = 0;
  };

  std::optional<Absorber> writable(const Op& op, std::size_t part) const {
    Absorber found;
    found.part = part;
    if (const auto* norm = std::get_if<NormOp>(&op.kind)) {
      found.weight = norm->weight;
      found.bias = norm->bias;
    } else if (const auto* linear = std::get_if<LinearOp>(&op.kind)) {
      found.weight = linear->weight;
      found.bias = linear->bias;
    } else if (const auto* expert = std::get_if<ExpertLinearOp>(&op.kind)) {
      found.weight = expert->weight;
      if (expert->bias != kNoId) return std::nullopt;
    }
    if (found.weight == kNoId) return std::nullopt;
    for (const WeightId weight : {found.weight, found.bias}) {
      if (weight == kNoId) continue;
      const auto& parts = tensor_of(weight).parts;
      if (part >= parts.size()) return std::nullopt;
      if (!is_whole(parts[part], source_of(parts[part].source))) return std::nullopt;
    }
    if (std::holds_alternative<NormOp>(op.kind)) return found;
    const auto planned = planned_.find(tensor_of(found.weight).parts[part].source);
    if (planned == planned_.end()) return std::nullopt;
    found.linear = planned->second;
    return found;
  }

  void fold(const LinearGroup& group, const ScaleAbsorber& edge, std::optional<std::size_t> part) {
    const Stage& stage = task_.graph.stages[group.stage];
    const auto absorber = writable(stage.ops[edge.op], part.value_or(0));
    const auto sources = readers(group, part);
    const auto known = moments(group, part);
    if (!absorber || !known || sources.empty()) return;
    std::vector<std::vector<float>> values;
    std::vector<std::size_t> linears;
    AwqGroup search{.weights = {},
                    .gram = known->matrix(),
                    .mean_abs = known->mean_abs,
                    .channel = edge.channel};
    for (const std::uint32_t source : searched(sources)) {
      linears.push_back(planned_.at(source));
      const PlannedLinear& linear = task_.plan.linears[linears.back()];
      if (linear.in_features != known->width()) return;
      values.push_back(read_linear(task_.model, linear));
      search.weights.push_back(
          {ConstMatrixView(values.back().data(), static_cast<std::size_t>(linear.out_features),
                           static_cast<std::size_t>(linear.in_features)),
           linear.scheme});
    }
    if (search.weights.empty()) return;
    AwqOptions options{.compute = task_.compute};
    if (block_) {
      block_->enter(group.stage);
      options.block_loss = [&](const std::vector<std::vector<float>>& rounded) {
        return block_->measure(linears, rounded);
      };
    }
    AwqScales found;
    threads_.execute([&] { found = search_awq_scales(search, options); });
    const WeightId reader = linear_weight(stage.ops[group.linears.front()]);
    folds_.folds.push_back({.reader = task_.graph.weights[reader].name,
                            .absorber = task_.graph.weights[absorber->weight].name,
                            .ratio = found.ratio,
                            .duo = found.duo,
                            .loss_before = found.loss_before,
                            .loss_after = found.loss_after,
                            .stage = group.stage});
    for (const std::uint32_t source : sources) {
      const auto planned = planned_.find(source);
      if (planned != planned_.end()) folds_.fold_of[planned->second] = folds_.folds.size() - 1;
    }
    if (!(found.loss_after < found.loss_before)) return;
    divide(*absorber, edge, found.scales);
    for (const std::uint32_t source : sources) multiply(source, found.scales);
  }

  // The planned ones, thinned evenly to kSearchValues.
  std::vector<std::uint32_t> searched(const std::vector<std::uint32_t>& sources) const {
    std::vector<std::uint32_t> planned;
    std::uint64_t values = 0;
    for (const std::uint32_t source : sources) {
      const auto found = planned_.find(source);
      if (found == planned_.end()) continue;
      planned.push_back(source);
      values += task_.plan.linears[found->second].out_features *
                task_.plan.linears[found->second].in_features;
    }
    const std::size_t step = static_cast<std::size_t>(values / kSearchValues) + 1;
    std::vector<std::uint32_t> thinned;
    for (std::size_t i = 0; i < planned.size(); i += step) thinned.push_back(planned[i]);
    return thinned;
  }

  // Divides what makes the value; `scales` become what the columns have to take after rounding.
  void divide(const Absorber& absorber, const ScaleAbsorber& edge, std::vector<float>& scales) {
    const std::uint32_t source = tensor_of(absorber.weight).parts[absorber.part].source;
    std::vector<float> per_channel(static_cast<std::size_t>(source_of(source).shape().front()),
                                   1.0f);
    for (std::size_t c = 0; c < scales.size(); ++c) per_channel[edge.channel[c]] = scales[c];
    if (absorber.linear) {
      folds_.rows[*absorber.linear] = per_channel;
      folds_.folds.back().divided = absorber.linear;
    } else {
      divide_norm(absorber.weight, per_channel);
      for (std::size_t c = 0; c < scales.size(); ++c) scales[c] = per_channel[edge.channel[c]];
    }
    if (absorber.bias == kNoId) return;
    std::vector<float>& bias = current(absorber.bias, absorber.part);
    for (std::size_t i = 0; i < bias.size(); ++i) bias[i] /= per_channel[i];
  }

  // `scales` become the factor between the old weight and the new one as it is stored.
  void divide_norm(WeightId weight, std::vector<float>& scales) {
    const float offset = tensor_of(weight).op == Elementwise::plus_one ? 1.0f : 0.0f;
    const TensorType type = source_of(tensor_of(weight).parts[0].source).type();
    std::vector<float>& values = current(weight, 0);
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float before = values[i] + offset;
      const float after = as_stored(before / scales[i] - offset, type);
      const bool usable = before != 0.0f && after + offset != 0.0f && std::isfinite(after);
      scales[i] = usable ? before / (after + offset) : 1.0f;
      if (usable) values[i] = after;
    }
  }

  void multiply(std::uint32_t source, const std::vector<float>& scales) {
    const auto planned = planned_.find(source);
    if (planned != planned_.end()) {
      folds_.columns[planned->second] = scales;
      folds_.folds.back().scaled.push_back(planned->second);
      return;
    }
    std::vector<float>& values = current_source(source);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] *= scales[i % scales.size()];
  }

  // Values of a source that will be written anew, for the last fold.
  std::vector<float>& current(WeightId weight, std::size_t part) {
    return current_source(tensor_of(weight).parts[part].source);
  }
  std::vector<float>& current_source(std::uint32_t source) {
    std::vector<float>& values = folds_.replaced[source];
    folds_.folds.back().replaced.push_back(source);
    if (values.empty()) {
      values.resize(static_cast<std::size_t>(element_count(source_of(source).shape())));
      source_of(source).read(0, values);
    }
    return values;
  }

  LinearTask task_;
  const StatisticsFile& statistics_;
  TaskThreads threads_;
  std::optional<BlockLoss> block_;
  std::unordered_map<std::uint32_t, std::size_t> planned_;  // source -> index into the plan
  AwqFolds folds_;
};

}  // namespace

AwqFolds find_awq_folds(const LinearTask& task, const StatisticsFile& statistics) {
  AwqFolds folds = FoldSearch(task, statistics).run();
  check_folds(task, folds);
  return folds;
}

}  // namespace qwodel
