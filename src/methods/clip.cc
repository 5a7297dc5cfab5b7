#include "methods/clip.h"

#include <oneapi/dnnl/dnnl.h>
#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace qwodel {
namespace {

constexpr std::size_t kTaskRows = 64;
constexpr float kSmallestShrink = 0.5f;
constexpr float kShrinkStep = 0.04f;

// Then the ends are moved on their own: the scale by a factor, the zero point by whole steps.
struct Step {
  float factor;
  int zero;
};
constexpr Step kSteps[] = {{1.0f, 1},  {1.0f, -1},  {0.96f, 0}, {1.04f, 0},
                           {0.96f, 1}, {0.96f, -1}, {0.98f, 0}, {1.02f, 0}};
constexpr int kRounds = 2;

struct Buffers {
  std::vector<float> difference, product;  // [rows, d], [rows, group_size]
  std::vector<float> low, high;            // [rows, groups]
  std::vector<double> errors, best;        // [rows, groups]
  GroupIntMatrix trial, chosen;
};

class ClipSearch {
 public:
  ClipSearch(ConstMatrixView weights, ConstMatrixView gram, ClipSteps steps, GroupIntMatrix& out)
      : weights_(weights), gram_(gram), steps_(steps), out_(out), size_(out.scheme.group_size) {}

  void run() {
    if (weights_.rows <= kTaskRows) {  // also inside a task, whose thread then takes no other
      Buffers own;
      search_rows(0, weights_.rows, own);
      return;
    }
    const std::size_t tasks = (weights_.rows + kTaskRows - 1) / kTaskRows;
    tbb::parallel_for(std::size_t{0}, tasks, [&](std::size_t task) {
      const std::size_t first = task * kTaskRows;
      search_rows(first, std::min(kTaskRows, weights_.rows - first), buffers_.local());
    });
  }

 private:
  void search_rows(std::size_t first, std::size_t count, Buffers& b) const {
    const ConstMatrixView rows = weights_.row_range(first, count);
    const std::size_t groups = out_.groups();
    const auto begin = static_cast<std::ptrdiff_t>(first * groups);
    const auto end = static_cast<std::ptrdiff_t>((first + count) * groups);
    b.trial = GroupIntMatrix(out_.scheme, count, out_.cols);
    std::copy(out_.scales.begin() + begin, out_.scales.begin() + end, b.trial.scales.begin());
    std::copy(out_.zeros.begin() + begin, out_.zeros.begin() + end, b.trial.zeros.begin());
    measure(rows, b);
    b.best = b.errors;
    b.chosen = b.trial;
    find_ranges(rows, b);
    for (float shrink = 1.0f; shrink > kSmallestShrink; shrink -= kShrinkStep) {
      shrink_ranges(shrink, b);
      measure(rows, b);
      keep_better(b);
    }
    if (steps_ == ClipSteps::refine) refine(rows, b);
    round_rows(rows, 0, b.chosen);
    std::ranges::copy(b.chosen.scales, out_.scales.begin() + begin);
    std::ranges::copy(b.chosen.zeros, out_.zeros.begin() + begin);
    std::ranges::copy(b.chosen.codes,
                      out_.codes.begin() + static_cast<std::ptrdiff_t>(first * out_.cols));
  }

