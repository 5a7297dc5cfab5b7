#include "methods/awq.h"

#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_map>

#include "methods/quadratic_form.h"

namespace qwodel {
namespace {

constexpr std::size_t kTaskRows = 64;
constexpr float kSmallestScale = 1e-4f;

// Every kSampleStep-th row says which trials are worth measuring on all rows: the kMeasured best.
// Weights of fewer rows than kSampledRows are small beside what a sample would save.
constexpr std::size_t kSampleStep = 8;
constexpr std::size_t kSampledRows = 1024;
constexpr std::size_t kMeasured = 5;

// One candidate.
struct Trial {
  double ratio = 0;
  bool duo = false;
};

// Some rows of one weight.
struct Task {
  ConstMatrixView rows;
  const GroupIntScheme* scheme = nullptr;
};

struct Buffers {
  std::vector<float> scaled, difference, product;
  GroupIntMatrix matrix;
};

class AwqSearch {
 public:
  AwqSearch(const AwqGroup& group, const AwqOptions& options)
      : group_(group), options_(options), d_(group.gram.rows), form_(group.gram) {
    for (const AwqWeight& weight : group.weights) {
      const ConstMatrixView& all = weight.values;
      rows_ += all.rows;
      add_tasks(all, weight.scheme, tasks_);
      add_tasks({all.data, (all.rows + kSampleStep - 1) / kSampleStep, all.cols,
                 all.stride * kSampleStep},
                weight.scheme, sample_);
    }
    if (options_.duo) weigh_weights();
  }

  AwqScales run() {
    best_.scales.assign(d_, 1.0f);
    best_.loss_before = best_.loss_after = loss(best_.scales, tasks_);
    for (const Trial& trial : promising(grid())) try_out(trial);
    const Trial best{best_.ratio, best_.duo};
    for (const double step : {-0.5, 0.5}) {
      const double ratio = best.ratio + step / options_.ratios;
      if (ratio > 0 && ratio < 1) try_out({ratio, best.duo});
    }
    return std::move(best_);
  }

 private:
  static void add_tasks(ConstMatrixView values, const GroupIntScheme& scheme,
                        std::vector<Task>& tasks) {
    for (std::size_t row = 0; row < values.rows; row += kTaskRows) {
      tasks.push_back({values.row_range(row, std::min(kTaskRows, values.rows - row)), &scheme});
    }
  }

  std::vector<Trial> grid() const {
    std::vector<Trial> trials;
    for (int i = 0; i <= options_.ratios; ++i) {
      const double ratio = static_cast<double>(i) / options_.ratios;
      if (i > 0) trials.push_back({ratio, false});
      if (options_.duo) trials.push_back({ratio, true});
    }
    return trials;
  }

  // Those with the lowest loss on the sample, in the same order.
  std::vector<Trial> promising(std::vector<Trial> trials) {
    if (rows_ < kSampledRows || trials.size() <= kMeasured) return trials;
    std::vector<double> losses;
    for (const Trial& trial : trials) {
      const std::vector<float> scales = scales_of(trial);
      losses.push_back(scales.empty() ? std::numeric_limits<double>::infinity()
                                      : loss(scales, sample_));
    }
    std::vector<double> sorted = losses;
    std::ranges::nth_element(sorted, sorted.begin() + kMeasured);
    std::vector<Trial> kept;
    for (std::size_t i = 0; i < trials.size(); ++i) {
      if (losses[i] < sorted[kMeasured]) kept.push_back(trials[i]);
    }
    return kept;
  }

  // Mean over all rows of |w| relative to the largest of its group (AutoAWQ, quantizer.py).
  void weigh_weights() {
    std::vector<double> sums(d_, 0.0);
    for (const AwqWeight& weight : group_.weights) {
      const auto size = static_cast<std::size_t>(weight.scheme.group_of(d_));
      for (std::size_t r = 0; r < weight.values.rows; ++r) {
        add_relative(weight.values.row(r), size, sums);
      }
    }
    for (const double sum : sums) {
      mean_weight_.push_back(static_cast<float>(sum / static_cast<double>(rows_)));
    }
  }

