#include "methods/clip.h"

#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace qwodel {
namespace {

constexpr std::size_t kTaskRows = 128;
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

// One parameter per row of a group.
struct Parameters {
  std::vector<float> scales;
  std::vector<std::uint8_t> zeros;

  void resize(std::size_t rows) {
    scales.resize(rows);
    zeros.resize(rows);
  }
};

struct Buffers {
  std::vector<float> low, high;  // of each row
  std::vector<double> least;     // error of `best`
  Parameters best;
  // Rows that a trial is made for; what follows has a row for each of them.
  std::vector<std::size_t> tried;
  std::vector<float> values;       // [tried, group_size]
  std::vector<float> differences;  // the same, padded
  Parameters trial;
  std::vector<double> errors;
  SplitBuffers moments;
};

class ClipSearch {
 public:
  ClipSearch(ConstMatrixView weights, const GroupMoments& moments, ClipSteps steps,
             GroupIntMatrix& out)
      : weights_(weights),
        moments_(moments),
        steps_(steps),
        out_(out),
        size_(out.scheme.group_size) {}

  void run() {
    const std::size_t groups = out_.groups();
    const std::size_t tasks = (weights_.rows + kTaskRows - 1) / kTaskRows;
    if (tasks == 1) {  // also inside a task, whose thread then takes no other
      Buffers own;
      for (std::size_t group = 0; group < groups; ++group) search(0, weights_.rows, group, own);
      round_rows(weights_, 0, out_);
      return;
    }
    tbb::parallel_for(std::size_t{0}, tasks, [&](std::size_t task) {
      const std::size_t first = task * kTaskRows;
      const std::size_t count = std::min(kTaskRows, weights_.rows - first);
      for (std::size_t group = 0; group < groups; ++group) {
        search(first, count, group, buffers_.local());
      }
      round_rows(weights_.row_range(first, count), first, out_);
    });
  }

 private:
  void search(std::size_t first, std::size_t count, std::size_t group, Buffers& b) const {
    const ConstMatrixView rows = weights_.row_range(first, count).col_range(group * size_, size_);
    b.best.resize(count);
    for (std::size_t r = 0; r < count; ++r) {
      const std::size_t at = (first + r) * out_.groups() + group;
      b.best.scales[r] = out_.scales[at];
      b.best.zeros[r] = out_.zeros[at];
    }
    b.tried.resize(count);
    std::iota(b.tried.begin(), b.tried.end(), std::size_t{0});
    b.trial = b.best;
    gather(rows, b);
    measure(group, b);
    b.least = b.errors;
    shrink(rows, group, b);
    if (steps_ == ClipSteps::refine) refine(rows, group, b);
    for (std::size_t r = 0; r < count; ++r) {
      const std::size_t at = (first + r) * out_.groups() + group;
      out_.scales[at] = b.best.scales[r];
      out_.zeros[at] = b.best.zeros[r];
    }
  }

  void gather(ConstMatrixView rows, Buffers& b) const {
    b.values.resize(b.tried.size() * size_);
    for (std::size_t i = 0; i < b.tried.size(); ++i) {
      std::ranges::copy(rows.row(b.tried[i]),
                        b.values.begin() + static_cast<std::ptrdiff_t>(i * size_));
    }
  }

  // Errors of the trial.
  void measure(std::size_t group, Buffers& b) const {
    const std::size_t rows = b.tried.size();
    b.differences.resize(GroupMoments::padded_rows(rows) * size_);
    b.errors.resize(rows);
    rounding_errors({b.values.data(), rows, size_}, out_.scheme, b.trial.scales, b.trial.zeros,
                    std::span(b.differences).first(rows * size_));
    moments_.measure(group, {b.differences.data(), rows, size_}, b.errors, b.moments);
  }

  // True when the trial is better than what was found for the row before.
  static bool keep_better(std::size_t at, Buffers& b) {
    const std::size_t row = b.tried[at];
    if (!(b.errors[at] < b.least[row])) return false;
    b.least[row] = b.errors[at];
    b.best.scales[row] = b.trial.scales[at];
    b.best.zeros[row] = b.trial.zeros[at];
    return true;
  }

