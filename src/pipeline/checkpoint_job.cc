#include "pipeline/checkpoint_job.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>
#include <utility>

#include "calibrate/model_hash.h"
#include "io/atomic_file.h"
#include "kernels/dispatch.h"
#include "methods/hessian.h"
#include "models/build_graph.h"
#include "models/general_metadata.h"
#include "pipeline/block_loss.h"
#include "pipeline/calibration.h"
#include "pipeline/calibration_forecast.h"
#include "pipeline/checkpoint_writer.h"
#include "pipeline/linear_note.h"
#include "pipeline/memory.h"
#include "pipeline/progress_meter.h"
#include "qwodel/error.h"
#include "sources/graph_weights.h"
#include "sources/grouped.h"
#include "targets/linear_overrides.h"

namespace qwodel {
namespace {

const WeightTensor& weight_of(const SourceModel& model, const PlannedLinear& linear) {
  return *model.weights->find(model.spec.sources[linear.source]);
}

std::filesystem::path artifact_path(const QuantizeOptions& options, const SourceModel& model,
                                    const Target& target, std::size_t targets) {
  if (targets == 1) return options.output;
  return options.output / (artifact_name(model.spec.metadata, {}) + "-" + target.name);
}

std::string type_name(const GroupIntScheme& scheme, std::uint64_t cols) {
  if (scheme.codes == CodeKind::float8) return "f8_e4m3";
  return fmt::format("int{}-g{}", scheme.bits, scheme.group_of(cols));
}

class FinishedModules final : public FinishedLinears {
 public:
  FinishedModules(const CheckpointWriter& writer, const LinearPlan& plan)
      : writer_(writer), plan_(plan) {}

  bool contains(std::size_t linear) const override {
    return writer_.finished(plan_.linears[linear].module) != nullptr;
  }
  GroupIntMatrix matrix(std::size_t linear) const override {
    return writer_.read_finished(plan_.linears[linear].module);
  }

 private:
  const CheckpointWriter& writer_;
  const LinearPlan& plan_;
};

}  // namespace

CheckpointJob::CheckpointJob(const QuantizeOptions& options, const SourceModel& model,
                             const Target& target, std::size_t targets)
    : options_(options),
      model_(model),
      target_(target),
      method_(options, target_),
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
  graph_ = build_graph(model.spec);
  plan_ = plan_linears(model.spec, graph_, source_tensors(*model.weights), scheme_);
  override_schemes(options.tensor_types, target, plan_);
  choose_repacking();
  method_.check(plan_);
  layout_ = lay_out_checkpoint(*model.weights, plan_, format_, options.max_shard_size);
}

// What is quantized already is not quantized again, unless a method is named. The outer linears
// stand for all: one in between that does not fit is rounded.
void CheckpointJob::choose_repacking() {
  if (!options_.method.empty()) return;
  const bool fits = !options_.desc_act && can_repack(model_, plan_.linears.front()) &&
                    can_repack(model_, plan_.linears.back());
  if (!fits) {
    refuse_codes();
    return;
  }
  method_.with_source_codes();
  for (PlannedLinear& linear : plan_.linears) {
    linear.reason += "; quantized in this way already, codes are taken over";
  }
}

void CheckpointJob::refuse_codes() const {
  const auto codes = stored_codes(weight_of(model_, plan_.linears.front()));
  if (!codes) return;
  const GroupIntScheme& scheme = plan_.linears.front().scheme;
  throw FormatNotSupportedError(
      {.where = options_.model.string(),
       .found = fmt::format(
           "weights that are quantized already, {} bits {} in groups of {}{}", codes->scheme.bits,
           codes->scheme.symmetric ? "symmetric" : "with zero points", codes->scheme.group_size,
           codes->group_index.empty() ? "" : " in order of activation"),
       .expected = fmt::format("a 16-bit checkpoint, or such as {}:{} holds as they are ({})",
                               target_.backend, target_.name,
                               type_name(scheme, plan_.linears.front().in_features)),
       .remedy = "give the original model, or name a --method to quantize it a second time"});
}

