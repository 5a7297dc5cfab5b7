// A GGUF artifact: every tensor encoded by its codec in one streaming pass.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "calibrate/importance_matrix.h"
#include "pipeline/artifact_job.h"
#include "pipeline/artifact_writer.h"
#include "pipeline/gguf_repacker.h"
#include "plan/tensor_plan.h"
#include "targets/gguf/gguf_artifact.h"

namespace qwodel {

class GgufJob final : public ArtifactJob {
 public:
  // Options, model and importance (null: none) must outlive the job. `targets` is the number of
  // artifacts of the run: with several, the output is a directory. A dry run plans without the
  // importance that a type needs.
  GgufJob(const QuantizeOptions& options, const SourceModel& model, const Target& target,
          const ImportanceMatrix* importance, std::size_t targets, bool dry_run);

  // Whether a method, by its name, wants statistics of activations.
  static bool is_calibrated(std::string_view method);

  bool needs_statistics() const override { return is_calibrated(options_.method); }
  ArtifactReport report() const override;
  std::vector<std::string> warnings() const override;
  void refuse_existing() const override;
  bool is_there() const override;
  Forecast forecast() const override;
  void run(ArtifactReport& report) const override;

 private:
  bool is_sequential() const;
  WriteOptions write_options() const;
  std::string run_key() const;
  bool repacks(const PlannedTensor& tensor) const;

  const QuantizeOptions& options_;
  const SourceModel& model_;
  Target target_;
  std::vector<PlanInput> inputs_;
  TensorPlan plan_;
  std::unique_ptr<GgufRepacker> repacker_;  // null: another method
  std::vector<GgufShard> files_;
};

}  // namespace qwodel
