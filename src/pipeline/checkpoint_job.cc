#include "pipeline/checkpoint_job.h"

#include <fmt/format.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <mutex>
#include <utility>

#include "io/atomic_file.h"
#include "models/build_graph.h"
#include "models/general_metadata.h"
#include "pipeline/checkpoint_writer.h"
#include "pipeline/memory.h"
#include "pipeline/progress_meter.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

constexpr std::array kMethods = {std::pair{"rtn", LinearMethod::rtn},
                                 std::pair{"search", LinearMethod::search}};

std::vector<SourceTensor> source_tensors(const Weights& weights) {
  std::vector<SourceTensor> tensors;
  for (const auto& tensor : weights.tensors()) tensors.push_back({tensor->name(), tensor->shape()});
  return tensors;
}

const WeightTensor& weight_of(const SourceModel& model, const PlannedLinear& linear) {
  return *model.weights->find(model.spec.sources[linear.source]);
}

std::filesystem::path artifact_path(const QuantizeOptions& options, const SourceModel& model,
                                    const Target& target, std::size_t targets) {
  if (targets == 1) return options.output;
  return options.output / artifact_name(model.spec.metadata, target.name);
}

[[noreturn]] void fail_not_finite(const PlannedLinear& linear) {
  throw QuantizationError({.where = linear.module + ".weight",
                           .found = "a value that is not finite",
                           .expected = "finite weights",
                           .remedy = "use an undamaged checkpoint"});
}

}  // namespace

LinearMethod linear_method(const std::string& name, const Target& target) {
  if (name.empty()) {
    throw FormatNotSupportedError(
        {.where = "--to " + target.backend,
         .found = "no --method",
         .expected = "rtn or search: calibrated methods are not built yet",
         .remedy = "add --method search"});
  }
  for (const auto& [known, method] : kMethods) {
    if (name == known) return method;
  }
  if (name == "awq" || name == "gptq") {
    throw FormatNotSupportedError({.where = "--method",
                                   .found = name,
                                   .expected = "rtn or search, the methods built so far",
                                   .remedy = "add --method search"});
  }
  throw Error(
      ErrorCode::usage,
      {.where = "--method", .found = name, .expected = "rtn, search, awq or gptq", .remedy = ""});
}

CheckpointJob::CheckpointJob(const QuantizeOptions& options, const SourceModel& model,
                             const Target& target, std::size_t targets)
    : options_(options),
      model_(model),
      target_(target),
      method_(linear_method(options.method, target)),
      path_(artifact_path(options, model, target, targets)),
      format_(linear_format(target.backend)),
      scheme_(*target.linears) {
  if (model.is_gguf()) {
    throw FormatNotSupportedError({.where = "--to " + target.backend,
                                   .found = "a .gguf as the model",
                                   .expected = "a Hugging Face directory, whose tensor names and "
                                               "config.json the artifact keeps",
                                   .remedy = "give the original checkpoint"});
  }
  plan_ = plan_linears(model.spec, build_graph(model.spec), source_tensors(*model.weights));
  layout_ = lay_out_checkpoint(*model.weights, plan_, scheme_, format_, options.max_shard_size);
}

ArtifactReport CheckpointJob::report() const {
  ArtifactReport report;
  report.path = path_;
  report.target = fmt::format("{}:{}", target_.backend, target_.name);
  report.bytes = layout_.data_bytes;
  std::uint64_t values = 0;
  for (const auto& tensor : model_.weights->tensors()) {
    values += element_count(tensor->shape());
    if (!layout_.slots.contains(tensor->name())) continue;
    report.tensors.push_back({.name = tensor->name(),
                              .type = std::string(info(tensor->type()).name),
                              .bytes = layout_.slots.at(tensor->name()).bytes,
                              .method = "copy",
                              .reason = "no linear of a decoder layer",
                              .nmse = std::nullopt});
  }
  for (const PlannedLinear& linear : plan_.linears) {
    std::uint64_t bytes = 0;
    for (const std::string& name : layout_.linears.at(linear.module)) {
      bytes += layout_.slots.at(name).bytes;
    }
    report.tensors.push_back(
        {.name = linear.module + ".weight",
         .type = fmt::format("int{}-g{}", scheme_.bits, scheme_.group_of(linear.in_features)),
         .bytes = bytes,
         .method = method_ == LinearMethod::rtn ? "rtn" : "search",
         .reason = "linear of a decoder layer",
         .nmse = std::nullopt});
  }
  if (values > 0) {
    report.bits_per_weight =
        8.0 * static_cast<double>(layout_.data_bytes) / static_cast<double>(values);
  }
  return report;
}

