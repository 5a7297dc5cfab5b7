#include "calibrate/collector.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "kernels/column_sums.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::size_t kColumnsPerTask = 64;

}  // namespace

std::vector<StatisticsInput> statistics_inputs(const Graph& graph) {
  std::vector<StatisticsInput> result;
  for (const LinearInput& input : linear_inputs(graph)) {
    StatisticsInput named{
        .weights = {}, .kind = input.kind, .width = input.width, .parts = input.parts};
    for (const WeightId weight : input.weights) named.weights.push_back(graph.weights[weight].name);
    result.push_back(std::move(named));
  }
  return result;
}

StatisticsCollector::StatisticsCollector(const Graph& graph, CollectorOptions options, Sink sink)
    : graph_(&graph),
      options_(std::move(options)),
      threads_(options_.threads),
      sink_(std::move(sink)),
      inputs_(linear_inputs(graph)) {
  for (std::size_t i = 0; i < inputs_.size(); ++i) by_op_[{inputs_[i].stage, inputs_[i].op}] = i;
}

StatisticsCollector::Sums& StatisticsCollector::sums_of(std::size_t input) {
  const auto found = running_.find(input);
  if (found != running_.end()) return found->second;
  const auto parts = static_cast<std::size_t>(inputs_[input].parts);
  const auto width = static_cast<std::size_t>(inputs_[input].width);
  Sums& result = running_[input];
  result.sums.counts.resize(parts);
  result.sums.sum_abs.resize(parts * width);
  result.sums.sum_squares.resize(parts * width);
  result.sums.max_abs.resize(parts * width);
  if (options_.with_gram) {
    const std::uint64_t room = options_.gram_memory - std::min(options_.gram_memory, gram_held_);
    result.gram.emplace(width, parts, options_.compute, room, options_.scratch);
    gram_held_ += result.gram->held();
  }
  return result;
}

void StatisticsCollector::on_input(std::size_t stage, std::size_t op, std::size_t part,
                                   ConstMatrixView rows) {
  const auto found = by_op_.find({stage, op});
  if (found == by_op_.end()) return;
  Sums& to = sums_of(found->second);
  const std::size_t base = part * rows.cols;
  to.sums.counts[part] += rows.rows;
  threads_.run((rows.cols + kColumnsPerTask - 1) / kColumnsPerTask, [&](std::size_t i) {
    const std::size_t first = i * kColumnsPerTask;
    const std::size_t count = std::min(kColumnsPerTask, rows.cols - first);
    add_column_sums(rows.col_range(first, count), to.sums.sum_abs.data() + base + first,
                    to.sums.sum_squares.data() + base + first,
                    to.sums.max_abs.data() + base + first);
  });
  if (to.gram) to.gram->add(part, rows, threads_);
}

void StatisticsCollector::on_stage_end(std::size_t stage) {
  // Matrices that are made of rows have all the memory when the others are done.
  std::vector<std::size_t> spooled;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (inputs_[i].stage != stage) continue;
    const Sums& sums = sums_of(i);  // zeros when no token came here
    if (sums.gram && sums.gram->is_spooled()) {
      spooled.push_back(i);
    } else {
      finish(i);
    }
  }
  for (const std::size_t i : spooled) finish(i);
  gram_held_ = 0;
  if (sink_.on_stage_end) sink_.on_stage_end(stage);
}

void StatisticsCollector::finish(std::size_t input) {
  const auto bad = [](auto value) { return !std::isfinite(value); };
  Sums& sums = running_.at(input);
  if (std::ranges::any_of(sums.sums.sum_squares, bad)) refuse_not_finite(input);
  if (sums.gram) {
    sums.gram->finish(options_.gram_memory, threads_,
                      [&](std::uint64_t first, std::span<const float> values) {
                        if (std::ranges::any_of(values, bad)) refuse_not_finite(input);
                        sink_.on_gram(input, first, values);
                      });
  }
  sink_.on_sums(input, std::move(sums.sums));
  running_.erase(input);
}

void StatisticsCollector::refuse_not_finite(std::size_t input) const {
  throw ValidationError({.where = graph_->weights[inputs_[input].weights.front()].name,
                         .found = "activations at its input that are not finite, or whose squares "
                                  "are not",
                         .expected = "finite activations",
                         .remedy = "check the weights before this layer, or use --compute f32"});
}

}  // namespace qwodel
