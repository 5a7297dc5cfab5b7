// Scores of tokens: how likely a model finds each token that follows, and how far a second model is
// from it there. Logits come in tiles of the vocabulary and are gone after their sums are taken;
// never is a matrix of tokens x vocabulary in memory.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/matrix.h"
#include "graph/executor.h"
#include "graph/task_threads.h"

namespace qwodel {

// Logits of a group of tokens for vocabulary columns [first_column, first_column + out.cols);
// out.rows is the number of tokens.
using LogitTiles = std::function<void(std::uint64_t first_column, MatrixView out)>;

// Consecutive tokens whose logits are scored. targets[i] is the token that follows token
// first_token + i. REQUIRES: targets below the vocabulary's size.
struct ScoredSpan {
  std::uint64_t first_token = 0;
  std::span<const std::uint32_t> targets;
};

// What gives logits of the tokens of spans, all in one matrix.
using LogitFunction = std::function<LogitTiles(std::span<const ScoredSpan> spans)>;

// Of a forward pass. The executor and its head input must outlive the function.
LogitFunction logits_of(const Executor& executor, const HeadInput& input,
                        std::uint64_t hidden_size);

struct TokenScore {
  double nll = 0;  // -ln of the probability of the target
};

// Of one token, by the reference (base) and by the model that is compared with it.
struct TokenComparison {
  double nll = 0;
  double base_nll = 0;
  double divergence = 0;  // sum of base ln(base / model) over the vocabulary, nats
  bool same_top = false;  // both find the same token most likely
};

inline constexpr std::uint64_t kVocabularyTile = 1024;

// One score per target, spans in order. Throws ValidationError, which `model` begins, when a
// logit is not finite (other than -infinity).
std::vector<TokenScore> score_tokens(const LogitFunction& logits, std::uint64_t vocab_size,
                                     std::span<const ScoredSpan> spans, const TaskThreads& threads,
                                     const std::string& model);

// The reference of a comparison.
struct BaseLogits {
  LogitFunction logits;

  // True for logits that are logarithms of probabilities stored with few bits (llama.cpp's files):
  // they are taken as they are, not normalized again, and those at or below -16 count as
  // probability 0 in the divergence, as in llama-perplexity.
  bool are_log_probabilities = false;
};

std::vector<TokenComparison> compare_tokens(const BaseLogits& base, const LogitFunction& logits,
                                            std::uint64_t vocab_size,
                                            std::span<const ScoredSpan> spans,
                                            const TaskThreads& threads, const std::string& model);

}  // namespace qwodel
