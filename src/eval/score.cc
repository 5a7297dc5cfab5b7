#include "eval/score.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "kernels/logit_sums.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

// Tokens whose tile of logits is in memory at once.
constexpr std::uint64_t kTokensPerTile = 2048;
constexpr std::size_t kRowsPerTask = 32;
constexpr float kStoredFloor = -16.0f;

// Spans that are scored together, so that a tile of the head's weights is decoded once for them.
struct SpanGroup {
  std::size_t first = 0;
  std::size_t last = 0;
  std::size_t tokens = 0;
};

std::vector<SpanGroup> group_spans(std::span<const ScoredSpan> spans) {
  std::vector<SpanGroup> groups;
  for (std::size_t i = 0; i < spans.size(); ++i) {
    const std::size_t count = spans[i].targets.size();
    if (groups.empty() || groups.back().tokens + count > kTokensPerTile) groups.push_back({i, i});
    groups.back().last = i + 1;
    groups.back().tokens += count;
  }
  return groups;
}

// What belongs to one token while the vocabulary passes.
struct TokenState {
  LogitPairSums sums = {};
  std::uint32_t target = 0;
  double target_logit = 0;
  double base_target_logit = 0;
};

class SpanScorer {
 public:
  SpanScorer(std::span<const ScoredSpan> spans, std::size_t tokens) : spans_(spans) {
    states_.reserve(tokens);
    for (const ScoredSpan& span : spans) {
      for (const std::uint32_t target : span.targets) states_.push_back({.target = target});
    }
    tile_.resize(tokens * kVocabularyTile);
  }

  // `base` may be null: then only the model's sums are taken.
  void run(const BaseLogits* base, const LogitFunction& logits, std::uint64_t vocab_size,
           const TaskThreads& threads) {
    const LogitTiles tiles = logits(spans_);
    LogitTiles base_tiles;
    if (base != nullptr) {
      base_tile_.resize(tile_.size());
      if (base->are_log_probabilities) floor_ = kStoredFloor;
      base_tiles = base->logits(spans_);
    }
    for (std::uint64_t column = 0; column < vocab_size; column += kVocabularyTile) {
      const auto columns = static_cast<std::size_t>(std::min(kVocabularyTile, vocab_size - column));
      tiles(column, {tile_.data(), states_.size(), columns});
      if (base != nullptr) base_tiles(column, {base_tile_.data(), states_.size(), columns});
      threads.run((states_.size() + kRowsPerTask - 1) / kRowsPerTask, [&](std::size_t task) {
        const std::size_t end = std::min(states_.size(), (task + 1) * kRowsPerTask);
        for (std::size_t i = task * kRowsPerTask; i < end; ++i) {
          add(i, column, columns, base != nullptr);
        }
      });
    }
  }

  const std::vector<TokenState>& states() const { return states_; }

 private:
  void add(std::size_t i, std::uint64_t column, std::size_t columns, bool paired) {
    TokenState& state = states_[i];
    const float* row = tile_.data() + i * columns;
    const float* base_row = paired ? base_tile_.data() + i * columns : nullptr;
    if (paired) {
      add_logit_pair(base_row, row, columns, column, state.sums, floor_);
    } else {
      add_logits(row, columns, column, state.sums.q);
    }
    if (state.target < column || state.target >= column + columns) return;
    const auto at = static_cast<std::size_t>(state.target - column);
    state.target_logit = static_cast<double>(row[at]);
    if (paired) state.base_target_logit = static_cast<double>(base_row[at]);
  }

  std::span<const ScoredSpan> spans_;
  std::vector<TokenState> states_;
  std::vector<float> tile_;
  std::vector<float> base_tile_;
  float floor_ = -std::numeric_limits<float>::infinity();
};

TokenComparison compare(const TokenState& state, bool base_is_normalized) {
  const LogitPairSums& sums = state.sums;
  TokenComparison result{.nll = sums.q.log_sum_exp() - state.target_logit,
                         .same_top = sums.p.argmax == sums.q.argmax};
  if (base_is_normalized) {
    result.base_nll = -state.base_target_logit;
    result.divergence =
        std::exp(sums.p.max) * (sums.difference + sums.q.log_sum_exp() * sums.p.sum);
  } else {
    result.base_nll = sums.p.log_sum_exp() - state.base_target_logit;
    result.divergence = sums.kl_divergence();
  }
  return result;
}

double finite(double value, const std::string& model) {
  if (std::isfinite(value)) return value;
  throw ValidationError({.where = model,
                         .found = "logits that are not finite, or a token of probability 0",
                         .expected = "finite logits",
                         .remedy = "qwodel verify finds damaged weights; with --compute bf16, try "
                                   "f32"});
}

}  // namespace

LogitFunction logits_of(const Executor& executor, const HeadInput& input,
                        std::uint64_t hidden_size) {
  return [&executor, &input, hidden_size](std::span<const ScoredSpan> spans) -> LogitTiles {
    const auto width = static_cast<std::size_t>(hidden_size);
    std::size_t tokens = 0;
    for (const ScoredSpan& span : spans) tokens += span.targets.size();
    const auto rows = std::make_shared<std::vector<float>>(tokens * width);
    const MatrixView hidden(rows->data(), tokens, width);
    std::size_t row = 0;
    for (const ScoredSpan& span : spans) {
      input.read(span.first_token, hidden.row_range(row, span.targets.size()));
      row += span.targets.size();
    }
    return [&executor, rows, hidden](std::uint64_t first_column, MatrixView out) {
      executor.logits(hidden, first_column, out);
    };
  };
}

std::vector<TokenScore> score_tokens(const LogitFunction& logits, std::uint64_t vocab_size,
                                     std::span<const ScoredSpan> spans, const TaskThreads& threads,
                                     const std::string& model) {
  std::vector<TokenScore> scores;
  for (const SpanGroup& group : group_spans(spans)) {
    SpanScorer scorer(spans.subspan(group.first, group.last - group.first), group.tokens);
    scorer.run(nullptr, logits, vocab_size, threads);
    for (const TokenState& state : scorer.states()) {
      scores.push_back({finite(state.sums.q.log_sum_exp() - state.target_logit, model)});
    }
  }
  return scores;
}

std::vector<TokenComparison> compare_tokens(const BaseLogits& base, const LogitFunction& logits,
                                            std::uint64_t vocab_size,
                                            std::span<const ScoredSpan> spans,
                                            const TaskThreads& threads, const std::string& model) {
  std::vector<TokenComparison> scores;
  for (const SpanGroup& group : group_spans(spans)) {
    SpanScorer scorer(spans.subspan(group.first, group.last - group.first), group.tokens);
    scorer.run(&base, logits, vocab_size, threads);
    for (const TokenState& state : scorer.states()) {
      scores.push_back(compare(state, base.are_log_probabilities));
      finite(scores.back().nll, model);
      finite(scores.back().base_nll, model);
      finite(scores.back().divergence, model);
    }
  }
  return scores;
}

}  // namespace qwodel
