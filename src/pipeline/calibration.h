// Parts of calibrating that several verbs share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "calibrate/importance_sums.h"
#include "calibrate/statistics.h"
#include "pipeline/linear_quantizer.h"
#include "pipeline/running_model.h"
#include "qwodel/calibrate.h"
#include "qwodel/quantize.h"

namespace qwodel {

// Samples of the calibration text. Throws ValidationError.
TokenSequences read_samples(const SourceModel& model, std::uint64_t vocab_size,
                            const std::filesystem::path& path, const CalibrationOptions& options);

// How the model runs for a quantization; hidden states that find no room go beside the output.
ExecutorOptions calibration_settings(const QuantizeOptions& options, const Graph& graph);

// What its products are made of: f32 or bf16.
ComputeType product_type(const QuantizeOptions& options, const Graph& graph);

// How it runs for a pass that keeps the values of all tokens. Where the weights of a stage stay
// decoded from batch to batch, small batches take as long as large ones and less memory.
ExecutorOptions sequential_settings(const QuantizeOptions& options, const Graph& graph);

// The calibration text of a quantization, and how it is run.
CalibrationPass calibration_pass(const QuantizeOptions& options, const SourceModel& model,
                                 const Graph& graph);

// What the bytes of a calibrated artifact depend on besides the model, as text. Size and time of
// change say whether a file is the same.
std::string calibration_key(const QuantizeOptions& options, bool sequential);

// Sums of all inputs, in the order of statistics_inputs(). Without Gram matrices they are small.
std::vector<InputSums> collect_sums(const RunningModel& model, const Executor& executor,
                                    const TokenSequences& sequences, int threads);

// The importance of weights that statistics hold.
ImportanceRun importance_of(const StatisticsFile& file);

// What --imatrix, --statistics or --calibration of a quantization say; null when there is none of
// them. Throws Error (usage) for more than one.
std::unique_ptr<ImportanceMatrix> importance_for(const QuantizeOptions& options);

}  // namespace qwodel
