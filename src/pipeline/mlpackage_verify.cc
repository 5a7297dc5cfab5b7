#include <fmt/format.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>
#include <utility>

#include "core/checked.h"
#include "formats/mlpackage/package.h"
#include "io/mapped_file.h"
#include "kernels/convert.h"
#include "kernels/error_sums.h"
#include "models/build_graph.h"
#include "pipeline/mlpackage_report.h"
#include "pipeline/progress_meter.h"
#include "pipeline/source_model.h"
#include "pipeline/stored_rows.h"
#include "targets/coreml/head_order.h"
#include "targets/coreml/lint.h"
#include "targets/coreml/mil_builder.h"
#include "targets/coreml/package_weights.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kChunkValues = std::uint64_t{1} << 18;
constexpr std::uint64_t kLiteralValues = 10;  // fewer may stand in the program

[[noreturn]] void fail(std::string where, std::string found, std::string expected) {
  throw ValidationError({.where = std::move(where),
                         .found = std::move(found),
                         .expected = std::move(expected),
                         .remedy = "quantize the model again"},
                        ErrorCode::verification_failed);
}

// A damaged package is one that is not sound.
template <class Read>
auto read_sound(Read read) {
  try {
    return read();
  } catch (const ValidationError& error) {
    throw ValidationError({.where = error.what(), .found = "", .expected = "", .remedy = ""},
                          ErrorCode::verification_failed);
  }
}

std::uint64_t values_of(const PackageWeight& weight) {
  return checked_product(weight.shape()).value_or(0);
}

// What a weight of the package stands for.
struct Original {
  StoredWeight rows;
  const ModelTensorReader* reader = nullptr;
};

// The source's weight of each of the package's; none for what is made, such as rotary tables.
class Originals {
 public:
  Originals(const std::string& path, const SourceModel& source)
      : path_(path),
        source_(source),
        graph_(build_graph(source.spec)),
        orders_(find_head_orders(graph_)) {
    for (const Stage& stage : graph_.stages) {
      for (const Op& op : stage.ops) {
        if (const auto* table = std::get_if<PositionEmbeddingOp>(&op.kind)) {
          partial_[table->weight] = table->offset;
        } else if (const auto* segments = std::get_if<SegmentEmbeddingOp>(&op.kind)) {
          partial_[segments->weight] = 0;
        }
      }
    }
  }

  std::vector<std::optional<Original>> match(const std::vector<PackageWeight>& weights) const {
    std::map<std::string_view, std::size_t> by_name;
    for (std::size_t i = 0; i < weights.size(); ++i) by_name[weights[i].name()] = i;
    std::vector<std::optional<Original>> found(weights.size());
    for (std::size_t i = 0; i < graph_.weights.size(); ++i) {
      const GraphWeight& weight = graph_.weights[i];
      const auto at = by_name.find(mil_identifier(weight.name));
      if (at != by_name.end()) {
        found[at->second] = original(static_cast<WeightId>(i), weights[at->second]);
      } else if (checked_product(weight.shape).value_or(0) >= kLiteralValues) {
        fail(path_, fmt::format("no weight {}", weight.name), "every weight of the source");
      }
    }
    return found;
  }

 private:
  Original original(WeightId id, const PackageWeight& stored) const {
    const GraphWeight& weight = graph_.weights[id];
    Original result;
    StoredWeight& rows = result.rows;
    rows.weight = id;
    rows.columns = weight.shape.size() == 1 ? 1 : weight.shape.back();
    const std::uint64_t count = values_of(stored);
    std::uint64_t total = checked_product(weight.shape).value_or(0);
    if (const auto part = partial_.find(id); part != partial_.end()) {
      rows.first_row = part->second;
      total -= std::min(total, rows.first_row * rows.columns);
    }
    const bool fits =
        partial_.contains(id) ? count <= total && count % rows.columns == 0 : count == total;
    if (!fits) {
      fail(fmt::format("{}: weight {}", path_, stored.name()), shape_text(stored.shape()),
           shape_text(weight.shape));
    }
    rows.rows = count / rows.columns;
    if (const auto order = orders_.weights.find(id); order != orders_.weights.end()) {
      rows.order = order->second;
    }
    result.reader = &source_.readers[weight.tensor];
    return result;
  }

  const std::string& path_;
  const SourceModel& source_;
  Graph graph_;
  HeadOrders orders_;
  std::map<WeightId, std::uint64_t> partial_;  // of which rows are stored, from this one on
};

// Decodes a weight in chunks of rows, checks that its values are finite and compares them with the
// source.
ErrorSums check_weight(const std::string& path, const PackageWeight& weight,
                       const std::optional<Original>& original) {
  ErrorSums sums;
  const std::uint64_t columns = original ? original->rows.columns : 1;
  const std::uint64_t step = std::max(kChunkValues / columns, std::uint64_t{1}) * columns;
  const std::uint64_t count = values_of(weight);
  std::vector<float> values;
  std::vector<float> expected;
  for (std::uint64_t first = 0; first < count; first += step) {
    values.resize(static_cast<std::size_t>(std::min(step, count - first)));
    weight.read(first, values);
    const std::size_t at = find_non_finite(values.data(), values.size());
    if (at < values.size()) {
      fail(fmt::format("{}: weight {}", path, weight.name()),
           fmt::format("{} at value {}", values[at], first + at), "finite values");
    }
    if (!original) continue;
    expected.resize(values.size());
    read_stored_rows(original->rows, *original->reader, first / columns, expected);
    sums.add(error_sums(expected.data(), values.data(), values.size()));
  }
  for (const auto part : weight.parts()) drop_pages(part);
  return sums;
}

}  // namespace

VerifyReport verify_mlpackage(const VerifyOptions& options) {
  const std::string path = options.artifact.string();
  const auto package = read_sound([&] { return std::make_unique<MlPackage>(options.artifact); });
  require_clean(*package, path);
  const auto weights = read_sound([&] { return package_weights(*package, path); });
  std::unique_ptr<SourceModel> source;
  std::vector<std::optional<Original>> originals(weights.size());
  if (!options.source.empty()) {
    source = std::make_unique<SourceModel>(
        options.source, ModelOptions{options.arch_as, options.tokenizer_pre, ""});
    originals = Originals(path, *source).match(weights);
  }
  VerifyReport report;
  report.path = options.artifact;
  report.bytes = package->bytes();
  std::uint64_t total = 0;
  for (const PackageWeight& weight : weights) {
    report.tensors.push_back({weight.name(), weight.type(), {}});
    total += weight.bytes();
  }
  ProgressMeter meter("verify", total, &options.progress, options.cancel);
  std::mutex meter_lock;
  const int threads = options.threads > 0
                          ? options.threads
                          : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  const tbb::global_control parallelism(tbb::global_control::max_allowed_parallelism,
                                        static_cast<std::size_t>(threads));
  tbb::parallel_for(std::size_t{0}, weights.size(), [&](std::size_t i) {
    const ErrorSums sums = check_weight(path, weights[i], originals[i]);
    if (originals[i]) report.tensors[i].nmse = sums.nmse();
    const std::lock_guard lock(meter_lock);
    meter.advance(weights[i].bytes());
  });
  meter.finish();
  return report;
}

}  // namespace qwodel
