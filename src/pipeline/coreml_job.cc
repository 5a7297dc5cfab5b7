#include "pipeline/coreml_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "calibrate/importance_matrix.h"
#include "calibrate/model_hash.h"
#include "calibrate/statistics.h"
#include "formats/mlpackage/package.h"
#include "io/atomic_directory.h"
#include "io/atomic_file.h"
#include "models/build_graph.h"
#include "models/general_metadata.h"
#include "pipeline/calibration.h"
#include "pipeline/calibration_forecast.h"
#include "pipeline/coreml_options.h"
#include "pipeline/coreml_weights.h"
#include "pipeline/linear_quantizer.h"
#include "pipeline/memory.h"
#include "pipeline/progress_meter.h"
#include "pipeline/tokenizer_folder.h"
#include "qwodel/error.h"
#include "targets/coreml/coreml_target.h"
#include "targets/coreml/lint.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

fs::path artifact_path(const QuantizeOptions& options, const SourceModel& model,
                       const Target& target, std::size_t targets) {
  const bool names_it = options.output.extension() == ".mlpackage";
  if (targets == 1 && names_it) return options.output;
  if (targets > 1 && names_it) {
    refuse_option("-o", options.output.string(), "a directory, because there are several targets");
  }
  return options.output /
         (artifact_name(model.spec.metadata, {}) + "-" + target.name + ".mlpackage");
}

std::vector<WeightScheme> weight_schemes(const std::vector<WeightChoice>& choices) {
  std::vector<WeightScheme> schemes;
  for (const WeightChoice& choice : choices) schemes.push_back(choice.scheme);
  return schemes;
}

void check_method(const std::string& method) {
  if (method.empty() || method == "rtn" || method == "search") return;
  if (find_calibrated_method(method) != nullptr) return;
  refuse_option("--method", method, "rtn, search, awq, gptq or awq+gptq");
}

// What the method does with statistics of activations; nothing without them.
CalibratedMethod steps_of(const std::string& method) {
  const CalibratedMethod* known = find_calibrated_method(method);
  return known == nullptr ? CalibratedMethod{} : *known;
}

// Schemes of the weights as AWQ's search knows them.
TensorFolds::SchemeOf tensor_schemes(const SourceModel& model, const Graph& graph,
                                     const std::vector<WeightChoice>& choices) {
  std::map<std::string, GroupIntScheme> schemes;
  for (std::size_t i = 0; i < graph.weights.size(); ++i) {
    const auto scheme = scheme_like(choices[i].scheme);
    if (scheme) schemes.emplace(model.spec.tensors[graph.weights[i].tensor].name, *scheme);
  }
  return [schemes = std::move(schemes)](const std::string& tensor) {
    const auto found = schemes.find(tensor);
    return found == schemes.end() ? std::nullopt : std::optional(found->second);
  };
}

// What the options say about the inputs of the weights.
class Evidence {
 public:
  Evidence(const QuantizeOptions& options, const SourceModel& model, const Graph& graph,
           const CheckpointWeights& weights, const std::vector<WeightChoice>& choices)
      : steps_(steps_of(options.method)) {
    if (options.method == "rtn") return;
    if (!options.statistics.empty()) {
      statistics_ = std::make_unique<StatisticsFile>(options.statistics);
      require_same_model(*statistics_, hash_of_model(graph, weights), options.model.string());
      if (steps_.scale || steps_.feed_back) require_gram(*statistics_);
      if (!steps_.scale) return;
      folds_ = std::make_unique<TensorFolds>(options, model, graph,
                                             tensor_schemes(model, graph, choices), *statistics_);
    } else if (!options.imatrix.empty()) {
      importance_ = std::make_unique<ImportanceMatrix>(read_importance_matrix(options.imatrix));
    }
  }

  const StatisticsFile* statistics() const { return statistics_.get(); }
  const TensorFolds* folds() const { return folds_.get(); }
  CoremlEvidence view(const std::string& method) const {
    return {.statistics = statistics_.get(),
            .importance = importance_.get(),
            .folds = folds_.get(),
            .search = method == "search" || statistics_ || importance_,
            .feed_back = steps_.feed_back};
  }

 private:
  CalibratedMethod steps_;
  std::unique_ptr<StatisticsFile> statistics_;
  std::unique_ptr<TensorFolds> folds_;
  std::unique_ptr<ImportanceMatrix> importance_;
};

