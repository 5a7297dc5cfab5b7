// llama.cpp's file of a reference model's log-probabilities (llama-perplexity
// --kl-divergence-base).
//
// "_logits_", i32 context, i32 vocabulary, i32 chunks, i32 token ids [chunks, context]; then for
// every scored token a row of u16: f32 scale and f32 minimum, a code per vocabulary entry, padding
// to an even number. ln p = scale * code + minimum; logits more than 16 below the largest share
// code 0.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "core/matrix.h"
#include "io/atomic_file.h"
#include "io/mapped_file.h"

namespace qwodel {

struct LogProbShape {
  std::uint32_t context = 0;
  std::uint32_t vocab_size = 0;
  std::uint32_t chunks = 0;

  // Scored tokens of a chunk: those of its second half that have a successor.
  std::uint64_t rows_per_chunk() const { return context - 1 - context / 2; }
  std::uint64_t codes_per_row() const { return (std::uint64_t{vocab_size} + 1) / 2 * 2 + 4; }
  std::uint64_t row_bytes() const { return codes_per_row() * sizeof(std::uint16_t); }
  std::uint64_t header_bytes() const { return 20 + std::uint64_t{chunks} * context * 4; }
};

// Codes of one row of logits. `out` has codes_per_row values. Throws ValidationError for logits
// that are not finite.
void encode_log_probs(std::span<const float> logits, std::span<std::uint16_t> out);

class LogProbWriter {
 public:
  // `tokens` has chunks * context ids. Throws DependencyError as AtomicFile.
  LogProbWriter(const std::filesystem::path& path, const LogProbShape& shape,
                std::span<const std::uint32_t> tokens, bool replace);

  // Row `row` of all chunks' rows. Thread-safe for different rows.
  void write(std::uint64_t row, std::span<const float> logits);

  void commit() { file_.commit(); }

 private:
  LogProbShape shape_;
  AtomicFile file_;
};

// Thread-safe.
class LogProbReader {
 public:
  // Throws ValidationError for a file of another kind, of the wrong size, or with tokens outside
  // its vocabulary.
  explicit LogProbReader(const std::filesystem::path& path);

  const LogProbShape& shape() const { return shape_; }
  const std::vector<std::uint32_t>& tokens() const { return tokens_; }

  // Log-probabilities of columns [first_column, first_column + out.cols) of rows [first_row,
  // first_row + out.rows). Throws ValidationError when a row's scale or minimum is not finite.
  void read(std::uint64_t first_row, std::uint64_t first_column, MatrixView out) const;

 private:
  MappedFile file_;
  LogProbShape shape_;
  std::vector<std::uint32_t> tokens_;
};

}  // namespace qwodel
