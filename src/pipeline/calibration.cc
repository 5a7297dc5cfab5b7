#include "pipeline/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include "calibrate/collector.h"
#include "calibrate/model_hash.h"
#include "formats/tensor_info.h"
#include "graph/edges.h"
#include "pipeline/evaluation_text.h"

namespace qwodel {
namespace {

// The forward pass of a quantization.
RunOptions run_options(const QuantizeOptions& options) {
  RunOptions run;
  run.model = options.model;
  run.arch_as = options.arch_as;
  run.tokenizer_pre = options.tokenizer_pre;
  run.compute = options.compute;
  run.threads = options.threads;
  run.max_memory = options.max_memory;
  run.progress = options.progress;
  run.cancel = options.cancel;
  return run;
}

ImportanceRun importance_of_text(const QuantizeOptions& options) {
  const RunOptions run = run_options(options);
  const RunningModel model(run);
  const Executor executor(model.graph, model.weights,
                          executor_options(run, model.graph.hidden_size));
  const TokenSequences sequences =
      read_samples(model.source, model.graph.vocab_size, options.model, options.calibration);
  const std::vector<InputSums> sums = collect_sums(model, executor, sequences, run.threads);
  return {.datasets = {options.calibration.text},
          .chunks = static_cast<std::uint32_t>(sequences.size()),
          .chunk_size = static_cast<std::uint32_t>(options.calibration.seq_len),
          .entries = importance_sums(statistics_inputs(model.graph),
                                     [&](std::size_t input) { return sums[input]; })};
}

ImportanceRun importance_of_file(const QuantizeOptions& options) {
  const StatisticsFile file(options.statistics);
  const RunningModel model(run_options(options));
  require_same_model(file, hash_of_model(model.graph, model.weights), options.model.string());
  return importance_of(file);
}

// The largest stage's weights in single precision: no less than products take.
std::uint64_t largest_stage(const Graph& graph) {
  std::uint64_t largest = 0;
  for (const Stage& stage : graph.stages) {
    std::uint64_t values = 0;
    for (const Op& op : stage.ops) {
      for (const WeightId weight : op_weights(op)) {
        values += element_count(graph.weights[weight].shape);
      }
    }
    largest = std::max(largest, values * sizeof(float));
  }
  return largest;
}

}  // namespace

TokenSequences read_samples(const SourceModel& model, std::uint64_t vocab_size,
                            const std::filesystem::path& path, const CalibrationOptions& options) {
  const auto tokenizer = tokenizer_for(model, path, options.text);
  const Corpus corpus = read_corpus(options.text, {.tokenizer = tokenizer ? &*tokenizer : nullptr,
                                                   .vocab_size = vocab_size,
                                                   .chat_template = chat_template_of(model)});
  return sample_corpus(corpus, options.samples, options.seq_len);
}

ExecutorOptions calibration_settings(const QuantizeOptions& options, const Graph& graph) {
  ExecutorOptions settings = executor_options(run_options(options), graph.hidden_size);
  if (!options.output.empty()) {
    settings.scratch = std::filesystem::absolute(options.output).parent_path();
  }
  return settings;
}

ComputeType product_type(const QuantizeOptions& options, const Graph& graph) {
  return resolved(calibration_settings(options, graph).compute);
}

ExecutorOptions sequential_settings(const QuantizeOptions& options, const Graph& graph) {
  constexpr std::uint64_t kBatchTokens = 1024;
  ExecutorOptions settings = calibration_settings(options, graph);
  if (largest_stage(graph) <= settings.weight_memory) {
    settings.batch_tokens = std::min(settings.batch_tokens, kBatchTokens);
  }
  return settings;
}

CalibrationPass calibration_pass(const QuantizeOptions& options, const SourceModel& model,
                                 const Graph& graph) {
  return {.sequences = read_samples(model, graph.vocab_size, options.model, options.calibration),
          .options = sequential_settings(options, graph)};
}

std::string calibration_key(const QuantizeOptions& options, bool sequential) {
  std::string key;
  const auto add_file = [&](const std::filesystem::path& path) {
    std::error_code ignored;
    const auto time = std::filesystem::last_write_time(path, ignored).time_since_epoch().count();
    key += fmt::format("{} {} {}\n", path.filename().string(),
                       std::filesystem::file_size(path, ignored), time);
  };
  if (!options.statistics.empty()) add_file(options.statistics);
  if (options.calibration.text.empty()) return key;
  add_file(options.calibration.text);
  return key + fmt::format("{} {} {} {} {} {} {}\n", options.calibration.samples,
                           options.calibration.seq_len, options.compute, options.max_memory,
                           sequential, options.mismatch_strength, options.awq_loss);
}

std::vector<InputSums> collect_sums(const RunningModel& model, const Executor& executor,
                                    const TokenSequences& sequences, int threads) {
  std::vector<InputSums> result(linear_inputs(model.graph).size());
  StatisticsCollector collector(
      model.graph, {.compute = executor.compute(), .threads = threads},
      {.on_sums = [&](std::size_t input, InputSums sums) { result[input] = std::move(sums); },
       .on_gram = {},
       .on_stage_end = {}});
  executor.forward(sequences, &collector);
  return result;
}

ImportanceRun importance_of(const StatisticsFile& file) {
  ImportanceRun run;
  for (const CalibrationText& text : file.header().texts) {
    run.datasets.push_back(text.name);
    run.chunks += static_cast<std::uint32_t>(text.sequences);
    if (text.sequences == 0) continue;
    run.chunk_size = static_cast<std::uint32_t>(text.tokens / text.sequences);
  }
  run.chunk_size = std::max(run.chunk_size, 1u);
  run.entries =
      importance_sums(file.inputs(), [&](std::size_t input) { return file.read(input, false); });
  return run;
}

std::unique_ptr<ImportanceMatrix> importance_for(const QuantizeOptions& options) {
  const int given = (options.imatrix.empty() ? 0 : 1) + (options.statistics.empty() ? 0 : 1) +
                    (options.calibration.text.empty() ? 0 : 1);
  if (given == 0) return nullptr;
  if (given > 1) {
    throw Error(ErrorCode::usage, {.where = "quantize",
                                   .found = "two of --imatrix, --statistics and --calibration",
                                   .expected = "one",
                                   .remedy = ""});
  }
  if (!options.imatrix.empty()) {
    return std::make_unique<ImportanceMatrix>(read_importance_matrix(options.imatrix));
  }
  if (!options.statistics.empty()) {
    return std::make_unique<ImportanceMatrix>(
        to_importance_matrix(importance_of_file(options), options.statistics.string()));
  }
  return std::make_unique<ImportanceMatrix>(
      to_importance_matrix(importance_of_text(options), options.calibration.text));
}

}  // namespace qwodel
