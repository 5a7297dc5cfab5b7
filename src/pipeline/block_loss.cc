#include "pipeline/block_loss.h"

#include <algorithm>
#include <limits>

#include "pipeline/calibration.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

// Sum of (a - b)^2.
double squared_distance(const HiddenRows& a, const HiddenRows& b) {
  double total = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = static_cast<double>(a[i]) - static_cast<double>(b[i]);
    total += difference * difference;
  }
  return total;
}

TokenSequences some_of(const TokenSequences& all) {
  TokenSequences chosen;
  const std::size_t count = std::min(kBlockSamples, static_cast<std::size_t>(all.size()));
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t sequence = i * static_cast<std::size_t>(all.size()) / count;
    const auto begin = static_cast<std::size_t>(sequence == 0 ? 0 : all.ends[sequence - 1]);
    const auto end = static_cast<std::size_t>(all.ends[sequence]);
    chosen.append(std::span(all.tokens).subspan(begin, std::min(kBlockTokens, end - begin)));
  }
  return chosen;
}

}  // namespace

std::optional<TokenSequences> block_loss_tokens(const QuantizeOptions& options,
                                                const SourceModel& model, const Graph& graph) {
  if (options.awq_loss != "block") return std::nullopt;
  return some_of(read_samples(model, graph.vocab_size, options.model, options.calibration));
}

BlockLoss::BlockLoss(const LinearTask& task, const TokenSequences& tokens)
    : task_(task),
      tokens_(tokens),
      weights_(task.graph, task.model.spec, *task.model.weights),
      layer_(task.graph, weights_,
             {.compute = ComputeType::f32,
              .threads = task.threads,
              .scratch = {},
              .cancel = task.cancel}) {}

void BlockLoss::enter(std::size_t stage) {
  for (; stage_ < stage; ++stage_) {
    input_ = stage_ == 0 ? layer_.embed(tokens_) : std::move(output_);
    output_ = layer_.run(stage_ + 1, tokens_, input_);
  }
}

double BlockLoss::loss_of_layer() const {
  try {
    const double change = squared_distance(layer_.run(stage_, tokens_, input_), output_);
    const double added = squared_distance(output_, input_);
    return added > 0 ? change / added : change;
  } catch (const ValidationError&) {  // not finite any more
    return std::numeric_limits<double>::infinity();
  }
}

double BlockLoss::measure(std::span<const std::size_t> linears,
                          std::span<const std::vector<float>> values) {
  for (std::size_t i = 0; i < linears.size(); ++i) {
    const std::vector<float>& from = values[i];
    weights_.replace(
        task_.plan.linears[linears[i]].source, [&from](std::uint64_t first, std::span<float> out) {
          std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(first), out.size(), out.begin());
        });
  }
  const double loss = loss_of_layer();
  for (const std::size_t linear : linears) {
    weights_.replace(task_.plan.linears[linear].source, {});
  }
  return loss;
}

}  // namespace qwodel
