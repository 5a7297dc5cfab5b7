// Quantizing into a Hugging Face directory: AWQ, GPTQ and compressed-tensors artifacts.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "kernels/error_sums.h"
#include "pipeline/artifact_job.h"
#include "pipeline/source_model.h"
#include "plan/linear_plan.h"
#include "targets/checkpoint_layout.h"
#include "targets/target.h"

namespace qwodel {

// How the linears' scales and codes are chosen.
enum class LinearMethod : std::uint8_t {
  rtn,     // range of each group, round to nearest
  search,  // scales of the lowest squared error, round to nearest
};

class CheckpointJob final : public ArtifactJob {
 public:
  // Options and model must outlive the job; `targets` as in GgufJob. Throws FormatNotSupportedError
  // when the model or a linear's shape does not fit the target.
  CheckpointJob(const QuantizeOptions& options, const SourceModel& model, const Target& target,
                std::size_t targets);

  ArtifactReport report() const override;
  std::vector<std::string> warnings() const override;
  void refuse_existing() const override;
  Forecast forecast() const override;
  void run(ArtifactReport& report) const override;

 private:
  GroupIntMatrix quantize(const PlannedLinear& linear, ErrorSums& errors) const;
  std::uint64_t largest_linear() const;  // values

  const QuantizeOptions& options_;
  const SourceModel& model_;
  Target target_;
  LinearMethod method_;
  std::filesystem::path path_;
  const LinearFormat& format_;
  GroupIntScheme scheme_;
  LinearPlan plan_;
  CheckpointLayout layout_;
};

}  // namespace qwodel
