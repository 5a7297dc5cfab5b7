#include "pipeline/sequential_moments.h"

#include <algorithm>
#include <utility>

#include "calibrate/cross_sum.h"
#include "calibrate/gram_sum.h"

namespace qwodel {
namespace {

// Gram matrices that are summed at once; of more experts some are summed after the others.
constexpr std::uint64_t kGramBytes = std::uint64_t{1} << 30;

std::vector<PassCut> cuts_of(const std::vector<LinearInput>& inputs) {
  std::vector<PassCut> cuts;
  for (const LinearInput& input : inputs) cuts.push_back({input.stage, input.op});
  return cuts;
}

ExecutorOptions without_progress(ExecutorOptions options) {
  options.progress = {};
  return options;
}

}  // namespace

struct SequentialMoments::PartSums {
  std::size_t part = 0;
  GramSum gram;
  std::uint64_t rows = 0;

  // Nothing is known without rows.
  SecondMoments moments(std::size_t width) const {
    InputSums packed;
    packed.counts = {rows};
    packed.sum_abs.resize(width);
    packed.gram.resize(static_cast<std::size_t>(triangle(width)));
    if (rows > 0) gram.store(packed.gram);
    return second_moments(packed, 0, width);
  }
};

SequentialMoments::SequentialMoments(const Graph& graph, const GraphWeights& weights,
                                     const GraphWeights* original, const TokenSequences& sequences,
                                     const ExecutorOptions& options,
                                     std::vector<LinearInput> inputs, int threads,
                                     PhaseTimes* times)
    : inputs_(std::move(inputs)),
      threads_(threads),
      times_(times),
      executor_(graph, weights, options),
      pass_(executor_, sequences, cuts_of(inputs_)) {
  if (original == nullptr) return;
  original_executor_.emplace(graph, *original, without_progress(options));
  original_.emplace(*original_executor_, sequences, cuts_of(inputs_));
}

const LinearInput* SequentialMoments::advance() {
  if (!measure(times_, "model", [&] { return pass_.advance(); })) return nullptr;
  if (original_) measure(times_, "original model", [&] { original_->advance(); });
  return &inputs_[next_++];
}

void SequentialMoments::visit(std::span<const std::size_t> parts, const Visit& visit) const {
  const LinearInput& input = inputs_[next_ - 1];
  const auto width = static_cast<std::size_t>(input.width);
  const std::uint64_t bytes = input.width * input.width * sizeof(float);
  const auto at_once = static_cast<std::size_t>(std::max<std::uint64_t>(1, kGramBytes / bytes));
  const bool compared = original_.has_value() && input.kind == InputParts::whole;
  while (!parts.empty()) {
    const auto next = parts.first(std::min(at_once, parts.size()));
    const auto all = measure(times_, "second moments", [&] { return collect(next); });
    for (const PartSums& sums : all) {
      const SecondMoments moments =
          measure(times_, "second moments", [&] { return sums.moments(width); });
      std::vector<float> cross;
      if (compared && sums.rows > 0) {
        cross = measure(times_, "mismatch", [&] { return cross_moments(sums.rows); });
      }
      visit(sums.part, moments, cross);
    }
    parts = parts.subspan(next.size());
  }
}

std::vector<SequentialMoments::PartSums> SequentialMoments::collect(
    std::span<const std::size_t> parts) const {
  const auto width = static_cast<std::size_t>(inputs_[next_ - 1].width);
  std::vector<PartSums> sums;
  for (const std::size_t part : parts) {
    sums.push_back({part, GramSum(width, executor_.compute()), 0});
  }
  for (std::size_t b = 0; b < pass_.batches(); ++b) {
    pass_.visit(b, [&](std::size_t part, ConstMatrixView rows) {
      const auto to = std::ranges::find(sums, part, &PartSums::part);
      if (to == sums.end()) return;
      to->gram.add(rows, threads_);
      to->rows += rows.rows;
    });
  }
  return sums;
}

std::vector<float> SequentialMoments::cross_moments(std::uint64_t rows) const {
  const auto width = static_cast<std::size_t>(inputs_[next_ - 1].width);
  CrossSum sum(width, executor_.compute());
  std::vector<float> difference;
  for (std::size_t b = 0; b < pass_.batches(); ++b) {
    pass_.visit(b, [&](std::size_t, ConstMatrixView x) {
      original_->visit(b, [&](std::size_t, ConstMatrixView y) {
        difference.resize(x.rows * width);
        threads_.run(x.rows, [&](std::size_t r) {
          std::ranges::transform(y.row(r), x.row(r), difference.data() + r * width,
                                 [](float to, float from) { return to - from; });
        });
        sum.add({difference.data(), x.rows, width}, x, threads_);
      });
    });
  }
  return sum.scaled(1.0 / static_cast<double>(rows));
}

}  // namespace qwodel