// Core ML adds what layers give in half precision. Says which layer passed that on the text.
void warn_of_range(const StatisticsFile* statistics, const Graph& graph,
                   const QuantizeOptions& options) {
  constexpr float kLargestHalf = 65504;
  if (statistics == nullptr || !options.warning) return;
  const std::vector<float> largest = statistics->hidden_max_abs();
  for (std::size_t i = 0; i < std::min(largest.size(), graph.stages.size()); ++i) {
    if (largest[i] <= kLargestHalf) continue;
    options.warning(
        fmt::format("{} gives hidden states up to {:.0f} on the calibration text, more than the "
                    "{:.0f} of half precision: Core ML's results will be wrong; a gguf target is "
                    "better",
                    graph.stages[i].name, largest[i], kLargestHalf));
    return;
  }
}

std::string planned_method(const WeightScheme& scheme, const std::string& method) {
  if (scheme.form == WeightForm::float16) return "convert";
  if (find_calibrated_method(method) != nullptr) return method;
  return scheme.form == WeightForm::palette ? "kmeans" : "rtn";
}

std::uint64_t bytes_of(const StoredWeight& weight, const BlobLayout& layout) {
  std::uint64_t bytes = 0;
  for (const std::size_t blob : {weight.codes, weight.scales, weight.offsets, weight.tables}) {
    if (blob != kNoBlob) bytes += layout.blobs()[blob].bytes;
  }
  return bytes;
}

}  // namespace

CoremlJob::CoremlJob(const QuantizeOptions& options, const SourceModel& model, const Target& target,
                     std::size_t targets)
    : options_(options),
      model_(model),
      target_(target),
      path_(artifact_path(options, model, target, targets)),
      graph_(build_graph(model.spec)),
      weights_(graph_, model.readers),
      form_(coreml_options(
          options.coreml, graph_,
          model.spec.metadata.find_unsigned(model.spec.architecture + ".pooling_type"))),
      choices_(plan_weights(graph_, with_granularity(*target.coreml, options.coreml.granularity),
                            form_.version)) {
  check_method(options.method);
  lowered_ = lower_graph(graph_, weights_, form_, weight_schemes(choices_));
  describe(lowered_.model);
}

void CoremlJob::describe(coreml::Model& model) const {
  coreml::Metadata& metadata = *model.mutable_description()->mutable_metadata();
  const GgufMetadata& source = model_.spec.metadata;
  const std::string name = source.find_string("general.name").value_or("language model");
  metadata.set_short_description(fmt::format("{}, {}", name, target_.name));
  metadata.set_license(source.find_string("general.license").value_or(""));
  metadata.set_version_string("1");
  auto& more = *metadata.mutable_user_defined();
  more["com.qwodel.version"] = QWODEL_VERSION;
  more["com.qwodel.encoding"] = target_.name;
  more["com.qwodel.architecture"] = model_.spec.architecture;
  more["com.qwodel.context_length"] = std::to_string(form_.context_length);
}

PackageFacts CoremlJob::facts() const {
  PackageFacts facts{.is_encoder = graph_.is_encoder, .any_length = form_.sequence_lengths.empty()};
  for (const auto& state : lowered_.model.description().state()) {
    const auto& shape = state.type().state_type().array_type().shape();
    facts.state_widths.push_back(static_cast<std::uint64_t>(*shape.rbegin()));
  }
  for (const StoredWeight& weight : lowered_.file.weights) {
    const bool palette = weight.scheme.form == WeightForm::palette;
    const std::uint64_t rows =
        weight.scheme.group_rows == 0 ? weight.rows : weight.scheme.group_rows;
    facts.weights.push_back({.name = graph_.weights[weight.weight].name,
                             .type = name_of(weight.scheme),
                             .block = weight.scheme.block,
                             .table_rows = palette ? rows : 0,
                             .bytes = bytes_of(weight, lowered_.file.layout)});
    facts.bytes += facts.weights.back().bytes;
  }
  return facts;
}