std::vector<std::string> CheckpointJob::warnings() const {
  const auto quantized = std::ranges::count_if(plan_.linears, [&](const PlannedLinear& linear) {
    return weight_of(model_, linear).is_quantized();
  });
  if (quantized == 0) return {};
  return {
      fmt::format("{} linears of {} are quantized already and lose quality a second time; a "
                  "16-bit source is better",
                  quantized, options_.model.string())};
}

void CheckpointJob::refuse_existing() const { qwodel::refuse_existing(path_, options_.force); }

std::uint64_t CheckpointJob::largest_linear() const {
  std::uint64_t largest = 0;
  for (const PlannedLinear& linear : plan_.linears) {
    largest = std::max(largest, linear.out_features * linear.in_features);
  }
  return largest;
}

// A thread holds the linear it works on as floats, codes and packed; the smallest linear is
// quantized to see how long a value takes.
Forecast CheckpointJob::forecast() const {
  const auto threads = static_cast<std::uint64_t>(thread_count(options_));
  const auto size = [](const PlannedLinear& linear) {
    return linear.out_features * linear.in_features;
  };
  std::uint64_t values = 0;
  for (const PlannedLinear& linear : plan_.linears) values += size(linear);
  const PlannedLinear& sample = *std::ranges::min_element(plan_.linears, {}, size);
  ErrorSums errors;
  const auto start = std::chrono::steady_clock::now();
  quantize(sample, errors);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  constexpr std::uint64_t kBytesPerValue = 4 + 1 + 1;
  return {.peak_memory_bytes = resident_memory() + threads * largest_linear() * kBytesPerValue,
          .encode_seconds =
              seconds * static_cast<double>(values) / static_cast<double>(size(sample) * threads)};
}

GroupIntMatrix CheckpointJob::quantize(const PlannedLinear& linear, ErrorSums& errors) const {
  const WeightTensor& tensor = weight_of(model_, linear);
  const auto cols = static_cast<std::size_t>(linear.in_features);
  GroupIntMatrix matrix(scheme_, linear.out_features, linear.in_features);
  std::vector<float> values(static_cast<std::size_t>(linear.out_features) * cols);
  tensor.read(0, values);
  if (!std::ranges::all_of(values, [](float v) { return std::isfinite(v); })) {
    fail_not_finite(linear);
  }
  const ConstMatrixView view(values.data(), static_cast<std::size_t>(linear.out_features), cols);
  fit_rows(view, {}, search_of(scheme_, method_ == LinearMethod::search), 0, matrix);
  round_rows(view, 0, matrix);
  std::vector<float> decoded(cols);
  for (std::size_t row = 0; row < view.rows; ++row) {
    matrix.decode(row, decoded);
    errors.add(error_sums(view.row(row).data(), decoded.data(), cols));
  }
  return matrix;
}

void CheckpointJob::run(ArtifactReport& report) const {
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism,
                                  static_cast<std::size_t>(thread_count(options_)));
  CheckpointWriter writer(path_, options_.force, layout_, format_);
  ProgressMeter meter("quantize", layout_.data_bytes, &options_.progress, options_.cancel);
  std::mutex mutex;
  const std::size_t copied = report.tensors.size() - plan_.linears.size();
  tbb::parallel_for(std::size_t{0}, plan_.linears.size(), [&](std::size_t i) {
    const PlannedLinear& linear = plan_.linears[i];
    throw_if_cancelled(options_.cancel);
    ErrorSums errors;
    writer.write_linear(linear.module, quantize(linear, errors));
    for (const auto part :
         weight_of(model_, linear).storage(0, linear.out_features * linear.in_features)) {
      drop_pages(part);
    }
    const std::lock_guard lock(mutex);
    report.tensors[copied + i].nmse = errors.nmse();
    meter.advance(report.tensors[copied + i].bytes);
  });
  meter.finish();
  writer.commit(*model_.weights, *model_.checkpoint,
                {.scheme = scheme_,
                 .unquantized = plan_.unquantized,
                 .producer = "qwodel:" QWODEL_VERSION,
                 .damp_percent = 0});
  report.bytes = writer.bytes();
}

}  // namespace qwodel
