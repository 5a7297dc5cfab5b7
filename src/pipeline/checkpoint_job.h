// Quantizing into a Hugging Face directory: AWQ, GPTQ and compressed-tensors artifacts.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "calibrate/statistics.h"
#include "pipeline/artifact_job.h"
#include "pipeline/checkpoint_method.h"
#include "pipeline/checkpoint_writer.h"
#include "pipeline/linear_quantizer.h"
#include "pipeline/source_model.h"
#include "plan/linear_plan.h"
#include "plan/target_rules.h"
#include "targets/checkpoint_layout.h"
#include "targets/target.h"

namespace qwodel {

class CheckpointJob final : public ArtifactJob {
 public:
  // Options and model must outlive the job; `targets` as in GgufJob. Throws FormatNotSupportedError
  // when the model or a linear's shape does not fit the target.
  CheckpointJob(const QuantizeOptions& options, const SourceModel& model, const Target& target,
                std::size_t targets);

  // For the rules of runtimes.
  ArtifactFacts facts() const;

  ArtifactReport report() const override;
  std::vector<std::string> warnings() const override;
  void refuse_existing() const override;
  bool is_there() const override;
  bool needs_statistics() const override;
  bool needs_calibration() const override;
  Forecast forecast() const override;
  void run(ArtifactReport& report) const override;

 private:
  void choose_repacking();
  void refuse_codes() const;
  LinearTask task(const FinishedLinears& finished, PhaseTimes& times) const;
  LinearArtifact artifact() const;
  std::string run_key() const;
  std::unique_ptr<StatisticsFile> open_statistics() const;
  void write(CheckpointWriter& writer, ArtifactReport& report) const;

  const QuantizeOptions& options_;
  const SourceModel& model_;
  Target target_;
  CheckpointMethod method_;
  std::filesystem::path path_;
  const LinearFormat& format_;
  GroupIntScheme scheme_;
  Graph graph_;
  LinearPlan plan_;
  CheckpointLayout layout_;
};

}  // namespace qwodel
