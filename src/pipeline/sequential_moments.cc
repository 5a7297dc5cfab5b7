#include "pipeline/sequential_moments.h"

#include <algorithm>
#include <utility>

namespace qwodel {
namespace {

// Gram matrices that are summed at once; of more experts some are summed after the others.
constexpr std::uint64_t kGramBytes = std::uint64_t{1} << 30;

std::vector<PassCut> cuts_of(const std::vector<LinearInput>& inputs) {
  std::vector<PassCut> cuts;
  for (const LinearInput& input : inputs) cuts.push_back({input.stage, input.op});
  return cuts;
}

ExecutorOptions with_pool(ExecutorOptions options) {
  options.buffers = std::make_shared<BufferPool>();
  return options;
}

ExecutorOptions without_progress(ExecutorOptions options) {
  options.progress = {};
  return options;
}

}  // namespace

struct SequentialMoments::PartSums {
  std::size_t part = 0;
  std::optional<GramSum> gram;
  std::uint64_t rows = 0;

  // Nothing is known without rows. Frees the sum.
  SecondMoments take_moments(std::size_t width) {
    InputSums packed;
    packed.counts = {rows};
    packed.sum_abs.resize(width);
    packed.gram.resize(static_cast<std::size_t>(triangle(width)));
    if (rows > 0) gram->store(packed.gram);
    gram.reset();
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
      options_(with_pool(options)),
      executor_(graph, weights, options_),
      pass_(executor_, sequences, cuts_of(inputs_)),
      inputs_factor_(executor_.compute()),
      difference_factor_(executor_.compute()) {
  if (original == nullptr) return;
  original_executor_.emplace(graph, *original, without_progress(options_));
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
  while (!parts.empty()) {
    const auto next = parts.first(std::min(at_once, parts.size()));
    std::optional<CrossSum> differences;
    if (original_ && input.kind == InputParts::whole) differences.emplace(width);
    for (PartSums& sums : collect(next, differences ? &*differences : nullptr)) {
      SecondMoments moments =
          measure(times_, "second moments", [&] { return sums.take_moments(width); });
      std::vector<float> cross;
      if (differences && sums.rows > 0) {
        cross = measure(times_, "mismatch", [&] {
          return std::move(*differences).scaled(1.0f / static_cast<float>(sums.rows));
        });
      }
      visit(sums.part, std::move(moments), cross);
    }
    parts = parts.subspan(next.size());
  }
}

std::vector<SequentialMoments::PartSums> SequentialMoments::collect(
    std::span<const std::size_t> parts, CrossSum* differences) const {
  const auto width = static_cast<std::size_t>(inputs_[next_ - 1].width);
  std::vector<PartSums> sums;
  for (const std::size_t part : parts) {
    sums.push_back({part, GramSum(width, executor_.compute()), 0});
  }
  for (std::size_t b = 0; b < pass_.batches(); ++b) {
    pass_.visit(b, [&](std::size_t part, const FactorRows& x) {
      const auto to = std::ranges::find(sums, part, &PartSums::part);
      if (to == sums.end()) return;
      to->rows += row_count(x);
      if (differences == nullptr) {
        add_rows(x, nullptr, *to->gram, nullptr);
        return;
      }
      original_->visit(
          b, [&](std::size_t, const FactorRows& y) { add_rows(x, &y, *to->gram, differences); });
    });
  }
  return sums;
}

void SequentialMoments::add_rows(const FactorRows& x, const FactorRows* y, GramSum& gram,
                                 CrossSum* differences) const {
  for (std::size_t first = 0; first < row_count(x); first += GramSum::kRows) {
    const std::size_t count = std::min(GramSum::kRows, row_count(x) - first);
    const FactorRows run = row_range(x, first, count);
    measure(times_, "second moments", [&] {
      inputs_factor_.assign(run, threads_);
      gram.add(inputs_factor_, threads_);
    });
    if (y == nullptr) continue;
    measure(times_, "mismatch", [&] {
      difference_factor_.assign_difference(row_range(*y, first, count), run, threads_);
      differences->add(difference_factor_, inputs_factor_, threads_);
    });
  }
}

}  // namespace qwodel
