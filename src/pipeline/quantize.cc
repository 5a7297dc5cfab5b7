#include "qwodel/quantize.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>

#include "calibrate/importance_matrix.h"
#include "pipeline/calibration.h"
#include "pipeline/checkpoint_job.h"
#include "pipeline/gguf_job.h"
#include "pipeline/memory.h"

namespace qwodel {
namespace {

void make_output_folder(const QuantizeOptions& options, const std::filesystem::path& first) {
  const auto folder = first.parent_path();
  if (folder.empty() || std::filesystem::is_directory(folder)) return;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw DependencyError({.where = options.output.string(),
                           .found = error.message(),
                           .expected = "a folder that can be made",
                           .remedy = "choose another -o"});
  }
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::unique_ptr<ArtifactJob> make_job(const QuantizeOptions& options, const SourceModel& model,
                                      const Target& target, const ImportanceMatrix* importance,
                                      std::size_t targets, bool dry_run) {
  if (!target.linears) {
    return std::make_unique<GgufJob>(options, model, target, importance, targets, dry_run);
  }
  if (!options.statistics.empty() || !options.calibration.text.empty()) {
    throw FormatNotSupportedError({.where = target.backend,
                                   .found = "calibration for this target",
                                   .expected = "a gguf target",
                                   .remedy = "leave out --calibration and --statistics"});
  }
  return std::make_unique<CheckpointJob>(options, model, target, targets);
}

QuantizeReport run(const QuantizeOptions& options, bool dry_run) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Target> targets = parse_targets(options.targets);
  if (!dry_run && options.output.empty()) refuse_option("-o", "nothing", "a path for the artifact");
  std::unique_ptr<ImportanceMatrix> importance;
  if (!dry_run || options.calibration.text.empty()) importance = importance_for(options);
  const SourceModel model(options.model, {.arch_as = options.arch_as,
                                          .tokenizer_pre = options.tokenizer_pre,
                                          .model_name = options.model_name});
  std::vector<std::unique_ptr<ArtifactJob>> jobs;
  for (const Target& target : targets) {
    jobs.push_back(make_job(options, model, target, importance.get(), targets.size(), dry_run));
    if (!dry_run) jobs.back()->refuse_existing();
  }
  QuantizeReport report;
  report.seconds = seconds_since(start);  // a run opens the model as planning did
  for (const auto& job : jobs) {
    for (const std::string& message : job->warnings()) {
      if (options.warning) options.warning(message);
    }
    report.artifacts.push_back(job->report());
    if (dry_run) {
      const Forecast forecast = job->forecast();
      report.peak_memory_bytes = std::max(report.peak_memory_bytes, forecast.peak_memory_bytes);
      report.seconds += forecast.encode_seconds;
    } else {
      make_output_folder(options, report.artifacts.back().path);
      job->run(report.artifacts.back());
    }
  }
  if (dry_run) return report;
  report.peak_memory_bytes = peak_memory();
  report.seconds = seconds_since(start);
  return report;
}

}  // namespace

void refuse_option(std::string where, std::string found, std::string expected) {
  throw Error(ErrorCode::usage, {.where = std::move(where),
                                 .found = std::move(found),
                                 .expected = std::move(expected),
                                 .remedy = ""});
}

int thread_count(const QuantizeOptions& options) {
  if (options.threads < 0) refuse_option("--threads", std::to_string(options.threads), "0 or more");
  if (options.threads > 0) return options.threads;
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

QuantizeReport quantize(const QuantizeOptions& options) { return run(options, false); }

QuantizeReport plan(const QuantizeOptions& options) { return run(options, true); }

}  // namespace qwodel