  // Errors of the trial, group by group.
  void measure(ConstMatrixView rows, Buffers& b) const {
    const std::size_t d = rows.cols;
    const std::size_t groups = out_.groups();
    b.difference.resize(rows.rows * d);
    b.product.resize(rows.rows * size_);
    b.errors.resize(rows.rows * groups);
    round_rows(rows, 0, b.trial);
    for (std::size_t r = 0; r < rows.rows; ++r) {
      const std::span<float> row(b.difference.data() + r * d, d);
      b.trial.decode(r, row);
      const auto from = rows.row(r);
      for (std::size_t c = 0; c < d; ++c) row[c] -= from[c];
    }
    const auto n = static_cast<dnnl_dim_t>(size_);
    for (std::size_t group = 0; group < groups; ++group) {
      const std::size_t column = group * size_;
      dnnl_sgemm('N', 'N', static_cast<dnnl_dim_t>(rows.rows), n, n, 1.0f,
                 b.difference.data() + column, static_cast<dnnl_dim_t>(d),
                 gram_.data + column * gram_.stride + column, static_cast<dnnl_dim_t>(gram_.stride),
                 0.0f, b.product.data(), n);
      for (std::size_t r = 0; r < rows.rows; ++r) {
        const float* e = b.difference.data() + r * d + column;
        double sum = 0;
        for (std::size_t i = 0; i < size_; ++i) {
          sum += static_cast<double>(e[i]) * static_cast<double>(b.product[r * size_ + i]);
        }
        b.errors[r * groups + group] = sum;
      }
    }
  }

  void find_ranges(ConstMatrixView rows, Buffers& b) const {
    b.low.clear();
    b.high.clear();
    for (std::size_t r = 0; r < rows.rows; ++r) {
      for (std::size_t column = 0; column < rows.cols; column += size_) {
        const auto [low, high] = std::ranges::minmax(rows.row(r).subspan(column, size_));
        b.low.push_back(std::min(low, 0.0f));
        b.high.push_back(std::max(high, 0.0f));
      }
    }
  }

  // Parameters of the shrunk ranges; a group of zeros keeps its own.
  void shrink_ranges(float shrink, Buffers& b) const {
    const auto top = static_cast<float>((1u << out_.scheme.bits) - 1);
    for (std::size_t i = 0; i < b.low.size(); ++i) {
      const float low = b.low[i] * shrink;
      const float high = b.high[i] * shrink;
      const bool symmetric = out_.scheme.symmetric;
      const float extent = symmetric ? 2 * std::max(-low, high) : high - low;
      if (!(extent > 0)) continue;
      const float scale = stored_scale(extent / top, out_.scheme.scale_format);
      b.trial.scales[i] = scale;
      if (symmetric) continue;
      b.trial.zeros[i] =
          static_cast<std::uint8_t>(std::clamp(std::nearbyint(-low / scale), 0.0f, top));
    }
  }

  void refine(ConstMatrixView rows, Buffers& b) const {
    for (int round = 0; round < kRounds; ++round) {
      for (const Step& step : kSteps) {
        if (out_.scheme.symmetric && step.zero != 0) continue;
        take(step, b);
        measure(rows, b);
        keep_better(b);
      }
    }
  }

  // Parameters a step away from the best so far.
  void take(const Step& step, Buffers& b) const {
    const int top = (1 << out_.scheme.bits) - 1;
    for (std::size_t i = 0; i < b.chosen.scales.size(); ++i) {
      b.trial.scales[i] = stored_scale(b.chosen.scales[i] * step.factor, out_.scheme.scale_format);
      b.trial.zeros[i] =
          static_cast<std::uint8_t>(std::clamp(b.chosen.zeros[i] + step.zero, 0, top));
    }
  }

  static void keep_better(Buffers& b) {
    for (std::size_t i = 0; i < b.errors.size(); ++i) {
      if (!(b.errors[i] < b.best[i])) continue;
      b.best[i] = b.errors[i];
      b.chosen.scales[i] = b.trial.scales[i];
      b.chosen.zeros[i] = b.trial.zeros[i];
    }
  }

  ConstMatrixView weights_;
  ConstMatrixView gram_;
  ClipSteps steps_;
  GroupIntMatrix& out_;
  std::size_t size_;
  tbb::enumerable_thread_specific<Buffers> buffers_;
};

}  // namespace

void search_clipping(ConstMatrixView weights, ConstMatrixView gram, ClipSteps steps,
                     GroupIntMatrix& out) {
  ClipSearch(weights, gram, steps, out).run();
}

}  // namespace qwodel
