#include "pipeline/moment_quantizer.h"

#include <algorithm>
#include <utility>

#include "methods/clip.h"
#include "methods/gptq.h"
#include "methods/mismatch.h"
#include "pipeline/fold_weights.h"
#include "pipeline/progress_meter.h"

namespace qwodel {
namespace {

// Fewer tokens than this part of the in_features say too little about their correlation (an expert
// that was hardly ever chosen): it is rounded with what is known of its channels.
constexpr double kEnoughTokens = 0.25;

constexpr std::size_t kFitRows = 64;

std::vector<float> diagonal(const SecondMoments& moments) {
  std::vector<float> values;
  if (moments.rows == 0) return values;
  for (std::size_t i = 0; i < moments.width(); ++i) {
    values.push_back(moments.gram[i * moments.width() + i]);
  }
  return values;
}

}  // namespace

void MomentQuantizer::quantize(std::span<const std::size_t> linears, SecondMoments moments,
                               std::span<const float> cross,
                               const LinearQuantizer::Sink& sink) const {
  Input input{.moments = std::move(moments), .measured = std::nullopt};
  if (input.moments.rows > 0) {
    // The high parts are off by less than a thousandth of an error: enough for a report.
    measure(task_.times, "second moments", [&] {
      input.measured.emplace(input.moments.matrix(), task_.compute, SplitParts::high);
    });
  }
  damp_channels(input.moments);
  const std::size_t d = input.moments.width();
  const bool enough =
      static_cast<double>(input.moments.rows) >= kEnoughTokens * static_cast<double>(d);
  if (!method_.feed_back || !enough) {
    for (const std::size_t i : linears) round(i, input, sink);
    return;
  }
  const HessianFactor factor = measure(task_.times, "factorization", [&] {
    return factorize_hessian(input.moments.matrix(), {},
                             task_.plan.linears[linears.front()].module);
  });
  Drift drift;
  if (!cross.empty()) {
    drift.cross = {cross.data(), d, d};
    const bool many = std::ranges::any_of(linears, [&](std::size_t i) { return has_many_rows(i); });
    if (many) {
      measure(task_.times, "mismatch",
              [&] { threads_.execute([&] { drift.mismatch = mismatch(drift.cross, factor); }); });
    }
  }
  for (const std::size_t i : linears) {
    throw_if_cancelled(task_.cancel);
    feed_back(i, input, factor, drift, sink);
  }
}

// Whether D H^-1 is worth its d^3 operations. Asked of a linear for itself: a run that resumes has
// fewer of them, and is to give the same bytes.
bool MomentQuantizer::has_many_rows(std::size_t linear) const {
  const PlannedLinear& planned = task_.plan.linears[linear];
  return planned.out_features >= planned.in_features;
}

void MomentQuantizer::make_up(std::size_t linear, const Drift& drift, const HessianFactor& factor,
                              MatrixView weights) const {
  const float strength = method_.mismatch_strength;
  if (has_many_rows(linear)) {
    compensate(weights, {drift.mismatch.data(), weights.cols, weights.cols}, strength);
  } else {
    compensate_few(weights, drift.cross, factor, strength);
  }
}

std::vector<float> MomentQuantizer::folded(std::size_t i) const {
  std::vector<float> values = read_linear(task_.model, task_.plan.linears[i]);
  fold_values(task_, folds_, i, 0, values);
  return values;
}

void MomentQuantizer::round(std::size_t i, const LinearQuantizer::Sink& sink) const {
  round(i, Input{}, sink);
}

void MomentQuantizer::round(std::size_t i, const Input& input,
                            const LinearQuantizer::Sink& sink) const {
  const SecondMoments& moments = input.moments;
  const PlannedLinear& linear = task_.plan.linears[i];
  const std::vector<float> values = folded(i);
  const ConstMatrixView view(values.data(), static_cast<std::size_t>(linear.out_features),
                             static_cast<std::size_t>(linear.in_features));
  const bool scaled = method_.scale && !folds_.columns[i].empty();
  QuantizedLinear result = round_linear(view, diagonal(moments), linear.scheme, true);
  result.method = scaled ? "awq" : "search";
  if (moments.rows > 0) {
    threads_.execute([&] {
      const auto group_size = static_cast<std::size_t>(result.matrix.scheme.group_size);
      const GroupMoments groups(moments.matrix(), group_size, {}, task_.compute);
      search_clipping(view, groups, ClipSteps::refine, result.matrix);
    });
    result.errors = matrix_errors(view, result.matrix);
  }
  result.calibrated = describe(i, view, OutputLossSample(view), result.matrix, input);
  sink(i, result);
}

CalibratedLinear MomentQuantizer::describe(std::size_t i, ConstMatrixView weights,
                                           const OutputLossSample& wanted,
                                           const GroupIntMatrix& quantized,
                                           const Input& input) const {
  CalibratedLinear result{.tokens = input.moments.rows};
  FoldedScales scales;
  if (!folds_.columns.empty()) {
    scales = {.columns = folds_.columns[i], .rows = folds_.rows[i]};
    if (const auto f = folds_.fold_of[i]) {
      const AwqFold& fold = folds_.folds[*f];
      result.scale_refused = fold.refused;
      if (!fold.refused) result.scale_ratio = fold.ratio;
      result.scale_duo = !fold.refused && fold.duo;
    }
  }
  if (!input.measured) return result;
  const OutputLoss loss = wanted.measure(weights, quantized, *input.measured, scales, threads_);
  result.loss_before = loss.nearest;
  result.loss_after = loss.quantized;
  return result;
}

// Where groups follow the order of activation, the columns of one stand together for the search.
void MomentQuantizer::fit(ConstMatrixView weights, const HessianFactor& factor,
                          GroupIntMatrix& out) const {
  const std::size_t d = weights.cols;
  std::vector<float> importance = factor.importance;
  if (method_.activation_groups) {
    out.group_index.resize(d);
    for (std::size_t i = 0; i < d; ++i) {
      out.group_index[factor.order[i]] = static_cast<std::uint32_t>(i / out.scheme.group_size);
      importance[i] = factor.importance[factor.order[i]];
    }
  }
  threads_.run((weights.rows + kFitRows - 1) / kFitRows, [&](std::size_t task) {
    const std::size_t first = task * kFitRows;
    ConstMatrixView rows = weights.row_range(first, std::min(kFitRows, weights.rows - first));
    std::vector<float> ordered;
    if (method_.activation_groups) {
      ordered.reserve(rows.rows * d);
      for (std::size_t r = 0; r < rows.rows; ++r) {
        for (const std::uint32_t column : factor.order) ordered.push_back(rows.row(r)[column]);
      }
      rows = {ordered.data(), rows.rows, d};
    }
    fit_rows(rows, importance, search_of(out.scheme, true), first, out);
  });
}

void MomentQuantizer::feed_back(std::size_t i, const Input& input, const HessianFactor& factor,
                                const Drift& drift, const LinearQuantizer::Sink& sink) const {
  const PlannedLinear& linear = task_.plan.linears[i];
  const std::vector<float> values = folded(i);
  std::vector<float> decoded = values;
  const auto rows = static_cast<std::size_t>(linear.out_features);
  const auto cols = static_cast<std::size_t>(linear.in_features);
  const ConstMatrixView view(values.data(), rows, cols);
  const MatrixView target(decoded.data(), rows, cols);
  QuantizedLinear result{.matrix = GroupIntMatrix(linear.scheme, rows, cols),
                         .errors = {},
                         .method = method_.scale ? "awq+gptq" : "gptq"};
  if (drift.cross.data != nullptr) {
    measure(task_.times, "mismatch",
            [&] { threads_.execute([&] { make_up(i, drift, factor, target); }); });
  }
  const OutputLossSample wanted(target);
  measure(task_.times, "scale search", [&] { fit(target, factor, result.matrix); });
  measure(task_.times, "feedback",
          [&] { threads_.execute([&] { gptq(target, factor, result.matrix); }); });
  measure(task_.times, "report", [&] {
    result.errors = matrix_errors(view, result.matrix);
    result.calibrated = describe(i, view, wanted, result.matrix, input);
    result.calibrated->damp_percent = factor.damp_percent;
  });
  measure(task_.times, "writing", [&] { sink(i, result); });
}

}  // namespace qwodel