  void add_relative(std::span<const float> row, std::size_t size, std::vector<double>& sums) const {
    for (std::size_t first = 0; first < d_; first += size) {
      float largest = 1e-6f;
      for (std::size_t i = first; i < first + size; ++i) {
        largest = std::max(largest, std::fabs(row[i]));
      }
      for (std::size_t i = first; i < first + size; ++i) {
        sums[i] += static_cast<double>(std::fabs(row[i]) / largest);
      }
    }
  }

  void try_out(Trial trial) {
    std::vector<float> scales = scales_of(trial);
    if (scales.empty()) return;
    const double value = loss(scales, tasks_);
    if (!(value < best_.loss_after)) return;
    best_.scales = std::move(scales);
    best_.ratio = trial.ratio;
    best_.duo = trial.duo;
    best_.loss_after = value;
  }

  // Normalized so that the smallest and the largest multiply to 1. Empty when they are useless.
  std::vector<float> scales_of(Trial trial) const {
    std::vector<float> scales(d_);
    for (std::size_t c = 0; c < d_; ++c) {
      double scale = std::pow(static_cast<double>(group_.mean_abs[c]), trial.ratio);
      if (trial.duo) {
        scale /= std::pow(static_cast<double>(mean_weight_[c]), 1 - trial.ratio) + 1e-4;
      }
      scales[c] = std::max(static_cast<float>(scale), kSmallestScale);
    }
    tie(scales);
    const auto [low, high] = std::ranges::minmax(scales);
    const float middle = std::sqrt(low * high);
    if (!std::isfinite(middle) || middle <= 0) return {};
    for (float& scale : scales) scale /= middle;
    return scales;
  }

  // Columns that share a channel take the largest of their scales.
  void tie(std::vector<float>& scales) const {
    std::unordered_map<std::uint32_t, float> largest;
    for (std::size_t c = 0; c < group_.channel.size(); ++c) {
      float& scale = largest[group_.channel[c]];
      scale = std::max(scale, scales[c]);
    }
    for (std::size_t c = 0; c < group_.channel.size(); ++c) scales[c] = largest[group_.channel[c]];
  }

  double loss(const std::vector<float>& scales, const std::vector<Task>& tasks) {
    std::vector<double> losses(tasks.size());
    tbb::parallel_for(std::size_t{0}, tasks.size(), [&](std::size_t task) {
      losses[task] = task_loss(tasks[task], scales, buffers_.local());
    });
    return std::accumulate(losses.begin(), losses.end(), 0.0);
  }

  double task_loss(const Task& task, const std::vector<float>& scales, Buffers& b) const {
    const ConstMatrixView& rows = task.rows;
    const std::size_t count = rows.rows * d_;
    b.scaled.resize(count);
    b.difference.resize(count);
    for (std::size_t r = 0; r < rows.rows; ++r) {
      const auto from = rows.row(r);
      for (std::size_t c = 0; c < d_; ++c) b.scaled[r * d_ + c] = from[c] * scales[c];
    }
    b.matrix = GroupIntMatrix(*task.scheme, rows.rows, d_);
    const ConstMatrixView scaled(b.scaled.data(), rows.rows, d_);
    fit_rows(scaled, {}, search_of(*task.scheme, options_.search), 0, b.matrix);
    round_rows(scaled, 0, b.matrix);
    for (std::size_t r = 0; r < rows.rows; ++r) {
      const std::span<float> row(b.difference.data() + r * d_, d_);
      b.matrix.decode(r, row);
      const auto from = rows.row(r);
      for (std::size_t c = 0; c < d_; ++c) row[c] = row[c] / scales[c] - from[c];
    }
    return form_.sum(ConstMatrixView(b.difference.data(), rows.rows, d_), b.product);
  }

  const AwqGroup& group_;
  const AwqOptions& options_;
  std::size_t d_;
  QuadraticForm form_;
  std::size_t rows_ = 0;
  std::vector<Task> tasks_, sample_;
  std::vector<float> mean_weight_;
  tbb::enumerable_thread_specific<Buffers> buffers_;
  AwqScales best_;
};

}  // namespace

AwqScales search_awq_scales(const AwqGroup& group, const AwqOptions& options) {
  return AwqSearch(group, options).run();
}

}  // namespace qwodel
