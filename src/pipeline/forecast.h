// What a run will take, foretold from its plan: memory from the sizes of its tiles, time from
// encoding a few of them.
#pragma once

#include <cstdint>
#include <vector>

#include "pipeline/artifact_job.h"
#include "pipeline/artifact_writer.h"
#include "pipeline/source_model.h"
#include "plan/tensor_plan.h"

namespace qwodel {

// Encodes tiles of every kind (type, source type, importance) the plan has, for at most about a
// second, and throws what encoding them throws. Importance that the plan lacks is taken as equal.
Forecast forecast_run(const SourceModel& model, const std::vector<PlanInput>& inputs,
                      const TensorPlan& plan, const WriteOptions& options);

}  // namespace qwodel
