#include <chrono>

#include "calibrate/collector.h"
#include "io/atomic_file.h"
#include "pipeline/calibration.h"
#include "pipeline/evaluation_text.h"

namespace qwodel {
namespace {

[[noreturn]] void usage(std::string where, std::string found, std::string expected) {
  throw Error(ErrorCode::usage, {.where = std::move(where),
                                 .found = std::move(found),
                                 .expected = std::move(expected),
                                 .remedy = ""});
}

ImportanceRun run_text(const ImatrixOptions& options, ImatrixReport& report) {
  const RunningModel model(options.run);
  const Executor executor(model.graph, model.weights,
                          executor_options(options.run, model.graph.hidden_size));
  const TokenSequences chunks =
      read_chunks(model, options.run.model, options.text, options.context, options.chunks);
  const std::vector<InputSums> sums = collect_sums(model, executor, chunks, options.run.threads);
  report.tokens = chunks.tokens.size();
  report.compute = name_of(executor.compute());
  return {.datasets = {options.text.string()},
          .chunks = static_cast<std::uint32_t>(chunks.size()),
          .chunk_size = static_cast<std::uint32_t>(options.context),
          .entries = importance_sums(statistics_inputs(model.graph),
                                     [&](std::size_t input) { return sums[input]; })};
}

ImportanceRun read_statistics(const ImatrixOptions& options, ImatrixReport& report) {
  const StatisticsFile file(options.statistics);
  for (const CalibrationText& text : file.header().texts) report.tokens += text.tokens;
  report.compute = file.header().compute;
  return importance_of(file);
}

}  // namespace

ImatrixReport make_imatrix(const ImatrixOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  if (options.output.empty()) usage("-o", "nothing", "an imatrix file");
  if (options.text.empty() == options.statistics.empty()) {
    usage("imatrix", options.text.empty() ? "neither --text nor --statistics" : "both",
          "--text FILE, or --statistics FILE");
  }
  refuse_existing(options.output, options.force);
  ImatrixReport report;
  const ImportanceRun run =
      options.statistics.empty() ? run_text(options, report) : read_statistics(options, report);
  write_importance_matrix(run, options.output, options.force);
  report.entries = run.entries.size();
  report.chunks = run.chunks;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return report;
}

}  // namespace qwodel
