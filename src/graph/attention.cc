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
  AlignedBuffer<float> scores;
  AlignedBuffer<float> product;
  AlignedBuffer<std::uint16_t> probabilities;
  std::vector<float> maxima;
  std::vector<float> sums;
};

// Products of a few queries are dot products: code for a product of every number of keys that
// generation comes to would have to be made first.
constexpr std::size_t kFewQueries = 4;

void score(Matrix<const float> queries, Matrix<const float> keys, MatrixView scores) {
  if (queries.rows > kFewQueries) {
    multiply_transposed(queries, keys, scores);
    return;
  }
  for (std::size_t i = 0; i < queries.rows; ++i) {
    for (std::size_t j = 0; j < keys.rows; ++j) {
      scores.row(i)[j] = dot(queries.row(i).data(), keys.row(j).data(), keys.cols);
    }
  }
}

void score(Matrix<const std::uint16_t> queries, Matrix<const std::uint16_t> keys,
           MatrixView scores) {
  multiply_transposed(queries, keys, scores);
}

// out += probabilities * values.
void add_values(Scratch& scratch, MatrixView probabilities, Matrix<const float> values,
                MatrixView out) {
  if (out.rows > kFewQueries) {
    scratch.product.reserve(out.rows * out.cols);
    const MatrixView product(scratch.product.data(), out.rows, out.cols);
    multiply(probabilities, values, product);
    for (std::size_t i = 0; i < out.rows; ++i) {
      add(out.row(i).data(), product.row(i).data(), out.cols, out.row(i).data());
    }
    return;
  }
  for (std::size_t i = 0; i < out.rows; ++i) {
    for (std::size_t j = 0; j < values.rows; ++j) {
      add_scaled(values.row(j).data(), out.cols, probabilities.row(i)[j], out.row(i).data());
    }
  }
}

void add_values(Scratch& scratch, MatrixView probabilities, Matrix<const std::uint16_t> values,
                MatrixView out) {
  scratch.product.reserve(out.rows * out.cols);
  scratch.probabilities.reserve(probabilities.rows * probabilities.cols);
  const MatrixView product(scratch.product.data(), out.rows, out.cols);
  float_to_bfloat16(probabilities.data, probabilities.rows * probabilities.cols,
                    scratch.probabilities.data());
  multiply(Matrix<const std::uint16_t>(scratch.probabilities.data(), probabilities.rows,
                                       probabilities.cols),
           values, product);
  for (std::size_t i = 0; i < out.rows; ++i) {
    add(out.row(i).data(), product.row(i).data(), out.cols, out.row(i).data());
  }
}

template <class T>
class HeadAttention {
 public:
  HeadAttention(const AttentionOp& op, std::size_t head, Scratch& scratch)
      : op_(op),
        slope_(op.alibi_slopes.empty() ? 0.0f : op.alibi_slopes[head]),
        scratch_(scratch) {}

  // `position` is that of the first query.
  void run(Matrix<const T> queries, std::size_t position, Matrix<const T> keys,
           Matrix<const T> values, MatrixView out) {
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
  void add_tile(Matrix<const T> queries, std::size_t position, Matrix<const T> keys,
                Matrix<const T> values, std::size_t first_key, std::size_t all_keys,
                MatrixView out) {
    scratch_.scores.reserve(queries.rows * keys.rows);
    const MatrixView scores(scratch_.scores.data(), queries.rows, keys.rows);
    score(queries, keys, scores);
    for (std::size_t i = 0; i < queries.rows; ++i) {
      Visible seen = visible_keys(op_, position + i, all_keys);
      seen.first = std::clamp(seen.first, first_key, first_key + keys.rows) - first_key;
      seen.last = std::clamp(seen.last, first_key, first_key + keys.rows) - first_key;
      soften_row(scores.row(i), seen, first_key, position + i, i, out.row(i));
    }
    add_values(scratch_, scores, values, out);
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

// The batch's queries, and keys and values of each of its sequences.
template <class T>
struct Inputs {
  Matrix<const T> queries;
  std::vector<Matrix<const T>> keys;
  std::vector<Matrix<const T>> values;
};

template <class T>
void attend(const AttentionOp& op, const Batch& batch, const Inputs<T>& inputs, MatrixView out,
            const TaskThreads& threads) {
  const std::vector<HeadTile> tiles = make_tiles(op, batch);
  const auto key_dim = static_cast<std::size_t>(op.key_dim);
  const auto value_dim = static_cast<std::size_t>(op.value_dim);
  const auto heads_per_kv = static_cast<std::size_t>(op.heads / op.kv_heads);
  threads.run(tiles.size(), [&](std::size_t i) {
    thread_local Scratch scratch;
    const HeadTile& tile = tiles[i];
    const SequenceRows& rows = batch.sequences[tile.sequence];
    const std::size_t kv_head = tile.head / heads_per_kv;
    const std::size_t row = rows.first + tile.first;
    HeadAttention<T>(op, tile.head, scratch)
        .run(inputs.queries.row_range(row, tile.count).col_range(tile.head * key_dim, key_dim),
             static_cast<std::size_t>(rows.past) + tile.first,
             inputs.keys[tile.sequence].col_range(kv_head * key_dim, key_dim),
             inputs.values[tile.sequence].col_range(kv_head * value_dim, value_dim),
             out.row_range(row, tile.count).col_range(tile.head * value_dim, value_dim));
  });
}

Matrix<const std::uint16_t> to_bf16(ConstMatrixView from, AlignedBuffer<std::uint16_t>& to,
                                    const TaskThreads& threads) {
  to.reserve(from.rows * from.cols);
  threads.run((from.rows + kQueryTile - 1) / kQueryTile, [&](std::size_t tile) {
    const std::size_t end = std::min(from.rows, (tile + 1) * kQueryTile);
    for (std::size_t i = tile * kQueryTile; i < end; ++i) {
      float_to_bfloat16(from.row(i).data(), from.cols, to.data() + i * from.cols);
    }
  });
  return {to.data(), from.rows, from.cols};
}

}  // namespace

void attention(const AttentionOp& op, const Batch& batch, ConstMatrixView queries,
               std::span<const KeysAndValues> sequences, MatrixView out, ComputeType compute,
               const TaskThreads& threads) {
  if (compute != ComputeType::bf16 || batch.rows() <= kFewQueries) {
    Inputs<float> inputs{.queries = queries, .keys = {}, .values = {}};
    for (const KeysAndValues& stored : sequences) {
      inputs.keys.push_back(stored.keys);
      inputs.values.push_back(stored.values);
    }
    attend(op, batch, inputs, out, threads);
    return;
  }
  AlignedBuffer<std::uint16_t> query_buffer;
  std::vector<AlignedBuffer<std::uint16_t>> buffers(2 * sequences.size());
  Inputs<std::uint16_t> inputs{
      .queries = to_bf16(queries, query_buffer, threads), .keys = {}, .values = {}};
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    inputs.keys.push_back(to_bf16(sequences[s].keys, buffers[2 * s], threads));
    inputs.values.push_back(to_bf16(sequences[s].values, buffers[2 * s + 1], threads));
  }
  attend(op, batch, inputs, out, threads);
}

}  // namespace qwodel
