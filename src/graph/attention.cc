#include "graph/attention.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "graph/aligned_buffer.h"
#include "graph/matmul.h"
#include "kernels/activations.h"
#include "kernels/convert.h"
#include "kernels/row_ops.h"

namespace qwodel {
namespace {

constexpr std::size_t kQueryTile = 128;
constexpr std::size_t kKeyTile = 512;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// One task: some queries of one head of one sequence.
struct HeadTile {
  std::size_t sequence;
  std::size_t head;
  std::size_t first;  // query, counted from the sequence's first row of the batch
  std::size_t count;
};

// Keys [first, last) that a query sees.
struct Visible {
  std::size_t first;
  std::size_t last;
};

Visible visible_keys(const AttentionOp& op, std::size_t position, std::size_t keys) {
  const std::size_t last = op.causal ? std::min(keys, position + 1) : keys;
  const std::size_t window = static_cast<std::size_t>(op.window);
  const std::size_t first = window != 0 && position + 1 > window ? position + 1 - window : 0;
  return {std::min(first, last), last};
}

// Buffers of a thread.
struct Scratch {
  AlignedBuffer<float> queries;
  AlignedBuffer<float> scores;
  AlignedBuffer<float> product;
  AlignedBuffer<std::uint16_t> converted_queries;
  AlignedBuffer<std::uint16_t> probabilities;
  std::vector<float> maxima;
  std::vector<float> sums;
};

void product_with_keys(const Scratch&, Matrix<const float> queries, Matrix<const float> keys,
                       MatrixView scores) {
  multiply_transposed(queries, keys, scores);
}

class HeadAttention {
 public:
  HeadAttention(const AttentionOp& op, std::size_t head, Scratch& scratch)
      : op_(op),
        slope_(op.alibi_slopes.empty() ? 0.0f : op.alibi_slopes[head]),
        scratch_(scratch) {}

  // `position` is that of the first query.
  void run(ConstMatrixView queries, std::size_t position, ConstMatrixView keys,
           ConstMatrixView values, MatrixView out) {
    scratch_.maxima.assign(queries.rows, -kInfinity);
    scratch_.sums.assign(queries.rows, 0.0f);
    for (std::size_t i = 0; i < out.rows; ++i) std::ranges::fill(out.row(i), 0.0f);
    const std::size_t first = visible_keys(op_, position, keys.rows).first;
    const std::size_t last = visible_keys(op_, position + queries.rows - 1, keys.rows).last;
    for (std::size_t key = first; key < last; key += kKeyTile) {
      const std::size_t count = std::min(kKeyTile, last - key);
      add_tile(queries, position, keys.row_range(key, count), values.row_range(key, count), key,
               keys.rows, out);
    }
    for (std::size_t i = 0; i < out.rows; ++i) {
      scale(out.row(i).data(), out.cols, 1.0f / scratch_.sums[i], out.row(i).data());
    }
  }

 private:
  void add_tile(ConstMatrixView queries, std::size_t position, ConstMatrixView keys,
                ConstMatrixView values, std::size_t first_key, std::size_t all_keys,
                MatrixView out) {
    scratch_.scores.reserve(queries.rows * keys.rows);
    scratch_.product.reserve(queries.rows * values.cols);
    const MatrixView scores(scratch_.scores.data(), queries.rows, keys.rows);
    const MatrixView product(scratch_.product.data(), queries.rows, values.cols);
    product_with_keys(scratch_, queries, keys, scores);
    for (std::size_t i = 0; i < queries.rows; ++i) {
      Visible seen = visible_keys(op_, position + i, all_keys);
      seen.first = std::clamp(seen.first, first_key, first_key + keys.rows) - first_key;
      seen.last = std::clamp(seen.last, first_key, first_key + keys.rows) - first_key;
      soften_row(scores.row(i), seen, first_key, position + i, i, out.row(i));
    }
    multiply(scores, values, product);
    for (std::size_t i = 0; i < out.rows; ++i) {
      add(out.row(i).data(), product.row(i).data(), out.cols, out.row(i).data());
    }
  }

  // Scores of one query to e^(score - running maximum), 0 where it does not see; what was summed
  // under an older maximum is scaled to the new one.
  void soften_row(std::span<float> row, Visible seen, std::size_t first_key, std::size_t position,
                  std::size_t i, std::span<float> out) {
    float* scores = row.data() + seen.first;
    const std::size_t count = seen.last - seen.first;
    std::fill(row.begin(), row.begin() + static_cast<std::ptrdiff_t>(seen.first), 0.0f);
    std::fill(row.begin() + static_cast<std::ptrdiff_t>(seen.last), row.end(), 0.0f);
    if (count == 0) return;
    scale(scores, count, op_.scale, scores);
    if (op_.softcap > 0) softcap(scores, count, op_.softcap, scores);
    if (slope_ != 0.0f) {
      const auto distance = static_cast<std::ptrdiff_t>(first_key + seen.first) -
                            static_cast<std::ptrdiff_t>(position);
      for (std::size_t j = 0; j < count; ++j) {
        scores[j] += slope_ * static_cast<float>(distance + static_cast<std::ptrdiff_t>(j));
      }
    }
    const float maximum = std::max(scratch_.maxima[i], largest(scores, count));
    const float shrink = std::exp(scratch_.maxima[i] - maximum);
    scratch_.sums[i] = scratch_.sums[i] * shrink + exp_minus(scores, count, maximum, scores);
    scratch_.maxima[i] = maximum;
    if (shrink != 1.0f) scale(out.data(), out.size(), shrink, out.data());
  }

  const AttentionOp& op_;
  float slope_;
  Scratch& scratch_;
};

std::vector<HeadTile> make_tiles(const AttentionOp& op, const Batch& batch) {
  std::vector<HeadTile> tiles;
  for (std::size_t s = 0; s < batch.sequences.size(); ++s) {
    const std::size_t rows = batch.sequences[s].count;
    for (std::size_t head = 0; head < op.heads; ++head) {
      for (std::size_t first = 0; first < rows; first += kQueryTile) {
        tiles.push_back({s, head, first, std::min(kQueryTile, rows - first)});
      }
    }
  }
  return tiles;
}

}  // namespace

void attention(const AttentionOp& op, const Batch& batch, ConstMatrixView queries,
               std::span<const KeysAndValues> sequences, MatrixView out, ComputeType,
               const TaskThreads& threads) {
  const std::vector<HeadTile> tiles = make_tiles(op, batch);
  const auto key_dim = static_cast<std::size_t>(op.key_dim);
  const auto value_dim = static_cast<std::size_t>(op.value_dim);
  const auto heads_per_kv = static_cast<std::size_t>(op.heads / op.kv_heads);
  threads.run(tiles.size(), [&](std::size_t i) {
    thread_local Scratch scratch;
    const HeadTile& tile = tiles[i];
    const SequenceRows& rows = batch.sequences[tile.sequence];
    const KeysAndValues& stored = sequences[tile.sequence];
    const std::size_t kv_head = tile.head / heads_per_kv;
    const std::size_t row = rows.first + tile.first;
    HeadAttention(op, tile.head, scratch)
        .run(queries.row_range(row, tile.count).col_range(tile.head * key_dim, key_dim),
             static_cast<std::size_t>(rows.past) + tile.first,
             stored.keys.col_range(kv_head * key_dim, key_dim),
             stored.values.col_range(kv_head * value_dim, value_dim),
             out.row_range(row, tile.count).col_range(tile.head * value_dim, value_dim));
  });
}

}  // namespace qwodel
