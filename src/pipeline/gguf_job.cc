#include "pipeline/gguf_job.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <system_error>

#include "codecs/codec.h"
#include "formats/tensor_info.h"
#include "io/atomic_file.h"
#include "kernels/dispatch.h"
#include "models/build_graph.h"
#include "models/general_metadata.h"
#include "pipeline/calibration.h"
#include "pipeline/calibration_forecast.h"
#include "pipeline/forecast.h"
#include "pipeline/gguf_calibration.h"
#include "pipeline/tile_encoder.h"

namespace qwodel {
namespace {

constexpr std::string_view kRepack = "repack";

std::optional<TensorType> optional_type(const std::string& option, const std::string& name) {
  if (name.empty()) return std::nullopt;
  const auto type = tensor_type_from_name(name);
  if (!type || find_codec(*type) == nullptr)
    refuse_option(option, name, "a tensor type such as Q6_K");
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
  if (options.method == kRepack) return TensorType::f32;  // what is to stay is not rounded
  if (options.outtype == "auto") return model.converter_type();
  const auto type = tensor_type_from_name(options.outtype);
  const bool valid =
      type && (*type == TensorType::f32 || *type == TensorType::f16 || *type == TensorType::bf16);
  if (!valid) refuse_option("--outtype", options.outtype, "auto, f32, f16 or bf16");
  return *type;
}

std::filesystem::path artifact_path(const QuantizeOptions& options, const Target& target,
                                    const GgufMetadata& metadata, std::size_t targets) {
  const bool names_a_file = options.output.extension() == ".gguf";
  if (targets == 1 && names_a_file) return options.output;
  if (targets > 1 && names_a_file) {
    refuse_option("-o", options.output.string(), "a directory, because there are several targets");
  }
  return options.output / (artifact_name(metadata, target.name) + ".gguf");
}

void check_method(const std::string& method) {
  if (method.empty() || method == "search" || method == kRepack || GgufJob::is_calibrated(method))
    return;
  if (method != "rtn") refuse_option("--method", method, "search, awq, gptq, awq+gptq or repack");
  throw FormatNotSupportedError({.where = "--method " + method,
                                 .found = "a gguf target",
                                 .expected = "search, awq, gptq, awq+gptq or repack",
                                 .remedy = "leave --method out"});
}

std::string method_of(const PlannedTensor& tensor) {
  if (!tensor.quantized) return "copy";
  if (!info(tensor.type).is_quantized()) return "convert";
  return tensor.importance != nullptr ? "search+importance" : "search";
}

}  // namespace

bool GgufJob::is_calibrated(std::string_view method) {
  return find_calibrated_method(method) != nullptr;
}

bool GgufJob::is_sequential() const {
  const CalibratedMethod* steps = find_calibrated_method(options_.method);
  return steps != nullptr && is_true_sequential(*steps, options_);
}

GgufJob::GgufJob(const QuantizeOptions& options, const SourceModel& model, const Target& target,
                 const ImportanceMatrix* importance, std::size_t targets, bool dry_run)
    : options_(options),
      model_(model),
      target_(target),
      inputs_(model.plan_inputs(stored_type(options, target, model))) {
  check_method(options.method);
  std::vector<std::string> names;
  names.reserve(inputs_.size());
  for (const PlanInput& input : inputs_) names.push_back(input.name);
  const QuantizationTraits traits = quantization_traits(model.spec.metadata, names);
  plan_ = plan_tensors(inputs_, traits, plan_options(options, target), importance, dry_run);
  const GgufMetadata metadata =
      artifact_metadata(model.spec.metadata, target.file_type, importance);
  if (options.method == kRepack) {
    repacker_ = std::make_unique<GgufRepacker>(inputs_, plan_, model.readers);
  }
  files_ = lay_out_files(metadata, inputs_, plan_,
                         artifact_path(options, target, metadata, targets), options.max_shard_size);
}

std::vector<std::string> GgufJob::warnings() const {
  std::vector<std::string> all = plan_.warnings;
  const auto requantized = std::ranges::count_if(plan_.tensors, [&](const PlannedTensor& tensor) {
    return tensor.quantized && model_.readers[tensor.input].was_quantized();
  });
  if (requantized > 0 && !repacker_) {
    all.push_back(
        fmt::format("{} tensors of {} are quantized already and lose quality a second "
                    "time; a 16-bit source is better",
                    requantized, options_.model.string()));
  }
  return all;
}

bool GgufJob::repacks(const PlannedTensor& tensor) const {
  return repacker_ && GgufRepacker::repacks(tensor, model_.readers[tensor.input]);
}

void GgufJob::refuse_existing() const {
  for (const GgufShard& file : files_) qwodel::refuse_existing(file.path, options_.force);
}

bool GgufJob::is_there() const {
  return std::ranges::all_of(
      files_, [](const GgufShard& file) { return std::filesystem::exists(file.path); });
}

ArtifactReport GgufJob::report() const {
  ArtifactReport report;
  report.path = files_.front().path;
  report.target = fmt::format("{}:{}", target_.backend, target_.name);
  std::uint64_t weights = 0;
  for (const GgufShard& file : files_) report.bytes += file.layout.file_size;
  for (const PlannedTensor& tensor : plan_.tensors) {
    const PlanInput& input = inputs_[tensor.input];
    weights += element_count(input.shape);
    report.tensors.push_back({.name = input.name,
                              .type = std::string(info(tensor.type).name),
                              .bytes = tensor.bytes,
                              .method = repacks(tensor) ? options_.method : method_of(tensor),
                              .reason = tensor.reason,
                              .nmse = std::nullopt});
  }
  if (weights > 0) {
    report.bits_per_weight =
        8.0 * static_cast<double>(plan_.data_bytes) / static_cast<double>(weights);
  }
  return report;
}

// Buffers hold every value of a tile as float twice and its bytes; --max-memory makes tiles
// smaller, down to one row.
WriteOptions GgufJob::write_options() const {
  constexpr std::uint64_t kBytesPerValue = 16;
  WriteOptions result;
  result.threads = thread_count(options_);
  result.replace = options_.force;
  result.resume = options_.resume;
  result.progress = &options_.progress;
  result.cancel = options_.cancel;
  if (options_.max_memory == 0) return result;
  const auto threads = static_cast<std::uint64_t>(result.threads);
  const std::uint64_t values = options_.max_memory / threads / kBytesPerValue;
  std::uint64_t widest = 0;
  for (const PlanInput& input : inputs_) {
    if (!input.shape.empty()) widest = std::max(widest, input.shape.back());
  }
  if (values < widest) {
    throw DependencyError({.where = "--max-memory",
                           .found = fmt::format("{} bytes", options_.max_memory),
                           .expected = fmt::format("at least {}, for one row per thread",
                                                   widest * kBytesPerValue * threads),
                           .remedy = "allow more memory or use fewer --threads"},
                          ErrorCode::not_enough_space);
  }
  result.tile_values = std::min(result.tile_values, values);
  return result;
}

// All that the bytes depend on, in one number: sources, plan, importance, method, calibration.
std::string GgufJob::run_key() const {
  std::string key = fmt::format("{} {} {} {}\n", QWODEL_VERSION, options_.method,
                                current_kernel_target(), write_options().tile_values);
  for (const MappedFile& file : model_.checkpoint->files()) {
    std::error_code ignored;
    const auto time = std::filesystem::last_write_time(file.path(), ignored).time_since_epoch();
    key += fmt::format("{} {} {}\n", file.path().filename().string(), file.bytes().size(),
                       time.count());
  }
  for (const GgufShard& file : files_) {
    key +=
        fmt::format("{:016x}\n", XXH3_64bits(file.layout.header.data(), file.layout.header.size()));
  }
  for (const PlannedTensor& planned : plan_.tensors) {
    key += info(inputs_[planned.input].stored).name;
    if (planned.importance == nullptr) continue;
    const std::vector<float>& values = *planned.importance;
    key += fmt::format(" {:016x}", XXH3_64bits(values.data(), values.size() * sizeof(float)));
  }
  if (needs_statistics()) key += calibration_key(options_, is_sequential());
  return fmt::format("{:016x}", XXH3_64bits(key.data(), key.size()));
}

Forecast GgufJob::forecast() const {
  Forecast result = forecast_run(model_, inputs_, plan_, write_options());
  if (!needs_statistics()) return result;
  const CalibrationWork work =
      calibration_work(*find_calibrated_method(options_.method), options_, true, is_sequential());
  const Forecast run = forecast_calibration(model_, build_graph(model_.spec), options_, work);
  result.peak_memory_bytes += run.peak_memory_bytes;
  result.encode_seconds += run.encode_seconds;
  result.statistics_seconds = run.statistics_seconds;
  return result;
}

void GgufJob::run(ArtifactReport& report) const {
  std::unique_ptr<GgufCalibration> calibration;
  if (needs_statistics()) {
    const CalibratedMethod& steps = *find_calibrated_method(options_.method);
    std::optional<EncodedTensors::Work> sequence;
    if (is_sequential()) sequence = {files_.front().path, run_key(), options_.resume};
    calibration =
        std::make_unique<GgufCalibration>(options_, model_, inputs_, plan_, steps, sequence);
  }
  const TensorPlan& plan = calibration ? calibration->plan() : plan_;
  const std::vector<PlanInput>& inputs = calibration ? calibration->inputs() : inputs_;
  const auto& readers = calibration ? calibration->readers() : model_.readers;
  std::vector<TileEncoder> encoders;
  const RowEncoder* const rows = calibration ? calibration->encoder() : repacker_.get();
  encoders.reserve(plan.tensors.size());
  for (const PlannedTensor& tensor : plan.tensors) {
    encoders.emplace_back(readers[tensor.input], inputs[tensor.input], tensor, rows);
  }
  if (calibration) report.phases = calibration->phases();
  std::vector<ErrorSums> errors;
  try {
    WriteOptions options = write_options();
    options.key = run_key();
    errors = write_artifact(files_, encoders, options);
  } catch (const Error& error) {
    if (calibration && error.code() == ErrorCode::interrupted) calibration->keep();
    throw;
  }
  for (std::size_t i = 0; i < errors.size(); ++i) {
    report.tensors[i].nmse = errors[i].nmse();
    if (calibration)
      report.tensors[i].method = calibration->method_of(plan.tensors[i], report.tensors[i].method);
  }
}

}  // namespace qwodel
