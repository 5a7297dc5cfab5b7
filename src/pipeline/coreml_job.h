// A Core ML package: the model's graph lowered to a program, its weights encoded in one streaming
// pass, and the tokenizer's files in a folder beside it.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "pipeline/artifact_job.h"
#include "pipeline/source_model.h"
#include "plan/device_rules.h"
#include "sources/graph_weights.h"
#include "targets/coreml/lower_graph.h"
#include "targets/coreml/weight_plan.h"
#include "targets/target.h"

namespace qwodel {

class CoremlJob final : public ArtifactJob {
 public:
  // Options and model must outlive the job; `targets` as in GgufJob. Throws FormatNotSupportedError
  // when the model, the encoding or the options have no form in the asked version of Core ML, Error
  // (usage) for options that contradict each other.
  CoremlJob(const QuantizeOptions& options, const SourceModel& model, const Target& target,
            std::size_t targets);

  // What rules of runtimes look at.
  PackageFacts facts() const;

  ArtifactReport report() const override;
  std::vector<std::string> warnings() const override;
  void refuse_existing() const override;
  bool is_there() const override;
  bool needs_statistics() const override;
  bool needs_calibration() const override { return needs_statistics(); }
  Forecast forecast() const override;
  void run(ArtifactReport& report) const override;

 private:
  void describe(coreml::Model& model) const;

  const QuantizeOptions& options_;
  const SourceModel& model_;
  Target target_;
  std::filesystem::path path_;
  Graph graph_;
  CheckpointWeights weights_;
  CoremlOptions form_;
  std::vector<WeightChoice> choices_;
  LoweredModel lowered_;
};

}  // namespace qwodel