  void shrink(ConstMatrixView rows, std::size_t group, Buffers& b) const {
    find_ranges(rows, b);
    for (float part = 1.0f; part > kSmallestShrink; part -= kShrinkStep) {
      shrink_ranges(part, b);
      measure(group, b);
      for (std::size_t i = 0; i < b.tried.size(); ++i) keep_better(i, b);
    }
  }

  void find_ranges(ConstMatrixView rows, Buffers& b) const {
    b.low.clear();
    b.high.clear();
    for (std::size_t r = 0; r < rows.rows; ++r) {
      const auto [low, high] = std::ranges::minmax(rows.row(r));
      b.low.push_back(std::min(low, 0.0f));
      b.high.push_back(std::max(high, 0.0f));
    }
  }

  // Parameters of the shrunk ranges; a group of zeros keeps its own.
  void shrink_ranges(float part, Buffers& b) const {
    const auto top = static_cast<float>((1u << out_.scheme.bits) - 1);
    b.trial.resize(b.tried.size());
    for (std::size_t i = 0; i < b.tried.size(); ++i) {
      const std::size_t row = b.tried[i];
      const float low = b.low[row] * part;
      const float high = b.high[row] * part;
      const bool symmetric = out_.scheme.symmetric;
      const float extent = symmetric ? 2 * std::max(-low, high) : high - low;
      b.trial.scales[i] = b.best.scales[row];
      b.trial.zeros[i] = b.best.zeros[row];
      if (!(extent > 0)) continue;
      const float scale = stored_scale(extent / top, out_.scheme.scale_format);
      b.trial.scales[i] = scale;
      if (symmetric) continue;
      b.trial.zeros[i] =
          static_cast<std::uint8_t>(std::clamp(std::nearbyint(-low / scale), 0.0f, top));
    }
  }

  // A row that no step made better would be given the same steps again.
  void refine(ConstMatrixView rows, std::size_t group, Buffers& b) const {
    std::vector<std::size_t> moved(rows.rows);
    std::iota(moved.begin(), moved.end(), std::size_t{0});
    for (int round = 0; round < kRounds && !moved.empty(); ++round) {
      b.tried = std::move(moved);
      gather(rows, b);
      std::vector<bool> better(b.tried.size());
      for (const Step& step : kSteps) {
        if (out_.scheme.symmetric && step.zero != 0) continue;
        take(step, b);
        measure(group, b);
        for (std::size_t i = 0; i < b.tried.size(); ++i) {
          if (keep_better(i, b)) better[i] = true;
        }
      }
      moved.clear();
      for (std::size_t i = 0; i < b.tried.size(); ++i) {
        if (better[i]) moved.push_back(b.tried[i]);
      }
    }
  }

  // Parameters a step away from the best so far.
  void take(const Step& step, Buffers& b) const {
    const int top = (1 << out_.scheme.bits) - 1;
    b.trial.resize(b.tried.size());
    for (std::size_t i = 0; i < b.tried.size(); ++i) {
      const std::size_t row = b.tried[i];
      b.trial.scales[i] = stored_scale(b.best.scales[row] * step.factor, out_.scheme.scale_format);
      b.trial.zeros[i] =
          static_cast<std::uint8_t>(std::clamp(b.best.zeros[row] + step.zero, 0, top));
    }
  }

  ConstMatrixView weights_;
  const GroupMoments& moments_;
  ClipSteps steps_;
  GroupIntMatrix& out_;
  std::size_t size_;
  tbb::enumerable_thread_specific<Buffers> buffers_;
};

}  // namespace

void search_clipping(ConstMatrixView weights, const GroupMoments& moments, ClipSteps steps,
                     GroupIntMatrix& out) {
  ClipSearch(weights, moments, steps, out).run();
}

}  // namespace qwodel
