#include "qwodel/quantize.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <thread>

#include "calibrate/importance_matrix.h"
#include "codecs/codec.h"
#include "formats/tensor_info.h"
#include "io/atomic_file.h"
#include "models/general_metadata.h"
#include "pipeline/artifact_writer.h"
#include "pipeline/forecast.h"
#include "pipeline/memory.h"
#include "pipeline/source_model.h"
#include "pipeline/tile_encoder.h"
#include "plan/tensor_plan.h"
#include "targets/gguf/gguf_artifact.h"
#include "targets/target.h"

namespace qwodel {
namespace {

void warn(const QuantizeOptions& options, const std::string& message) {
  if (options.warning) options.warning(message);
}

[[noreturn]] void usage(std::string where, std::string found, std::string expected) {
  throw Error(ErrorCode::usage, {.where = std::move(where),
                                 .found = std::move(found),
                                 .expected = std::move(expected),
                                 .remedy = ""});
}

std::optional<TensorType> optional_type(const std::string& option, const std::string& name) {
  if (name.empty()) return std::nullopt;
  const auto type = tensor_type_from_name(name);
  if (!type || find_codec(*type) == nullptr) usage(option, name, "a tensor type such as Q6_K");
  return type;
}

PlanOptions plan_options(const QuantizeOptions& options, const Target& target) {
  PlanOptions result;
  result.file_type = target.file_type;
  for (const std::string& text : options.tensor_types) {
    result.overrides.push_back(parse_tensor_type_override(text));
  }
  result.output_type = optional_type("--output-tensor-type", options.output_tensor_type);
  result.token_embedding_type =
      optional_type("--token-embedding-type", options.token_embedding_type);
  result.pure = options.pure;
  result.keep_output = options.leave_output_tensor;
  return result;
}

// The type tensors have before quantization. The converter's default is 16 bits; a float target is
// written by the converter directly, so no rounding comes before it.
TensorType stored_type(const QuantizeOptions& options, const Target& target,
                       const SourceModel& model) {
  const TensorType final_type = info(target.file_type).default_type;
  if (!info(final_type).is_quantized()) return final_type;
  if (options.outtype == "auto") return model.converter_type();
  const auto type = tensor_type_from_name(options.outtype);
  const bool valid =
      type && (*type == TensorType::f32 || *type == TensorType::f16 || *type == TensorType::bf16);
  if (!valid) usage("--outtype", options.outtype, "auto, f32, f16 or bf16");
  return *type;
}

// One artifact, planned: everything the job needs and everything a report shows.
struct PlannedArtifact {
  Target target;
  std::vector<PlanInput> inputs;
  TensorPlan plan;
  std::vector<GgufShard> files;
};

std::filesystem::path artifact_path(const QuantizeOptions& options, const Target& target,
                                    const GgufMetadata& metadata, std::size_t targets) {
  const bool names_a_file = options.output.extension() == ".gguf";
  if (targets == 1 && names_a_file) return options.output;
  if (targets > 1 && names_a_file) {
    usage("-o", options.output.string(), "a directory, because there are several targets");
  }
  return options.output / (artifact_name(metadata, target.name) + ".gguf");
}

PlannedArtifact plan_artifact(const QuantizeOptions& options, const SourceModel& model,
                              const Target& target, const ImportanceMatrix* importance,
                              std::size_t targets, bool dry_run) {
  PlannedArtifact artifact;
  artifact.target = target;
  artifact.inputs = model.plan_inputs(stored_type(options, target, model));
  std::vector<std::string> names;
  names.reserve(artifact.inputs.size());
  for (const PlanInput& input : artifact.inputs) names.push_back(input.name);
  const QuantizationTraits traits = quantization_traits(model.spec.metadata, names);
  artifact.plan =
      plan_tensors(artifact.inputs, traits, plan_options(options, target), importance, dry_run);
  const GgufMetadata metadata =
      artifact_metadata(model.spec.metadata, target.file_type, importance);
  artifact.files =
      lay_out_files(metadata, artifact.inputs, artifact.plan,
                    artifact_path(options, target, metadata, targets), options.max_shard_size);
  return artifact;
}

void report_warnings(const QuantizeOptions& options, const SourceModel& model,
                     const PlannedArtifact& artifact) {
  for (const std::string& message : artifact.plan.warnings) warn(options, message);
  std::size_t requantized = 0;
  for (const PlannedTensor& tensor : artifact.plan.tensors) {
    if (tensor.quantized && model.readers[tensor.input].was_quantized()) ++requantized;
  }
  if (requantized > 0) {
    warn(options, fmt::format("{} tensors of {} are quantized already and lose quality a second "
                              "time; a 16-bit source is better",
                              requantized, options.model.string()));
  }
}

ArtifactReport report_of(const PlannedArtifact& artifact) {
  ArtifactReport report;
  report.path = artifact.files.front().path;
  report.target = fmt::format("{}:{}", artifact.target.backend, artifact.target.name);
  std::uint64_t weights = 0;
  for (const GgufShard& file : artifact.files) report.bytes += file.layout.file_size;
  for (const PlannedTensor& tensor : artifact.plan.tensors) {
    const PlanInput& input = artifact.inputs[tensor.input];
    weights += element_count(input.shape);
    report.tensors.push_back({.name = input.name,
                              .type = std::string(info(tensor.type).name),
                              .bytes = tensor.bytes,
                              .method = !tensor.quantized                   ? "copy"
                                        : !info(tensor.type).is_quantized() ? "convert"
                                        : tensor.importance != nullptr      ? "search+importance"
                                                                            : "search",
                              .reason = tensor.reason,
                              .nmse = std::nullopt});
  }
  if (weights > 0) {
    report.bits_per_weight =
        8.0 * static_cast<double>(artifact.plan.data_bytes) / static_cast<double>(weights);
  }
  return report;
}

int thread_count(const QuantizeOptions& options) {
  if (options.threads < 0) usage("--threads", std::to_string(options.threads), "0 or more");
  if (options.threads > 0) return options.threads;
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

// Buffers hold every value of a tile as float twice and its bytes; --max-memory makes tiles
// smaller, down to one row.
WriteOptions write_options(const QuantizeOptions& options, const PlannedArtifact& artifact) {
  constexpr std::uint64_t kBytesPerValue = 16;
  WriteOptions result;
  result.threads = thread_count(options);
  result.replace = options.force;
  result.progress = &options.progress;
  result.cancel = options.cancel;
  if (options.max_memory == 0) return result;
  const std::uint64_t values =
      options.max_memory / static_cast<std::uint64_t>(result.threads) / kBytesPerValue;
  std::uint64_t widest = 0;
  for (const PlanInput& input : artifact.inputs) {
    if (!input.shape.empty()) widest = std::max(widest, input.shape.back());
  }
  if (values < widest) {
    throw DependencyError({.where = "--max-memory",
                           .found = fmt::format("{} bytes", options.max_memory),
                           .expected = fmt::format("at least {}, for one row per thread",
                                                   widest * kBytesPerValue *
                                                       static_cast<std::uint64_t>(result.threads)),
                           .remedy = "allow more memory or use fewer --threads"},
                          ErrorCode::not_enough_space);
  }
  result.tile_values = std::min(result.tile_values, values);
  return result;
}

void run_artifact(const QuantizeOptions& options, const SourceModel& model,
                  const PlannedArtifact& artifact, ArtifactReport& report) {
  std::vector<TileEncoder> encoders;
  encoders.reserve(artifact.plan.tensors.size());
  for (const PlannedTensor& tensor : artifact.plan.tensors) {
    encoders.emplace_back(model.readers[tensor.input], artifact.inputs[tensor.input], tensor);
  }
  const auto errors = write_artifact(artifact.files, encoders, write_options(options, artifact));
  for (std::size_t i = 0; i < errors.size(); ++i) report.tensors[i].nmse = errors[i].nmse();
}

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

QuantizeReport run(const QuantizeOptions& options, bool dry_run) {
  const auto start = std::chrono::steady_clock::now();
  const std::vector<Target> targets = parse_targets(options.targets);
  if (!dry_run && options.output.empty()) usage("-o", "nothing", "a path for the artifact");
  std::unique_ptr<ImportanceMatrix> importance;
  if (!options.imatrix.empty()) {
    importance = std::make_unique<ImportanceMatrix>(read_importance_matrix(options.imatrix));
  }
  const SourceModel model(options.model, {.arch_as = options.arch_as,
                                          .tokenizer_pre = options.tokenizer_pre,
                                          .model_name = options.model_name});
  std::vector<PlannedArtifact> artifacts;
  for (const Target& target : targets) {
    artifacts.push_back(
        plan_artifact(options, model, target, importance.get(), targets.size(), dry_run));
    if (dry_run) continue;
    for (const GgufShard& file : artifacts.back().files) refuse_existing(file.path, options.force);
  }
  QuantizeReport report;
  report.seconds = seconds_since(start);  // a run opens the model as planning did
  for (const PlannedArtifact& artifact : artifacts) {
    report_warnings(options, model, artifact);
    report.artifacts.push_back(report_of(artifact));
    if (dry_run) {
      const Forecast forecast =
          forecast_run(model, artifact.inputs, artifact.plan, write_options(options, artifact));
      report.peak_memory_bytes = std::max(report.peak_memory_bytes, forecast.peak_memory_bytes);
      report.seconds += forecast.encode_seconds;
    } else {
      make_output_folder(options, report.artifacts.back().path);
      run_artifact(options, model, artifact, report.artifacts.back());
    }
  }
  if (dry_run) return report;
  report.peak_memory_bytes = peak_memory();
  report.seconds = seconds_since(start);
  return report;
}

}  // namespace

QuantizeReport quantize(const QuantizeOptions& options) { return run(options, false); }

QuantizeReport plan(const QuantizeOptions& options) { return run(options, true); }

}  // namespace qwodel
