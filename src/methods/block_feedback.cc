#include "methods/block_feedback.h"

#include <oneapi/dnnl/dnnl.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/half.h"

namespace qwodel {
namespace {

constexpr std::size_t kTileRows = 64;
static_assert(kTileRows % kScalarRows == 0);

// Of the mean of the diagonal: what columns count for at least.
constexpr double kFloor = 1e-6;

dnnl_dim_t dim(std::size_t size) { return static_cast<dnnl_dim_t>(size); }

// Some rows of a matrix, transposed: a column, group or block is a run of kTileRows values.
class Tile {
 public:
  Tile(const BlockHessian& hessian, const ScalarLayout& layout)
      : hessian_(hessian),
        layout_(layout),
        d_(hessian.size()),
        original_(d_ * kTileRows),
        weights_(d_ * kTileRows),
        errors_(d_ * kTileRows),
        levels_(d_ * kTileRows),
        scale_codes_(d_ / layout.recipe.group * kTileRows),
        minimum_codes_(d_ / layout.recipe.group * kTileRows),
        scales_(d_ / layout.recipe.block * kTileRows),
        minimums_(d_ / layout.recipe.block * kTileRows) {}

  // Rows beyond the last repeat it.
  void load(ConstMatrixView rows) {
    for (std::size_t r = 0; r < kTileRows; ++r) {
      const auto row = rows.row(std::min(r, rows.rows - 1));
      for (std::size_t i = 0; i < d_; ++i) original_[i * kTileRows + r] = row[i];
    }
  }

  // GPTQ. Errors of all earlier chunks reach a chunk just before it is rounded.
  void feed_back() {
    weights_ = original_;
    const float* upper = hessian_.factor.upper.data();
    for (std::size_t first = 0; first < d_; first += kScalarColumns) {
      const ScalarChunk chunk = chunk_at(first);
      float* weights = weights_.data() + first * kTileRows;
      if (first > 0) {
        dnnl_sgemm('T', 'N', dim(chunk.columns), dim(kTileRows), dim(first), -1.0f, upper + first,
                   dim(d_), errors_.data(), dim(kTileRows), 1.0f, weights, dim(kTileRows));
      }
      feed_back_chunk(layout_.recipe,
                      {.weights = weights,
                       .errors = errors_.data() + first * kTileRows,
                       .upper = upper + first * d_ + first,
                       .stride = d_,
                       .pivots = hessian_.pivots.data() + first},
                      chunk);
    }
  }

  // errors_ become those of the weights.
  void measure() {
    for (std::size_t first = 0; first < d_; first += kScalarColumns) {
      decode_chunk(layout_.recipe, chunk_at(first), errors_.data() + first * kTileRows);
    }
    for (std::size_t i = 0; i < errors_.size(); ++i) errors_[i] = original_[i] - errors_[i];
  }

  void descend(int rounds) {
    for (std::size_t first = 0; first < d_; first += kScalarColumns) {
      const ScalarChunk chunk = chunk_at(first);
      float* gradient = weights_.data();
      dnnl_sgemm('N', 'N', dim(chunk.columns), dim(kTileRows), dim(d_), 1.0f,
                 hessian_.hessian.data() + first * d_, dim(d_), errors_.data(), dim(kTileRows),
                 0.0f, gradient, dim(kTileRows));
      descend_chunk(layout_.recipe,
                    {.errors = errors_.data() + first * kTileRows,
                     .gradient = gradient,
                     .hessian = hessian_.hessian.data() + first * d_ + first,
                     .stride = d_,
                     .rounds = rounds},
                    chunk);
    }
  }

  void pack(std::size_t rows, std::byte* out) const {
    const std::size_t blocks = d_ / layout_.recipe.block;
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t b = 0; b < blocks; ++b) {
        layout_.pack(block_of(r, b), out + (r * blocks + b) * layout_.block_bytes);
      }
    }
  }

 private:
  ScalarChunk chunk_at(std::size_t first) {
    const std::size_t group = first / layout_.recipe.group * kTileRows;
    const std::size_t block = first / layout_.recipe.block * kTileRows;
    return {.columns = std::min(kScalarColumns, d_ - first),
            .rows = kTileRows,
            .levels = levels_.data() + first * kTileRows,
            .scale_codes = scale_codes_.data() + group,
            .minimum_codes = minimum_codes_.data() + group,
            .scales = scales_.data() + block,
            .minimums = minimums_.data() + block};
  }

  ScalarBlock block_of(std::size_t row, std::size_t b) const {
    const ScalarRecipe& recipe = layout_.recipe;
    const std::size_t groups = recipe.block / recipe.group;
    ScalarBlock block;
    block.scale = float_to_half(scales_[b * kTileRows + row]);
    block.minimum = float_to_half(minimums_[b * kTileRows + row]);
    for (std::size_t g = 0; g < groups; ++g) {
      const std::size_t at = (b * groups + g) * kTileRows + row;
      block.scale_codes[g] = static_cast<std::int8_t>(scale_codes_[at]);
      block.minimum_codes[g] = static_cast<std::uint8_t>(minimum_codes_[at]);
    }
    for (std::size_t i = 0; i < recipe.block; ++i) {
      block.codes[i] = code_of(levels_[(b * recipe.block + i) * kTileRows + row]);
    }
    return block;
  }

