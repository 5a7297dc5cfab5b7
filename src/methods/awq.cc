#include "methods/awq.h"

#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <optional>

#include "methods/awq_trials.h"
#include "methods/clip.h"
#include "methods/quadratic_form.h"

namespace qwodel {
namespace {

constexpr std::size_t kTaskRows = 64;

// About as many rows, spread evenly, stand for all of the weights.
constexpr std::size_t kSampledRows = 256;

// Trials that are rounded as they would be written: those that look best when they are not.
constexpr std::size_t kMeasured = 4;

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
      : group_(group),
        options_(options),
        d_(group.gram.rows),
        by_block_(static_cast<bool>(options.block_loss)),
        trials_(group, options),
        form_(group.gram, options.compute) {
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
  }

  AwqScales run() {
    best_.scales.assign(d_, 1.0f);
    best_.loss_before = measured(best_.scales);
    if (by_block_ && best_.loss_before == 0) {  // no token passes what the group is part of
      by_block_ = false;
      best_.loss_before = measured(best_.scales);
    }
    best_.loss_after = best_.loss_before;
    for (const AwqTrial& trial : promising(trials_.grid())) try_out(trial);
    const AwqTrial best{best_.ratio, best_.duo};
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

  // Those with the lowest loss when they are rounded in the range, in the same order. The loss
  // changes slowly with the ratio: every other one is looked at, then what is beside the best.
  std::vector<AwqTrial> promising(const std::vector<AwqTrial>& trials) const {
    if (options_.rounding == AwqRounding::range || trials.size() <= kMeasured) return trials;
    std::vector<double> losses(trials.size(), std::numeric_limits<double>::infinity());
    std::vector<bool> known(trials.size(), false);
    const auto look_at = [&](std::size_t i) {
      known[i] = true;
      const std::vector<float> scales = trials_.scales(trials[i]);
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
    std::vector<AwqTrial> kept;
    for (const std::size_t i : lowest(losses)) kept.push_back(trials[i]);
    return kept;
  }

  int step_of(const AwqTrial& trial) const {
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

  void try_out(AwqTrial trial) {
    std::vector<float> scales = trials_.scales(trial);
    if (scales.empty()) return;
    const double value = measured(scales);
    if (!(value < best_.loss_after)) return;
    best_.scales = std::move(scales);
    best_.ratio = trial.ratio;
    best_.duo = trial.duo;
    best_.loss_after = value;
  }

  // What trials are compared by in the end.
  double measured(const std::vector<float>& scales) const {
    if (!by_block_) return loss(scales, options_.rounding, form_);
    return options_.block_loss(rounded(scales));
  }

  // All rows of the weights as they would be read, without the scales.
  std::vector<std::vector<float>> rounded(const std::vector<float>& scales) const {
    const Moments moments = moments_of(scales, options_.rounding);
    std::vector<std::vector<float>> all;
    for (const AwqWeight& weight : group_.weights) {
      const ConstMatrixView& values = weight.values;
      std::vector<float>& out = all.emplace_back(values.rows * d_);
      const std::size_t tasks = (values.rows + kTaskRows - 1) / kTaskRows;
      tbb::parallel_for(std::size_t{0}, tasks, [&](std::size_t i) {
        const std::size_t first = i * kTaskRows;
        const ConstMatrixView rows =
            values.row_range(first, std::min(kTaskRows, values.rows - first));
        Buffers& b = buffers_.local();
        round({rows, &weight.scheme}, scales, moments, b);
        for (std::size_t k = 0; k < rows.rows * d_; ++k) {
          out[first * d_ + k] = rows.data[k] + b.difference[k];
        }
      });
    }
    return all;
  }

  using Moments = std::map<std::size_t, GroupMoments>;  // by group_size, of scaled inputs

  // None for rounding in the range.
  Moments moments_of(const std::vector<float>& scales, AwqRounding rounding) const {
    Moments moments;
    if (rounding == AwqRounding::range) return moments;
    for (const AwqWeight& weight : group_.weights) {
      const auto size = static_cast<std::size_t>(weight.scheme.group_of(d_));
      if (moments.contains(size)) continue;
      moments.emplace(size, GroupMoments(group_.gram, size, scales, options_.compute));
    }
    return moments;
  }

  // Of all rows, estimated from those that are looked at.
  double loss(const std::vector<float>& scales, AwqRounding rounding,
              const QuadraticForm& form) const {
    const Moments moments = moments_of(scales, rounding);
    std::vector<double> losses(tasks_.size());
    tbb::parallel_for(std::size_t{0}, tasks_.size(), [&](std::size_t task) {
      Buffers& b = buffers_.local();
      round(tasks_[task], scales, moments, b);
      losses[task] =
          form.sum(ConstMatrixView(b.difference.data(), tasks_[task].rows.rows, d_), b.form);
    });
    return std::accumulate(losses.begin(), losses.end(), 0.0) / share_;
  }

  // What rounding the scaled rows changes in them, without the scales: b.difference.
  void round(const Task& task, const std::vector<float>& scales, const Moments& moments,
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
  }

  // Parameters of the scaled rows, and what they make of them.
  void choose(const Task& task, const Moments& moments, Buffers& b) const {
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
  bool by_block_;
  AwqTrials trials_;
  QuadraticForm form_;
  std::optional<QuadraticForm> coarse_form_;  // to put trials in order, where it is faster
  std::size_t rows_ = 0;
  double share_ = 1;  // of the rows that are looked at
  std::vector<Task> tasks_;
  mutable tbb::enumerable_thread_specific<Buffers> buffers_;
  AwqScales best_;
};

}  // namespace

AwqScales search_awq_scales(const AwqGroup& group, const AwqOptions& options) {
  return AwqSearch(group, options).run();
}

}  // namespace qwodel
