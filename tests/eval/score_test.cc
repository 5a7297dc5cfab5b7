// Scores taken tile by tile are those of whole rows in long double, whatever the spans.
#include "eval/score.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "eval/summary.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::size_t kTokens = 2500;      // more than are scored together
constexpr std::size_t kVocabulary = 1100;  // more than a tile

struct FakeModel {
  std::vector<float> logits;

  explicit FakeModel(std::uint32_t seed, const FakeModel* near = nullptr) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal(0, near == nullptr ? 3.0f : 0.1f);
    logits.resize(kTokens * kVocabulary);
    for (std::size_t i = 0; i < logits.size(); ++i) {
      logits[i] = normal(random) + (near == nullptr ? 0.0f : near->logits[i]);
    }
  }

  LogitFunction function() const {
    return [this](std::span<const ScoredSpan> spans) -> LogitTiles {
      std::vector<std::uint64_t> tokens;
      for (const ScoredSpan& span : spans) {
        for (std::size_t i = 0; i < span.targets.size(); ++i)
          tokens.push_back(span.first_token + i);
      }
      return [this, tokens](std::uint64_t column, MatrixView out) {
        ASSERT_EQ(out.rows, tokens.size());
        for (std::size_t i = 0; i < out.rows; ++i) {
          std::copy_n(logits.data() + tokens[i] * kVocabulary + column, out.cols,
                      out.row(i).data());
        }
      };
    };
  }

  long double log_prob(std::size_t token, std::size_t id) const {
    const float* row = logits.data() + token * kVocabulary;
    long double sum = 0;
    for (std::size_t i = 0; i < kVocabulary; ++i) sum += std::exp(static_cast<long double>(row[i]));
    return row[id] - std::log(sum);
  }
};

struct Spans {
  std::vector<std::uint32_t> targets;
  std::vector<ScoredSpan> spans;

  Spans() {
    std::mt19937 random(9);
    for (std::size_t i = 0; i < kTokens; ++i)
      targets.push_back(static_cast<std::uint32_t>(random() % kVocabulary));
    const std::span<const std::uint32_t> all(targets);
    spans = {{3, all.subspan(0, 1)},
             {900, all.subspan(1, 1400)},
             {10, all.subspan(1401, 700)},
             {2499, all.subspan(2101, 1)}};
  }
};

TEST(Score, TokensAreScoredAsWholeRowsAre) {
  const FakeModel model(1);
  const Spans s;
  const TaskThreads threads(2);
  const auto scores = score_tokens(model.function(), kVocabulary, s.spans, threads, "model");
  std::size_t at = 0;
  for (const ScoredSpan& span : s.spans) {
    for (std::size_t i = 0; i < span.targets.size(); ++i, ++at) {
      if (at % 97 != 0 && i != 0) continue;
      const auto expected =
          -static_cast<double>(model.log_prob(span.first_token + i, span.targets[i]));
      ASSERT_NEAR(scores[at].nll, expected, 1e-11);
    }
  }
  EXPECT_EQ(at, scores.size());
}

TEST(Score, ComparisonsAreThoseOfWholeRows) {
  const FakeModel base(1);
  const FakeModel model(2, &base);
  const Spans s;
  const TaskThreads threads(2);
  const auto scores =
      compare_tokens({base.function()}, model.function(), kVocabulary, s.spans, threads, "model");
  const TaskThreads one_thread(1);
  const auto again = compare_tokens({base.function()}, model.function(), kVocabulary, s.spans,
                                    one_thread, "model");
  ASSERT_EQ(scores.size(), 2102u);
  for (std::size_t i = 0; i < scores.size(); ++i) {
    ASSERT_EQ(scores[i].divergence, again[i].divergence);
    ASSERT_EQ(scores[i].nll, again[i].nll);
  }
  long double expected = 0;
  for (std::size_t id = 0; id < kVocabulary; ++id) {
    const long double p = base.log_prob(900, id);
    expected += std::exp(p) * (p - model.log_prob(900, id));
  }
  EXPECT_NEAR(scores[1].divergence, static_cast<double>(expected), 1e-12);
  const DivergenceSummary summary = summarize(scores);
  EXPECT_GT(summary.mean.low, 0.003);  // half the variance of the noise is 0.005
  EXPECT_LT(summary.mean.high, 0.006);
  EXPECT_GT(summary.same_top.low, 0.8);
  EXPECT_LT(summary.same_top.high, 1.0);
}

TEST(Score, LogitsThatAreNotFiniteAreAnError) {
  FakeModel model(1);
  model.logits[900 * kVocabulary + 1050] = std::numeric_limits<float>::quiet_NaN();
  const Spans s;
  const TaskThreads threads(1);
  EXPECT_THROW(score_tokens(model.function(), kVocabulary, s.spans, threads, "model"),
               ValidationError);
}

}  // namespace
}  // namespace qwodel
