#include "pipeline/calibration_forecast.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include "calibrate/linear_input.h"
#include "graph/segmented_pass.h"
#include "pipeline/block_loss.h"
#include "pipeline/calibration.h"
#include "sources/graph_weights.h"

namespace qwodel {
namespace {

constexpr double kSampleOperations = 2e11;  // of a layer: about a second of two cores
constexpr double kFewestTokens = 64;
constexpr double kMostTokens = 512;

// A product X^T X takes longer than its operations: rows are copied, sums widened.
constexpr double kSumCost = 1.4;
constexpr double kScaleTrials = 24;  // of AWQ's search, each a product of all weights
constexpr double kBlockRuns = 7;     // of a layer for each of its inputs, in single precision

// Bytes, as measured on SmolLM2: values of a token in a batch per channel of the hidden state, sums
// and factors per square of the widest input, and code of oneDNN and its tables.
constexpr double kBatchBytes = 26;
constexpr double kSumBytes = 16;
constexpr double kComparedSumBytes = 4;
constexpr double kRuntimeBytes = 90e6;
constexpr double kFactorRows = 4096;

// Sizes of a layer, the first one standing for all.
struct Layer {
  double weights = 0;  // values of its linears
  double squares = 0;  // of the widths of their inputs
  double widest = 0;   // of those
  double trial = 0;    // multiplications of all weights with X^T X
  double inputs = 0;
};

Layer measure_layer(const Graph& graph, const std::vector<LinearInput>& inputs) {
  Layer layer;
  for (const LinearInput& input : inputs) {
    if (input.stage != 1) continue;
    const auto width = static_cast<double>(input.width);
    layer.squares += width * width;
    ++layer.inputs;
    layer.widest = std::max(layer.widest, width);
    for (const WeightId weight : input.weights) {
      double values = 1;
      for (const std::uint64_t extent : graph.weights[weight].shape) {
        values *= static_cast<double>(extent);
      }
      layer.weights += values;
      layer.trial += values * width;
    }
  }
  return layer;
}

TokenSequences sample_tokens(const Graph& graph, std::uint64_t count) {
  std::vector<std::uint32_t> tokens;
  for (std::uint64_t i = 0; i < count; ++i) {
    tokens.push_back(static_cast<std::uint32_t>(i * 7919 % graph.vocab_size));
  }
  TokenSequences sequences;
  sequences.append(tokens);
  return sequences;
}

// From one layer's first linear to the next one's, after a layer that warmed up what it could; with
// one layer, up to its first linear.
double seconds_of_layer(const Executor& executor, const std::vector<LinearInput>& inputs,
                        std::size_t layers, const TokenSequences& sequences) {
  std::vector<PassCut> cuts;
  const std::size_t first = layers > 2 ? 2 : 1;
  for (const LinearInput& input : inputs) {
    const bool wanted = input.stage == first || (input.stage == first + 1 && input.stage <= layers);
    if (wanted && (cuts.empty() || cuts.back().stage != input.stage)) {
      cuts.push_back({input.stage, input.op});
    }
  }
  SegmentedPass pass(executor, sequences, cuts);
  auto start = std::chrono::steady_clock::now();
  pass.advance();
  if (cuts.size() > 1) {
    start = std::chrono::steady_clock::now();
    pass.advance();
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double memory_of(const Layer& layer, const ExecutorOptions& settings, double hidden, double tokens,
                 const CalibrationWork& work) {
  // Two models that run in turns share the buffers of a batch.
  const double passes = work.sequential && work.compared ? 2 : 1;
  const auto cap = static_cast<double>(settings.hidden_memory);
  const double product_bytes = resolved(settings.compute) == ComputeType::bf16 ? 2 : 4;
  const auto stored = [&](double bytes, double most) { return std::min(bytes * tokens, most); };
  const double states =
      work.sequential ? stored(4 * hidden, cap / 4) + stored(product_bytes * layer.widest, cap / 4)
                      : stored(4 * hidden, cap);
  const double batch = std::min(static_cast<double>(settings.batch_tokens), tokens);
  const double weights =
      std::min(product_bytes * layer.weights, static_cast<double>(settings.weight_memory));
  const double sums = kSumBytes + (work.compared ? kComparedSumBytes : 0);
  return passes * (states + weights) + batch * hidden * kBatchBytes +
         4 * layer.widest * std::min(batch, kFactorRows) + sums * layer.widest * layer.widest +
         kRuntimeBytes;
}

}  // namespace

Forecast forecast_calibration(const SourceModel& model, const Graph& graph,
                              const QuantizeOptions& options, const CalibrationWork& work) {
  const bool runs = work.statistics || work.sequential;
  if (!runs && !work.scaled) return {};
  const std::vector<LinearInput> inputs = linear_inputs(graph);
  const std::size_t layers = graph.stages.size() > 2 ? graph.stages.size() - 2 : 1;
  const Layer layer = measure_layer(graph, inputs);
  if (layer.weights == 0) return {};
  const ExecutorOptions settings =
      work.sequential ? sequential_settings(options, graph) : calibration_settings(options, graph);
  const CheckpointWeights weights(graph, model.readers);
  const Executor executor(graph, weights, settings);
  const double most = std::min(kMostTokens, static_cast<double>(options.calibration.seq_len));
  const double sample = std::max(
      1.0, std::min(most, std::max(kFewestTokens, kSampleOperations / (2 * layer.weights))));
  const TokenSequences sequences = sample_tokens(graph, static_cast<std::uint64_t>(sample));
  const double per_token = seconds_of_layer(executor, inputs, layers, sequences) /
                           static_cast<double>(sequences.tokens.size());

  const double tokens = static_cast<double>(options.calibration.samples) *
                        static_cast<double>(options.calibration.seq_len);
  const double sums = kSumCost * layer.squares / (2 * layer.weights);
  double forwards = 0;
  if (work.sequential) forwards += 1 + sums;
  if (work.sequential && work.compared) forwards += 1 + 2 * sums;
  double trials = work.scaled ? kScaleTrials * layer.trial / layer.weights : 0;
  if (work.by_block) {
    trials += kBlockRuns * layer.inputs * static_cast<double>(kBlockSamples * kBlockTokens);
  }
  const double per_model_token = per_token * static_cast<double>(layers);
  Forecast result;
  result.encode_seconds = per_model_token * (tokens * forwards + trials);
  if (work.statistics) result.statistics_seconds = per_model_token * tokens * (1 + sums);
  if (runs) {
    result.peak_memory_bytes = static_cast<std::uint64_t>(
        memory_of(layer, settings, static_cast<double>(graph.hidden_size), tokens, work));
  }
  return result;
}

}  // namespace qwodel
