// Measuring models: perplexity on a text, and how far a model is from the one it was made from.
//
//   qwodel::EvaluateOptions options;
//   options.run.model = "SmolLM2-135M-Q4_K_M.gguf";
//   options.text = "wiki.test.raw";
//   options.against = "SmolLM2-135M";
//   const qwodel::EvaluateReport report = qwodel::evaluate(options);
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "qwodel/error.h"
#include "qwodel/run.h"

namespace qwodel {

struct EvaluateOptions {
  RunOptions run;                 // the model that is measured
  std::filesystem::path text;     // as a whole; or token ids in a .ids file. Not needed with `base`
  std::uint64_t context = 512;    // tokens of a chunk; the second half of each is scored
  std::uint64_t chunks = 0;       // at most; 0: all whole chunks of the text
  std::filesystem::path against;  // reference model; empty: perplexity only
  std::filesystem::path base;     // or its log-probabilities, a file of llama-perplexity
  std::filesystem::path save_base;  // write such a file of the measured model
  bool force = false;               // replace save_base
  double precision = 0;  // stop when the interval's half width, relative to the mean divergence
                         // (without reference: to the perplexity), is not more; 0: never
};

// With its 95 % confidence interval; tokens count as independent.
struct Measured {
  double value = 0;
  double low = 0;
  double high = 0;
};

struct DivergenceReport {
  Measured mean;  // KL divergence from the reference, nats per token
  double mean_error = 0;
  std::vector<std::pair<double, Measured>> percentiles;  // of the tokens' divergences
  double max = 0;
  Measured same_top;  // share of tokens where both models find the same next token most likely
  Measured perplexity_ratio;  // measured / reference
  double reference_perplexity = 0;
  double reference_perplexity_error = 0;
  double mean_probability_change = 0;  // of the token that follows
  double rms_probability_change = 0;
};

struct EvaluateReport {
  Measured perplexity;
  double perplexity_error = 0;  // as llama-perplexity prints it
  std::uint64_t tokens = 0;     // scored
  std::uint64_t chunks = 0;
  std::uint64_t context = 0;
  std::string compute;  // type of the matrix products
  bool stopped_early = false;
  std::optional<DivergenceReport> divergence;
  double seconds = 0;
};

// Perplexity is that of llama-perplexity: same chunks, same first token of each, same scored
// tokens. Throws Error.
EvaluateReport evaluate(const EvaluateOptions& options);

}  // namespace qwodel
