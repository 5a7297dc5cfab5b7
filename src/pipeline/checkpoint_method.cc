#include "pipeline/checkpoint_method.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "pipeline/artifact_job.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::string_view kRepack = "repack";
constexpr std::array<std::string_view, 3> kUncalibrated = {"rtn", "search", kRepack};

std::string default_method(const Target& target) {
  if (target.linears->codes == CodeKind::float8) return "rtn";
  return target.backend == "awq" ? "awq" : "gptq";
}

}  // namespace

CheckpointMethod::CheckpointMethod(const QuantizeOptions& options, const Target& target)
    : options_(options),
      target_(target),
      name_(options.method.empty() ? default_method(target) : options.method) {
  if (!is_calibrated() && std::ranges::find(kUncalibrated, name_) == kUncalibrated.end()) {
    refuse_option("--method", name_, "rtn, search, awq, gptq, awq+gptq or repack");
  }
}

bool CheckpointMethod::repacks() const { return name_ == kRepack; }

void CheckpointMethod::with_source_codes() { name_ = kRepack; }

bool CheckpointMethod::is_calibrated() const { return find_calibrated_method(name_) != nullptr; }

CalibratedMethod CheckpointMethod::steps() const {
  const CalibratedMethod* found = find_calibrated_method(name_);
  return found == nullptr ? CalibratedMethod{.scale = false, .feed_back = false} : *found;
}

bool CheckpointMethod::scales() const { return steps().scale; }

bool CheckpointMethod::feeds_back() const { return steps().feed_back; }

bool CheckpointMethod::is_sequential() const { return is_true_sequential(steps(), options_); }

bool CheckpointMethod::needs_statistics() const {
  return is_calibrated() && (steps().scale || !is_sequential());
}

CalibrationWork CheckpointMethod::calibration_work() const {
  return qwodel::calibration_work(steps(), options_, needs_statistics(), is_sequential());
}

// GPTQ and AWQ round to integers. Only GPTQ has an order of columns, and only its files hold it.
void CheckpointMethod::check(const LinearPlan& plan) const {
  if (options_.desc_act && target_.backend != "gptq") {
    throw FormatNotSupportedError({.where = "--desc-act",
                                   .found = "a target " + target_.backend,
                                   .expected = "gptq, whose files have a g_idx",
                                   .remedy = "leave it out: errors are fed back in order of "
                                             "activation in any case"});
  }
  if (options_.desc_act && !feeds_back()) {
    refuse_option("--desc-act", "--method " + name_, "gptq or awq+gptq");
  }
  const bool floats = std::ranges::any_of(plan.linears, [](const PlannedLinear& linear) {
    return linear.scheme.codes == CodeKind::float8;
  });
  if (!floats || !is_calibrated()) return;
  throw FormatNotSupportedError({.where = "--method " + name_,
                                 .found = "8-bit floats",
                                 .expected = "integers",
                                 .remedy = "use --method search or rtn"});
}

std::unique_ptr<LinearQuantizer> CheckpointMethod::make_quantizer(
    const LinearTask& task, const StatisticsFile* statistics,
    const CalibrationPass* calibration) const {
  if (repacks()) return make_repacking_quantizer(task, options_.method == kRepack);
  if (!is_calibrated()) return make_rounding_quantizer(task, name_ == "search");
  CalibratedMethod method = steps();
  method.activation_groups = options_.desc_act;
  if (calibration == nullptr) return make_calibrated_quantizer(task, *statistics, method);
  method.mismatch_strength = options_.mismatch_strength;
  return make_sequential_quantizer(task, statistics, *calibration, method);
}

}  // namespace qwodel
