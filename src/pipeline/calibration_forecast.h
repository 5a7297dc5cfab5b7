// What a calibrated run takes besides encoding, foretold: memory from the sizes of the graph, time
// from running a layer on a few tokens.
#pragma once

#include "graph/graph.h"
#include "pipeline/artifact_job.h"
#include "pipeline/calibrated_method.h"
#include "pipeline/source_model.h"
#include "qwodel/quantize.h"

namespace qwodel {

// Tokens are as many as the options allow; the text may have fewer. Runs layers of the model for
// about a second. Throws as Executor::forward().
Forecast forecast_calibration(const SourceModel& model, const Graph& graph,
                              const QuantizeOptions& options, const CalibrationWork& work);

}  // namespace qwodel
