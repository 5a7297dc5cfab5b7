// Sums over the vocabulary that perplexity and KL divergence are made of, built up tile by tile.
//
// A row of logits is never whole in memory: columns come in tiles, and every sum is relative to the
// largest logit so far. Everything is double precision, so that the divergence of two nearly equal
// models (1e-7 nats) is not lost in the rounding of the sums.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

namespace qwodel {

// Of one row of logits. A logit of -infinity is a token that cannot follow.
struct LogitSums {
  double max = -std::numeric_limits<double>::infinity();
  double sum = 0;            // of e^(logit - max)
  std::uint64_t argmax = 0;  // the first column that holds max

  double log_sum_exp() const;
};

// Of two rows over the same columns: p is the reference, q what is compared with it.
struct LogitPairSums {
  LogitSums p;
  LogitSums q;
  double difference = 0;  // sum of e^(p - p.max) (p - q), over the columns where p > -infinity

  // Sum of p ln(p / q) of the normalized distributions, in nats.
  double kl_divergence() const;
};

// Adds columns [first_column, first_column + count) of a row. Columns where p is not above
// `p_floor` have no part in p.sum and difference.
void add_logits(const float* logits, std::size_t count, std::uint64_t first_column,
                LogitSums& sums);
void add_logit_pair(const float* p, const float* q, std::size_t count, std::uint64_t first_column,
                    LogitPairSums& sums, float p_floor = -std::numeric_limits<float>::infinity());

}  // namespace qwodel
