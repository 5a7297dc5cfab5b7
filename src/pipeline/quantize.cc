#include "qwodel/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>

#include "calibrate/importance_matrix.h"
#include "pipeline/calibration.h"
#include "pipeline/checkpoint_job.h"
#include "pipeline/coreml_job.h"
#include "pipeline/gguf_job.h"
#include "pipeline/memory.h"
#include "pipeline/run_record.h"
#include "pipeline/run_statistics.h"

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

using Jobs = std::vector<std::unique_ptr<ArtifactJob>>;

// Throws FormatNotSupportedError for what a runtime of the options refuses; the rest is warned of.
void check_runtimes(const QuantizeOptions& options, const ArtifactFacts& facts) {
  const auto warn = [&](const Finding& finding) {
    if (options.warning) options.warning(to_text(finding));
  };
  std::vector<Finding> refused;
  for (const std::string& text : options.runtimes) {
    for (Finding& finding : check_rules(parse_runtime(text), facts)) {
      if (finding.refused) {
        refused.push_back(std::move(finding));
      } else {
        warn(finding);
      }
    }
  }
  if (refused.empty()) return;
  for (std::size_t i = 1; i < refused.size(); ++i) warn(refused[i]);
  const Finding& first = refused.front();
  throw FormatNotSupportedError({.where = first.where,
                                 .found = first.found,
                                 .expected = first.expected,
                                 .remedy = fmt::format("{} ({})", first.remedy, first.source)});
}

// Before any work, which would be long.
void check_awq_loss(const QuantizeOptions& options) {
  if (options.awq_loss == "linear") return;
  if (options.awq_loss != "block") {
    refuse_option("--awq-loss", options.awq_loss, "linear or block");
  }
  if (options.calibration.text.empty() && !options.statistics.empty()) {
    refuse_option("--awq-loss block", "--statistics alone", "--calibration: layers run on a text");
  }
}

// Of backends whose jobs do not know the option.
void refuse_desc_act(const QuantizeOptions& options, const std::vector<Target>& targets) {
  const auto other = std::ranges::find_if(targets, [](const Target& t) { return !t.linears; });
  if (!options.desc_act || other == targets.end()) return;
  throw FormatNotSupportedError({.where = "--desc-act",
                                 .found = "a target " + other->backend,
                                 .expected = "gptq, whose files have a g_idx",
                                 .remedy = "leave it out"});
}

// The targets other than GGUF, planned; those for GGUF are planned once there is importance.
Jobs plan_checkpoints(const QuantizeOptions& options, const SourceModel& model,
                      const std::vector<Target>& targets) {
  Jobs jobs(targets.size());
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (targets[i].coreml) {
      auto job = std::make_unique<CoremlJob>(options, model, targets[i], targets.size());
      const PackageFacts package = job->facts();
      check_runtimes(options, {.backend = targets[i].backend, .package = &package});
      jobs[i] = std::move(job);
      continue;
    }
    if (!targets[i].linears) {
      check_runtimes(options, {.backend = targets[i].backend});
      continue;
    }
    auto job = std::make_unique<CheckpointJob>(options, model, targets[i], targets.size());
    check_runtimes(options, job->facts());
    jobs[i] = std::move(job);
  }
  return jobs;
}

void plan_ggufs(const QuantizeOptions& options, const SourceModel& model,
                const std::vector<Target>& targets, const ImportanceMatrix* importance,
                bool dry_run, Jobs& jobs) {
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (jobs[i] != nullptr) continue;
    jobs[i] =
        std::make_unique<GgufJob>(options, model, targets[i], importance, targets.size(), dry_run);
  }
}

// An artifact of several that a run which this one resumes has finished.
bool is_finished(const QuantizeOptions& options, const Jobs& jobs, const ArtifactJob& job) {
  return options.resume && !options.force && jobs.size() > 1 && job.is_there();
}

void refuse_existing(const QuantizeOptions& options, const Jobs& jobs) {
  for (const auto& job : jobs) {
    if (job != nullptr && !is_finished(options, jobs, *job)) job->refuse_existing();
  }
}

// Of a job that is still to do.
bool any(const QuantizeOptions& options, const Jobs& jobs, bool (ArtifactJob::*needs)() const) {
  return std::ranges::any_of(jobs, [&](const auto& job) {
    return job != nullptr && !is_finished(options, jobs, *job) && (job.get()->*needs)();
  });
}

// What files, code and a layer take cannot be made smaller.
void warn_of_memory(const QuantizeOptions& options, const Forecast& forecast) {
  if (options.max_memory == 0 || forecast.peak_memory_bytes <= options.max_memory) return;
  if (!options.warning) return;
  constexpr std::uint64_t kMegabyte = 1'000'000;
  options.warning(fmt::format("--max-memory: about {} MB are foretold for this run, {} are allowed",
                              forecast.peak_memory_bytes / kMegabyte,
                              options.max_memory / kMegabyte));
}

// The text that calibrated targets are calibrated on when the user named nothing.
void use_builtin_text(QuantizeOptions& options) {
  if (!options.statistics.empty() || !options.calibration.text.empty()) return;
  options.calibration.text = "builtin";
  if (options.warning) {
    options.warning(
        "calibrated on the small text that comes with qwodel; --calibration with text of the "
        "model's use is better");
  }
}

// Statistics that several targets share, made of the calibration text if they are not there.
std::unique_ptr<RunStatistics> make_statistics(QuantizeOptions& options) {
  if (!options.statistics.empty()) return nullptr;
  make_output_folder(options, options.output);
  auto statistics = std::make_unique<RunStatistics>(options);
  options.statistics = statistics->path();
  return statistics;
}

