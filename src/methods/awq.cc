#include "methods/awq.h"

#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <unordered_map>

#include "methods/clip.h"
#include "methods/quadratic_form.h"

namespace qwodel {
namespace {

constexpr std::size_t kTaskRows = 64;
constexpr float kSmallestScale = 1e-4f;

// About as many rows, spread evenly, stand for all of the weights.
constexpr std::size_t kSampledRows = 320;

// Trials that are rounded as they would be written: those that look best when they are not.
constexpr std::size_t kMeasured = 4;

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
  std::vector<float> scaled, difference;
  GroupIntMatrix matrix;
  SplitBuffers form;
};

class AwqSearch {
 public:
  AwqSearch(const AwqGroup& group, const AwqOptions& options)
      : group_(group), options_(options), d_(group.gram.rows), form_(group.gram, options.compute) {
    if (options_.compute == ComputeType::bf16) {
      coarse_form_.emplace(group.gram, options.compute, SplitParts::high);
    }
    for (const AwqWeight& weight : group.weights) rows_ += weight.values.rows;
    const std::size_t step = std::max<std::size_t>(1, rows_ / kSampledRows);
    std::size_t sampled = 0;
    for (const AwqWeight& weight : group.weights) {
      const ConstMatrixView& all = weight.values;
      const std::size_t rows = (all.rows + step - 1) / step;
      add_tasks({all.data, rows, all.cols, all.stride * step}, weight.scheme);
      sampled += rows;
    }
    share_ = static_cast<double>(sampled) / static_cast<double>(rows_);
    if (options_.duo) weigh_weights();
  }

  AwqScales run() {
    best_.scales.assign(d_, 1.0f);
    best_.loss_before = best_.loss_after = loss(best_.scales, options_.rounding, form_);
    for (const Trial& trial : promising(grid())) try_out(trial);
    const Trial best{best_.ratio, best_.duo};
    for (const double step : {-0.5, 0.5}) {
      const double ratio = best.ratio + step / options_.ratios;
      if (ratio > 0 && ratio < 1) try_out({ratio, best.duo});
    }
    return std::move(best_);
  }