  std::uint8_t code_of(float level) const {
    const ScalarRecipe& recipe = layout_.recipe;
    const int value = static_cast<int>(level);
    if (recipe.table.empty()) return static_cast<std::uint8_t>(value - recipe.lowest);
    const auto found = std::ranges::lower_bound(recipe.table, value);
    return static_cast<std::uint8_t>(found - recipe.table.begin());
  }

  const BlockHessian& hessian_;
  const ScalarLayout& layout_;
  std::size_t d_;
  std::vector<float> original_, weights_, errors_, levels_;  // [d, kTileRows]
  std::vector<float> scale_codes_, minimum_codes_;           // [groups, kTileRows]
  std::vector<float> scales_, minimums_;                     // [blocks, kTileRows]
};

}  // namespace

// Damping is a share of each column's own diagonal: a few channels with huge activations would make
// a common damping larger than all others. So the factor is that of the matrix with a diagonal
// of 1.
BlockHessian make_block_hessian(ConstMatrixView gram, const BlockFeedbackOptions& options,
                                const std::string& name) {
  const std::size_t d = gram.rows;
  std::vector<float> root(d);
  double trace = 0;
  for (std::size_t i = 0; i < d; ++i) trace += static_cast<double>(gram.row(i)[i]);
  const double floor = trace > 0 ? kFloor * trace / static_cast<double>(d) : 1.0;
  for (std::size_t i = 0; i < d; ++i) {
    const auto value = static_cast<double>(gram.row(i)[i]);
    root[i] = static_cast<float>(std::sqrt(value > floor ? value : floor));
  }
  std::vector<float> scaled(d * d);
  for (std::size_t i = 0; i < d; ++i) {
    for (std::size_t j = 0; j < d; ++j) {
      scaled[i * d + j] = gram.row(i)[j] / (root[i] * root[j]);
    }
  }
  BlockHessian result;
  result.factor = factorize_hessian(
      {scaled.data(), d, d}, {.damp_percent = options.feedback_damp, .order = ColumnOrder::natural},
      name);
  HessianFactor& factor = result.factor;
  double mean = 0;
  for (const float value : factor.importance) mean += static_cast<double>(value);
  mean = mean > 0 ? mean / static_cast<double>(d) : 1.0;
  const auto damping = static_cast<float>(factor.damp_percent * mean);
  const auto descent_damping = static_cast<float>(options.descent_damp * mean);
  result.hessian = std::move(scaled);
  result.pivots.resize(d);
  for (std::size_t i = 0; i < d; ++i) {
    result.hessian[i * d + i] += descent_damping;
    for (std::size_t j = 0; j < d; ++j) {
      result.hessian[i * d + j] *= root[i] * root[j];
      factor.upper[i * d + j] /= root[j];
    }
    result.pivots[i] =
        factor.dead[i] ? 1.0f / (root[i] * std::sqrt(damping)) : factor.upper[i * d + i];
  }
  return result;
}

void feed_back_blocks(ConstMatrixView weights, const BlockHessian& hessian,
                      const ScalarLayout& layout, const BlockFeedbackOptions& options,
                      std::byte* out) {
  Tile tile(hessian, layout);
  const std::size_t row_bytes = hessian.size() / layout.recipe.block * layout.block_bytes;
  for (std::size_t first = 0; first < weights.rows; first += kTileRows) {
    const std::size_t rows = std::min(kTileRows, weights.rows - first);
    tile.load(weights.row_range(first, rows));
    tile.feed_back();
    tile.measure();
    for (int sweep = 0; sweep < options.sweeps; ++sweep) tile.descend(options.rounds);
    tile.pack(rows, out + first * row_bytes);
  }
}

double quadratic_error(ConstMatrixView weights, ConstMatrixView decoded, ConstMatrixView matrix) {
  const std::size_t d = weights.cols;
  std::vector<float> difference(kTileRows * d), product(kTileRows * d);
  double total = 0;
  for (std::size_t first = 0; first < weights.rows; first += kTileRows) {
    const std::size_t rows = std::min(kTileRows, weights.rows - first);
    for (std::size_t r = 0; r < rows; ++r) {
      const auto from = weights.row(first + r);
      const auto to = decoded.row(first + r);
      for (std::size_t i = 0; i < d; ++i) difference[r * d + i] = from[i] - to[i];
    }
    dnnl_sgemm('N', 'N', dim(rows), dim(d), dim(d), 1.0f, difference.data(), dim(d), matrix.data,
               dim(matrix.stride), 0.0f, product.data(), dim(d));
    for (std::size_t i = 0; i < rows * d; ++i) {
      total += static_cast<double>(difference[i]) * static_cast<double>(product[i]);
    }
  }
  return total;
}

}  // namespace qwodel
