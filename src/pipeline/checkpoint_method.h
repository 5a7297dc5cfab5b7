// How the linears of a directory are quantized: the method that the options name or the target has,
// what it needs, and who carries it out.
#pragma once

#include <memory>
#include <string>

#include "calibrate/statistics.h"
#include "pipeline/calibration_forecast.h"
#include "pipeline/linear_quantizer.h"
#include "plan/linear_plan.h"
#include "qwodel/quantize.h"
#include "targets/target.h"

namespace qwodel {

class CheckpointMethod {
 public:
  // Both outlive it. Throws Error (usage) for a name that is no method of directories.
  CheckpointMethod(const QuantizeOptions& options, const Target& target);

  const std::string& name() const { return name_; }

  // Takes codes over from the source; with_source_codes() says so where no method was named.
  bool repacks() const;
  void with_source_codes();

  bool is_calibrated() const;
  bool scales() const;
  bool feeds_back() const;

  bool is_sequential() const;
  bool needs_statistics() const;
  CalibrationWork calibration_work() const;

  // Throws what options and plan do not allow: FormatNotSupportedError, Error (usage).
  void check(const LinearPlan& plan) const;

  // `statistics` and `calibration` where the method needs them, else null.
  std::unique_ptr<LinearQuantizer> make_quantizer(const LinearTask& task,
                                                  const StatisticsFile* statistics,
                                                  const CalibrationPass* calibration) const;

 private:
  CalibratedMethod steps() const;

  const QuantizeOptions& options_;
  const Target& target_;
  std::string name_;
};

}  // namespace qwodel
