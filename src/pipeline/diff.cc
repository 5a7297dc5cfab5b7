#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <optional>

#include "formats/checkpoint.h"
#include "formats/mlpackage/package.h"
#include "kernels/error_sums.h"
#include "pipeline/metadata_text.h"
#include "pipeline/mlpackage_report.h"
#include "pipeline/source_model.h"
#include "qwodel/inspect.h"
#include "targets/coreml/package_weights.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kChunkValues = std::uint64_t{1} << 18;

// A tensor of one side, whether stored as such or made from views of a checkpoint.
struct Side {
  std::string type;
  std::vector<std::uint64_t> shape;
  std::vector<std::span<const std::byte>> raw;  // empty when the values are made, not stored
  std::function<void(std::uint64_t, std::span<float>)> read;
};

using Sides = std::map<std::string, Side>;

Sides stored_tensors(const Weights& weights) {
  Sides sides;
  for (const auto& tensor : weights.tensors()) {
    const WeightTensor* t = tensor.get();
    std::vector<std::span<const std::byte>> raw;
    if (!t->raw().empty()) raw.push_back(t->raw());
    sides[t->name()] = {std::string(info(t->type()).name), t->shape(), std::move(raw),
                        [t](std::uint64_t first, std::span<float> out) { t->read(first, out); }};
  }
  return sides;
}

Sides package_tensors(const std::vector<PackageWeight>& weights) {
  Sides sides;
  for (const PackageWeight& weight : weights) {
    const PackageWeight* w = &weight;
    sides[w->name()] = {w->type(), w->shape(), w->parts(),
                        [w](std::uint64_t first, std::span<float> out) { w->read(first, out); }};
  }
  return sides;
}

Sides model_tensors(const SourceModel& model) {
  Sides sides;
  for (std::size_t i = 0; i < model.spec.tensors.size(); ++i) {
    const ModelTensorReader* reader = &model.readers[i];
    sides[model.spec.tensors[i].name] = {
        std::string(info(reader->source_type()).name),
        model.spec.tensors[i].shape,
        {},
        [reader](std::uint64_t first, std::span<float> out) { reader->read(first, out); }};
  }
  return sides;
}

double normalized_error(const Side& a, const Side& b) {
  ErrorSums sums;
  const std::uint64_t count = element_count(a.shape);
  std::vector<float> left;
  std::vector<float> right;
  for (std::uint64_t first = 0; first < count; first += kChunkValues) {
    left.resize(static_cast<std::size_t>(std::min(kChunkValues, count - first)));
    right.resize(left.size());
    a.read(first, left);
    b.read(first, right);
    sums.add(error_sums(left.data(), right.data(), left.size()));
  }
  return sums.nmse();
}

bool same_bytes(const Side& a, const Side& b) {
  return a.type == b.type && !a.raw.empty() &&
         std::ranges::equal(a.raw, b.raw, [](const auto& left, const auto& right) {
           return std::ranges::equal(left, right);
         });
}

void compare_tensors(const Sides& a, const Sides& b, DiffReport& report) {
  for (const auto& [name, left] : a) {
    const auto other = b.find(name);
    if (other == b.end()) {
      report.differences.push_back({name, "only in the first", {}});
      continue;
    }
    const Side& right = other->second;
    ++report.tensors;
    if (left.shape != right.shape) {
      report.differences.push_back(
          {name,
           fmt::format("shape {} | {}", shape_text(left.shape), shape_text(right.shape)),
           {}});
    } else if (same_bytes(left, right)) {
      ++report.same;
    } else {
      const double nmse = normalized_error(left, right);
      if (nmse == 0 && left.type == right.type) {
        ++report.same;
        continue;
      }
      const std::string what =
          left.type == right.type ? "values" : fmt::format("type {} | {}", left.type, right.type);
      report.differences.push_back({name, what, nmse});
    }
  }
  for (const auto& [name, right] : b) {
    if (!a.contains(name)) report.differences.push_back({name, "only in the second", {}});
  }
}

void compare_metadata(const GgufMetadata& a, const GgufMetadata& b, DiffReport& report) {
  const auto text = [](const GgufValue* value) {
    return value == nullptr ? std::string("absent") : value_text(*value);
  };
  for (const auto& [key, value] : a.entries()) {
    const GgufValue* other = b.find(key);
    if (other == nullptr || *other != value) {
      report.metadata.push_back(fmt::format("{}: {} | {}", key, value_text(value), text(other)));
    }
  }
  for (const auto& [key, value] : b.entries()) {
    if (a.find(key) == nullptr) {
      report.metadata.push_back(fmt::format("{}: absent | {}", key, value_text(value)));
    }
  }
}

void compare_packages(const std::filesystem::path& a, const std::filesystem::path& b,
                      DiffReport& report) {
  if (!is_mlpackage(a) || !is_mlpackage(b)) {
    throw FormatNotSupportedError({.where = "diff",
                                   .found = "a .mlpackage and another kind of model",
                                   .expected = "two packages",
                                   .remedy = "use qwodel verify PACKAGE --source MODEL"});
  }
  const MlPackage left(a);
  const MlPackage right(b);
  const auto left_weights = package_weights(left, a.string());
  const auto right_weights = package_weights(right, b.string());
  compare_tensors(package_tensors(left_weights), package_tensors(right_weights), report);
  const auto entries = [](const Inspection& inspection) {
    return std::map<std::string, std::string>(inspection.metadata.begin(),
                                              inspection.metadata.end());
  };
  const auto here = entries(inspect_mlpackage(a));
  const auto there = entries(inspect_mlpackage(b));
  for (const auto& [key, value] : here) {
    const auto other = there.find(key);
    const std::string text = other == there.end() ? "absent" : other->second;
    if (text != value) report.metadata.push_back(fmt::format("{}: {} | {}", key, value, text));
  }
  for (const auto& [key, value] : there) {
    if (!here.contains(key)) report.metadata.push_back(fmt::format("{}: absent | {}", key, value));
  }
}

}  // namespace

DiffReport diff(const std::filesystem::path& a, const std::filesystem::path& b) {
  DiffReport report;
  if (is_mlpackage(a) || is_mlpackage(b)) {
    compare_packages(a, b, report);
    return report;
  }
  const auto left = open_checkpoint(a);
  const auto right = open_checkpoint(b);
  const std::optional<GgufMetadata>& left_metadata = left->gguf_metadata();
  const std::optional<GgufMetadata>& right_metadata = right->gguf_metadata();
  if (left_metadata.has_value() == right_metadata.has_value()) {
    const Weights left_weights(*left);
    const Weights right_weights(*right);
    compare_tensors(stored_tensors(left_weights), stored_tensors(right_weights), report);
    if (left_metadata && right_metadata) compare_metadata(*left_metadata, *right_metadata, report);
    return report;
  }
  const SourceModel left_model(a, {});
  const SourceModel right_model(b, {});
  compare_tensors(model_tensors(left_model), model_tensors(right_model), report);
  return report;
}

}  // namespace qwodel
