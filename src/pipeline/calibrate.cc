#include <algorithm>
#include <chrono>

#include "calibrate/corpus.h"
#include "calibrate/model_hash.h"
#include "calibrate/statistics_run.h"
#include "pipeline/calibration.h"

namespace qwodel {

CalibrateReport calibrate(const CalibrateOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  if (options.output.empty()) {
    throw Error(ErrorCode::usage,
                {.where = "-o", .found = "nothing", .expected = "a .qstats file", .remedy = ""});
  }
  const RunningModel model(options.run);
  ExecutorOptions settings = executor_options(options.run, model.graph.hidden_size);
  settings.scratch = std::filesystem::absolute(options.output).parent_path();
  const Executor executor(model.graph, model.weights, settings);
  const TokenSequences sequences =
      read_samples(model.source, model.graph.vocab_size, options.run.model, options.calibration);
  const std::uint64_t cap = options.run.max_memory;
  const std::uint64_t gram_memory =
      cap > 0 ? std::min(options.gram_memory, cap / 4) : options.gram_memory;
  CalibrateReport report;
  report.tokens = sequences.tokens.size();
  report.sequences = sequences.size();
  report.compute = name_of(executor.compute());
  report.model_hash = hash_of_model(model.graph, model.weights);
  report.text_hash = hash_of(sequences);
  const StatisticsHeader header{
      .model = options.run.model.filename().string(),
      .model_hash = report.model_hash,
      .compute = report.compute,
      .has_gram = options.gram,
      .stages = model.graph.stages.size(),
      .texts = {{options.calibration.text, report.text_hash, report.tokens, report.sequences}}};
  StatisticsRun run(model.graph, executor.compute(), header, report.tokens,
                    {.output = options.output,
                     .resume = options.resume,
                     .replace = options.force,
                     .threads = options.run.threads,
                     .gram_memory = gram_memory,
                     .keep_every = std::chrono::duration<double>(options.keep_seconds)});
  report.resumed_stages = run.first_stage();
  run.run(executor, sequences);
  report.inputs = linear_inputs(model.graph).size();
  report.bytes = std::filesystem::file_size(options.output);
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

void merge_calibrations(const std::vector<std::filesystem::path>& files,
                        const std::filesystem::path& output, bool force) {
  merge_statistics(files, output, force);
}

}  // namespace qwodel