// Importance for GGUF types; the statistics of this run spare another run of its text.
std::unique_ptr<ImportanceMatrix> importance_of_run(QuantizeOptions options,
                                                    const RunStatistics* statistics) {
  if (statistics != nullptr) options.calibration.text.clear();
  auto importance = importance_for(options);
  // The artifact says where its importance comes from; the file of this run is gone by then.
  if (statistics != nullptr && importance) importance->file = statistics->text();
  return importance;
}

// Adds what a job will take; a pass that all targets of a run share counts once.
Forecast foretell(const ArtifactJob& job, Forecast& run) {
  Forecast forecast = job.forecast();
  run.peak_memory_bytes = std::max(run.peak_memory_bytes, forecast.peak_memory_bytes);
  run.encode_seconds += forecast.encode_seconds;
  run.statistics_seconds = std::max(run.statistics_seconds, forecast.statistics_seconds);
  return forecast;
}

void add_forecast(const Forecast& run, QuantizeReport& report) {
  report.peak_memory_bytes = run.peak_memory_bytes;
  report.seconds += run.encode_seconds + run.statistics_seconds;
}

// Tells the caller what the run will make and take. GGUFs as a dry run plans them: their importance
// is not known yet.
void announce(const QuantizeOptions& options, const SourceModel& model,
              const std::vector<Target>& targets, const Jobs& jobs) {
  if (!options.planned) return;
  QuantizeReport plan;
  Forecast run;
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    std::unique_ptr<ArtifactJob> gguf;
    if (jobs[i] == nullptr) {
      gguf = std::make_unique<GgufJob>(options, model, targets[i], nullptr, targets.size(), true);
    }
    const ArtifactJob& job = gguf ? *gguf : *jobs[i];
    if (is_finished(options, jobs, job)) continue;
    plan.artifacts.push_back(job.report());
    foretell(job, run);
  }
  if (plan.artifacts.empty()) return;  // all are there
  add_forecast(run, plan);
  options.planned(plan);
}

// An interrupted run leaves the statistics to one that resumes.
void make_artifact(const QuantizeOptions& options, const ArtifactJob& job,
                   RunStatistics* statistics, ArtifactReport& report) {
  make_output_folder(options, report.path);
  try {
    job.run(report);
  } catch (const Error& error) {
    if (statistics != nullptr && error.code() == ErrorCode::interrupted) statistics->keep();
    throw;
  }
}

// Makes the artifacts that are not there yet, or foretells that, and reports all of them.
void run_jobs(const QuantizeOptions& options, const Jobs& jobs, bool dry_run,
              RunStatistics* statistics, RunRecord* record, QuantizeReport& report) {
  Forecast run;
  for (const auto& job : jobs) {
    for (const std::string& message : job->warnings()) {
      if (options.warning) options.warning(message);
    }
    report.artifacts.push_back(job->report());
    if (!dry_run && is_finished(options, jobs, *job)) {
      const std::string path = report.artifacts.back().path.string();
      if (options.warning) options.warning(path + " is there and stays as it is");
      continue;
    }
    if (dry_run || options.max_memory > 0) {
      warn_of_memory(options, foretell(*job, run));
    }
    if (dry_run) continue;
    make_artifact(options, *job, statistics, report.artifacts.back());
    if (record != nullptr) record->keep();
  }
  if (record != nullptr) record->discard();
  add_forecast(run, report);
}

QuantizeReport run(QuantizeOptions options, bool dry_run) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Target> targets = parse_targets(options.targets);
  refuse_desc_act(options, targets);
  check_awq_loss(options);
  // "out/" is what "out" is.
  if (!options.output.has_filename()) options.output = options.output.parent_path();
  if (!dry_run && options.output.empty()) refuse_option("-o", "nothing", "a path for the artifact");
  const SourceModel model(options.model, {.arch_as = options.arch_as,
                                          .tokenizer_pre = options.tokenizer_pre,
                                          .model_name = options.model_name});
  Jobs jobs = plan_checkpoints(options, model, targets);
  if (!dry_run) refuse_existing(options, jobs);
  std::unique_ptr<RunRecord> record;
  if (!dry_run && jobs.size() > 1) {
    make_output_folder(options, options.output);
    record = std::make_unique<RunRecord>(options);
  }
  std::unique_ptr<RunStatistics> statistics;
  const bool has_gguf = std::ranges::any_of(jobs, [](const auto& job) { return job == nullptr; });
  const bool calibrated_gguf = has_gguf && GgufJob::is_calibrated(options.method);
  if (!dry_run) {
    if (calibrated_gguf || any(options, jobs, &ArtifactJob::needs_calibration)) {
      announce(options, model, targets, jobs);
      use_builtin_text(options);
    }
    if (calibrated_gguf || any(options, jobs, &ArtifactJob::needs_statistics)) {
      statistics = make_statistics(options);
    }
  }
  std::unique_ptr<ImportanceMatrix> importance;
  if (has_gguf && (!dry_run || options.calibration.text.empty())) {
    importance = importance_of_run(options, statistics.get());
  }
  plan_ggufs(options, model, targets, importance.get(), dry_run, jobs);
  if (!dry_run) refuse_existing(options, jobs);
  QuantizeReport report;
  report.seconds = seconds_since(start);  // a run opens the model as planning did
  run_jobs(options, jobs, dry_run, statistics.get(), record.get(), report);
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