ArtifactReport CoremlJob::report() const {
  ArtifactReport report;
  report.path = path_;
  report.target = fmt::format("{}:{}", target_.backend, target_.name);
  std::uint64_t values = 0;
  std::uint64_t bytes = 0;
  for (const StoredWeight& weight : lowered_.file.weights) {
    const std::uint64_t size = bytes_of(weight, lowered_.file.layout);
    values += weight.rows * weight.columns;
    bytes += size;
    report.tensors.push_back({.name = graph_.weights[weight.weight].name,
                              .type = name_of(weight.scheme),
                              .bytes = size,
                              .method = planned_method(weight.scheme, options_.method),
                              .reason = choices_[weight.weight].reason,
                              .nmse = std::nullopt});
  }
  report.bytes = lowered_.file.layout.file_size() + lowered_.model.ByteSizeLong();
  if (values > 0) {
    report.bits_per_weight = 8.0 * static_cast<double>(bytes) / static_cast<double>(values);
  }
  return report;
}

std::vector<std::string> CoremlJob::warnings() const {
  const auto quantized = std::ranges::count_if(
      model_.readers, [](const ModelTensorReader& reader) { return reader.was_quantized(); });
  if (quantized == 0 || target_.coreml->form == WeightForm::float16) return {};
  return {
      fmt::format("{} tensors of {} are quantized already and lose quality a second time; a "
                  "16-bit source is better",
                  quantized, options_.model.string())};
}

void CoremlJob::refuse_existing() const { qwodel::refuse_existing(path_, options_.force); }

bool CoremlJob::is_there() const { return std::filesystem::exists(path_); }

// With text or statistics the weights are fit to what their inputs are.
bool CoremlJob::needs_statistics() const {
  if (find_calibrated_method(options_.method) != nullptr) return true;
  return options_.method != "rtn" && !options_.calibration.text.empty();
}

Forecast CoremlJob::forecast() const {
  constexpr std::uint64_t kTileBytes = (std::uint64_t{1} << 18) * 16;
  constexpr double kSecondsPerValue = 4e-9;
  double values = 0;
  for (const StoredWeight& weight : lowered_.file.weights) {
    values += static_cast<double>(weight.rows * weight.columns);
  }
  const int threads = thread_count(options_);
  Forecast result{
      .peak_memory_bytes = resident_memory() + static_cast<std::uint64_t>(threads) * kTileBytes,
      .encode_seconds = values * kSecondsPerValue / threads,
      .statistics_seconds = 0};
  if (!needs_statistics()) return result;
  const Forecast run = forecast_calibration(
      model_, graph_, options_, calibration_work(steps_of(options_.method), options_, true, false));
  result.peak_memory_bytes += run.peak_memory_bytes;
  result.encode_seconds += run.encode_seconds;
  result.statistics_seconds = run.statistics_seconds;
  return result;
}

void CoremlJob::run(ArtifactReport& report) const {
  AtomicDirectory directory(path_, options_.force);
  const fs::path weights_path = directory.staging() / package_weights_path();
  fs::create_directories(weights_path.parent_path());
  const Evidence evidence(options_, model_, graph_, weights_, choices_);
  warn_of_range(evidence.statistics(), graph_, options_);
  if (evidence.folds() != nullptr && options_.warning) {
    for (const std::string& message : evidence.folds()->warnings()) options_.warning(message);
  }
  const auto& tensors = evidence.folds() != nullptr ? evidence.folds()->readers() : model_.readers;
  std::vector<const ModelTensorReader*> readers;
  for (const GraphWeight& weight : graph_.weights) readers.push_back(&tensors[weight.tensor]);
  const CoremlEvidence known = evidence.view(options_.method);
  const CoremlFit fit = fit_coreml_weights(lowered_.file.weights, graph_, known);
  std::uint64_t total = 0;
  for (const TensorReport& row : report.tensors) total += row.bytes;
  ProgressMeter meter("quantize", total, &options_.progress, options_.cancel);
  const WrittenWeights written = write_coreml_weights(lowered_.file, graph_, readers, fit, known,
                                                      weights_path, thread_count(options_), meter);
  meter.finish();
  for (std::size_t i = 0; i < written.errors.size(); ++i) {
    report.tensors[i].method = fit.methods[i];
    report.tensors[i].nmse = written.errors[i].nmse();
  }
  write_package_files(directory.staging(), lowered_.model, written.hash);
  verify_coreml_weights(weights_path, written);
  const MlPackage package(directory.staging());
  require_clean(package, path_.string());
  report.bytes = package.bytes();
  write_tokenizer_folder(*model_.checkpoint, path_, options_.force);
  directory.commit();
}

}  // namespace qwodel