 private:
  void add_tasks(ConstMatrixView values, const GroupIntScheme& scheme) {
    for (std::size_t row = 0; row < values.rows; row += kTaskRows) {
      tasks_.push_back({values.row_range(row, std::min(kTaskRows, values.rows - row)), &scheme});
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

  // Those with the lowest loss when they are rounded in the range, in the same order. The loss
  // changes slowly with the ratio: every other one is looked at, then what is beside the best.
  std::vector<Trial> promising(const std::vector<Trial>& trials) const {
    if (options_.rounding == AwqRounding::range || trials.size() <= kMeasured) return trials;
    std::vector<double> losses(trials.size(), std::numeric_limits<double>::infinity());
    std::vector<bool> known(trials.size(), false);
    const auto look_at = [&](std::size_t i) {
      known[i] = true;
      const std::vector<float> scales = scales_of(trials[i]);
      if (scales.empty()) return;
      const double value = loss(scales, AwqRounding::range, coarse_form_ ? *coarse_form_ : form_);
      if (std::isfinite(value)) losses[i] = value;
    };
    for (std::size_t i = 0; i < trials.size(); ++i) {
      if (step_of(trials[i]) % 2 == 0) look_at(i);
    }
    for (const std::size_t best : lowest(losses)) {
      for (std::size_t i = 0; i < trials.size(); ++i) {
        const bool beside = trials[i].duo == trials[best].duo &&
                            std::abs(step_of(trials[i]) - step_of(trials[best])) == 1;
        if (beside && !known[i]) look_at(i);
      }
    }
    std::vector<Trial> kept;
    for (const std::size_t i : lowest(losses)) kept.push_back(trials[i]);
    return kept;
  }

  int step_of(const Trial& trial) const {
    return static_cast<int>(std::lround(trial.ratio * options_.ratios));
  }

  // The kMeasured lowest that are finite, in order of position.
  static std::vector<std::size_t> lowest(const std::vector<double>& losses) {
    std::vector<std::size_t> order(losses.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, {}, [&](std::size_t i) { return losses[i]; });
    order.resize(kMeasured);
    std::erase_if(order, [&](std::size_t i) { return !std::isfinite(losses[i]); });
    std::ranges::sort(order);
    return order;
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
    const double value = loss(scales, options_.rounding, form_);
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

  // Of all rows, estimated from those that are looked at.
  double loss(const std::vector<float>& scales, AwqRounding rounding,
              const QuadraticForm& form) const {
    std::map<std::size_t, GroupMoments> moments;  // by group_size
    if (rounding == AwqRounding::clipped) {
      for (const AwqWeight& weight : group_.weights) {
        const auto size = static_cast<std::size_t>(weight.scheme.group_of(d_));
        if (moments.contains(size)) continue;
        moments.emplace(size, GroupMoments(group_.gram, size, scales, options_.compute));
      }
    }
    std::vector<double> losses(tasks_.size());
    tbb::parallel_for(std::size_t{0}, tasks_.size(), [&](std::size_t task) {
      losses[task] = task_loss(tasks_[task], scales, moments, form, buffers_.local());
    });
    return std::accumulate(losses.begin(), losses.end(), 0.0) / share_;
  }

  // `moments` are of scaled inputs; none: to round in the range.
  double task_loss(const Task& task, const std::vector<float>& scales,
                   const std::map<std::size_t, GroupMoments>& moments, const QuadraticForm& form,
                   Buffers& b) const {
    const ConstMatrixView& rows = task.rows;
    const std::size_t count = rows.rows * d_;
    b.scaled.resize(count);
    b.difference.resize(count);
    for (std::size_t r = 0; r < rows.rows; ++r) {
      const auto from = rows.row(r);
      for (std::size_t c = 0; c < d_; ++c) b.scaled[r * d_ + c] = from[c] * scales[c];
    }
    choose(task, moments, b);
    for (std::size_t r = 0; r < rows.rows; ++r) {
      float* const row = b.difference.data() + r * d_;
      for (std::size_t c = 0; c < d_; ++c) row[c] /= scales[c];
    }
    return form.sum(ConstMatrixView(b.difference.data(), rows.rows, d_), b.form);
  }

  // Parameters of the scaled rows, and what they make of them.
  void choose(const Task& task, const std::map<std::size_t, GroupMoments>& moments,
              Buffers& b) const {
    const ConstMatrixView scaled(b.scaled.data(), task.rows.rows, d_);
    b.matrix = GroupIntMatrix(*task.scheme, scaled.rows, d_);
    if (moments.empty()) {
      fit_rows(scaled, {}, search_of(*task.scheme, false), 0, b.matrix);
    } else {
      const GroupMoments& own = moments.at(static_cast<std::size_t>(b.matrix.scheme.group_size));
      fit_rows(scaled, own.mean_squares(), search_of(*task.scheme, true), 0, b.matrix);
      search_clipping(scaled, own, ClipSteps::shrink, b.matrix);
    }
    rounding_errors(scaled, b.matrix.scheme, b.matrix.scales, b.matrix.zeros, b.difference);
  }

  const AwqGroup& group_;
  const AwqOptions& options_;
  std::size_t d_;
  QuadraticForm form_;
  std::optional<QuadraticForm> coarse_form_;  // to put trials in order, where it is faster
  std::size_t rows_ = 0;
  double share_ = 1;  // of the rows that are looked at
  std::vector<Task> tasks_;
  std::vector<float> mean_weight_;
  mutable tbb::enumerable_thread_specific<Buffers> buffers_;
  AwqScales best_;
};

}  // namespace

AwqScales search_awq_scales(const AwqGroup& group, const AwqOptions& options) {
  return AwqSearch(group, options).run();
}

}  // namespace qwodel