LinearTask CheckpointJob::task(const FinishedLinears& finished, PhaseTimes& times) const {
  return {.model = model_,
          .graph = graph_,
          .plan = plan_,
          .cancel = options_.cancel,
          .threads = thread_count(options_),
          .finished = &finished,
          .times = &times,
          .compute = product_type(options_, graph_)};
}

bool CheckpointJob::needs_statistics() const { return method_.needs_statistics(); }

bool CheckpointJob::needs_calibration() const { return method_.is_calibrated(); }

std::unique_ptr<StatisticsFile> CheckpointJob::open_statistics() const {
  if (!needs_statistics()) return nullptr;
  auto statistics = std::make_unique<StatisticsFile>(options_.statistics);
  const CheckpointWeights weights(graph_, model_.readers);
  require_same_model(*statistics, hash_of_model(graph_, weights), options_.model.string());
  return statistics;
}

ArtifactReport CheckpointJob::report() const {
  ArtifactReport report;
  report.path = path_;
  report.target = fmt::format("{}:{}", target_.backend, target_.name);
  report.bytes = layout_.data_bytes;
  std::uint64_t values = 0;
  for (const auto& tensor : model_.weights->tensors()) {
    values += element_count(tensor->shape());
    if (!layout_.keeps(tensor->name())) continue;
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
    report.tensors.push_back({.name = linear.module + ".weight",
                              .type = type_name(linear.scheme, linear.in_features),
                              .bytes = bytes,
                              .method = method_.name(),
                              .reason = linear.reason,
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
  if (quantized == 0 || method_.repacks()) return {};
  return {
      fmt::format("{} linears of {} are quantized already and lose quality a second time; a "
                  "16-bit source is better",
                  quantized, options_.model.string())};
}

void CheckpointJob::refuse_existing() const { qwodel::refuse_existing(path_, options_.force); }

bool CheckpointJob::is_there() const { return std::filesystem::exists(path_); }

// A thread holds the linear it works on as floats, codes and packed; the smallest linear is rounded
// to see how long a value takes.
Forecast CheckpointJob::forecast() const {
  const auto threads = static_cast<std::uint64_t>(thread_count(options_));
  const auto size = [](const PlannedLinear& linear) {
    return linear.out_features * linear.in_features;
  };
  std::uint64_t values = 0;
  for (const PlannedLinear& linear : plan_.linears) values += size(linear);
  const PlannedLinear& sample = *std::ranges::min_element(plan_.linears, {}, size);
  const PlannedLinear& largest = *std::ranges::max_element(plan_.linears, {}, size);
  const auto start = std::chrono::steady_clock::now();
  const std::vector<float> weights = read_linear(model_, sample);
  round_linear({weights.data(), static_cast<std::size_t>(sample.out_features),
                static_cast<std::size_t>(sample.in_features)},
               {}, sample.scheme, method_.name() != "rtn");
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  constexpr std::uint64_t kBytesPerValue = 4 + 1 + 1;
  Forecast result{.peak_memory_bytes = resident_memory() + threads * size(largest) * kBytesPerValue,
                  .encode_seconds = seconds * static_cast<double>(values) /
                                    static_cast<double>(size(sample) * threads),
                  .statistics_seconds = 0};
  const Forecast run = forecast_calibration(model_, graph_, options_, method_.calibration_work());
  result.peak_memory_bytes += run.peak_memory_bytes;
  result.encode_seconds += run.encode_seconds;
  result.statistics_seconds = run.statistics_seconds;
  return result;
}

ArtifactFacts CheckpointJob::facts() const {
  const Json& config = model_.checkpoint->config();
  const auto text = [&](const char* key) {
    const Json* value = find_member(config, key);
    return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
  };
  const std::string dtype = text("dtype");
  return {.backend = target_.backend,
          .model_type = text("model_type"),
          .dtype = dtype.empty() ? text("torch_dtype") : dtype,
          .act_order = options_.desc_act,
          .scheme = scheme_,
          .plan = &plan_};
}

LinearArtifact CheckpointJob::artifact() const {
  LinearArtifact result{.scheme = scheme_,
                        .unquantized = plan_.unquantized,
                        .outside = plan_.outside,
                        .producer = "qwodel:" QWODEL_VERSION,
                        .method = method_.name(),
                        .damp_percent = method_.feeds_back() ? HessianOptions{}.damp_percent : 0,
                        .desc_act = options_.desc_act,
                        .true_sequential = method_.is_sequential()};
  for (const PlannedLinear& linear : plan_.linears) {
    result.linears.push_back({linear.module, linear.scheme});
  }
  return result;
}

// All that the bytes depend on, in one number: sources, layout, method, calibration.
std::string CheckpointJob::run_key() const {
  std::string key =
      fmt::format("{} {} {} {}\n", QWODEL_VERSION, method_.name(), current_kernel_target(),
                  format_.quantization_config(artifact()).dump());
  key += fmt::format("{}\n", hash_of_model(graph_, CheckpointWeights(graph_, model_.readers)));
  for (const MappedFile& file : model_.checkpoint->files()) {
    key += fmt::format("{}\n", file.bytes().size());
  }
  for (const CheckpointShard& shard : layout_.shards) key += shard.layout.header;
  key += calibration_key(options_, method_.is_sequential());
  return fmt::format("{:016x}", XXH3_64bits(key.data(), key.size()));
}

void CheckpointJob::run(ArtifactReport& report) const {
  CheckpointWriter writer(path_, layout_, format_, *model_.checkpoint, artifact(),
                          {.replace = options_.force, .resume = options_.resume, .key = run_key()});
  try {
    write(writer, report);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::interrupted) writer.keep();
    throw;
  }
  report.bytes = writer.bytes();
}

void CheckpointJob::write(CheckpointWriter& writer, ArtifactReport& report) const {
  ProgressMeter meter("quantize", layout_.data_bytes, &options_.progress, options_.cancel);
  std::mutex mutex;
  const std::size_t copied = report.tensors.size() - plan_.linears.size();
  const auto statistics = open_statistics();
  std::optional<CalibrationPass> calibration;
  if (method_.is_sequential()) calibration = calibration_pass(options_, model_, graph_);
  const FinishedModules finished(writer, plan_);
  for (std::size_t i = 0; i < plan_.linears.size(); ++i) {
    const Json* note = writer.finished(plan_.linears[i].module);
    if (note == nullptr) continue;
    TensorReport& row = report.tensors[copied + i];
    read_note(*note, row);
    meter.advance(row.bytes);
  }
  PhaseTimes times;
  LinearTask work = task(finished, times);
  std::optional<TokenSequences> block_tokens;
  if (method_.scales()) block_tokens = block_loss_tokens(options_, model_, graph_);
  if (block_tokens) work.block_tokens = &*block_tokens;
  const auto quantizer =
      method_.make_quantizer(work, statistics.get(), calibration ? &*calibration : nullptr);
  for (const std::string& message : quantizer->warnings()) {
    if (options_.warning) options_.warning(message);
  }
  for (const auto& [source, values] : quantizer->replaced()) {
    writer.write_values(*model_.weights->find(model_.spec.sources[source]), values);
  }
  quantizer->run([&](std::size_t linear, const QuantizedLinear& result) {
    if (finished.contains(linear)) return;
    TensorReport& row = report.tensors[copied + linear];
    row.nmse = result.errors.nmse();
    row.method = result.method;
    row.calibrated = result.calibrated;
    writer.write_linear(plan_.linears[linear].module, result.matrix, to_note(row));
    const std::lock_guard lock(mutex);
    meter.advance(row.bytes);
  });
  meter.finish();
  times.measure("verification", [&] { writer.commit(*model_.weights, artifact()); });
  report.phases = times.phases();
}

}  // namespace qwodel
