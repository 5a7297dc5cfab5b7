// Running a model: logits of tokens, and greedy continuation of a text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwodel/error.h"
#include "qwodel/progress.h"

namespace qwodel {

struct RunOptions {
  std::filesystem::path model;   // Hugging Face directory, or .gguf
  std::string arch_as;           // as in QuantizeOptions
  std::string tokenizer_pre;     // as in QuantizeOptions
  std::string compute = "auto";  // precision of matrix products: f32, bf16, or auto
  int threads = 0;               // 0: one per core
  std::uint64_t max_memory = 0;  // bytes for hidden states, decoded weights, batches and sums; more
                                 // hidden states go to a file, and other batches give other
                                 // roundings. 0: each has its own default
  ProgressCallback progress;
  const CancelToken* cancel = nullptr;
};

struct LogitsReport {
  std::uint64_t tokens = 0;
  std::uint64_t vocab_size = 0;
  std::string compute;         // what auto came to
  double forward_seconds = 0;  // hidden states of all tokens
  double logits_seconds = 0;   // the vocabulary's products, and writing
};

// Writes the logits of one sequence as a NumPy file, f32 [tokens, vocab_size]. Throws Error.
LogitsReport write_logits(const RunOptions& options, std::span<const std::uint32_t> tokens,
                          const std::filesystem::path& output);

struct GenerateReport {
  std::vector<std::uint32_t> prompt_ids;
  std::vector<std::uint32_t> ids;  // new ones; an end token is not among them
  std::string text;                // of the new ids
  std::string compute;
  double prompt_seconds = 0;
  double token_seconds = 0;  // per new token after the first
};

// Continues a text with the likeliest token each time, at most `max_tokens` times or until the
// model's end token. `on_text` gets the new text as it grows; may be empty. Throws Error.
GenerateReport generate(const RunOptions& options, const std::string& prompt,
                        std::uint64_t max_tokens,
                        const std::function<void(std::string_view)>& on_text = {});

}  // namespace qwodel
