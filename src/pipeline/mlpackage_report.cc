#include "pipeline/mlpackage_report.h"

#include <fmt/format.h>

#include <map>

#include "core/checked.h"
#include "formats/mlpackage/package.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kSmallest = 10;  // values of what is listed as a weight

std::vector<std::uint64_t> shape_of(const mil::TensorType& tensor) {
  std::vector<std::uint64_t> shape;
  for (const mil::Dimension& dimension : tensor.dimensions()) {
    shape.push_back(dimension.constant().size());
  }
  return shape;
}

// Blobs of one constant or compressed weight. "fp16", "uint4+fp16".
void add_parts(const MlPackage& package, const mil::Value& value, InspectedTensor& tensor) {
  if (!value.has_blob_file_value() || !package.weights()) return;
  const Blob* blob = package.weights()->find(value.blob_file_value().offset());
  if (blob == nullptr) return;
  tensor.bytes += blob->bytes;
  if (!tensor.type.empty()) tensor.type += '+';
  tensor.type += info(blob->type).name;
}

std::vector<InspectedTensor> weights_of(const MlPackage& package) {
  std::vector<InspectedTensor> tensors;
  for (const mil::Operation& op : package.block().operations()) {
    if (!op.type().starts_with("const") || op.outputs().empty()) continue;
    InspectedTensor tensor;
    tensor.name = op.outputs(0).name();
    tensor.shape = shape_of(op.outputs(0).type().tensor_type());
    const auto count = checked_product(tensor.shape);
    if (!count || *count < kSmallest) continue;
    // Protobuf's maps have no order.
    const std::map<std::string, mil::Value> attributes(op.attributes().begin(),
                                                       op.attributes().end());
    for (const auto& [parameter, value] : attributes) add_parts(package, value, tensor);
    const std::map<std::string, mil::Argument> inputs(op.inputs().begin(), op.inputs().end());
    for (const auto& [parameter, argument] : inputs) {
      for (const auto& binding : argument.arguments()) {
        add_parts(package, binding.value(), tensor);
      }
    }
    if (tensor.bytes > 0) tensors.push_back(std::move(tensor));
  }
  return tensors;
}

std::string shape_text_of(const coreml::ArrayFeatureType& array) {
  std::string text;
  for (int i = 0; i < array.shape_size(); ++i) {
    const bool range = array.has_shape_range() && i < array.shape_range().size_ranges_size();
    const auto high = range ? array.shape_range().size_ranges(i).upper_bound() : array.shape(i);
    if (!text.empty()) text += ", ";
    text += high == array.shape(i) ? fmt::format("{}", high)
                                   : fmt::format("{}..{}", array.shape(i), high);
  }
  return fmt::format("[{}]", text);
}

void add_features(const coreml::ModelDescription& description, Inspection& inspection) {
  const auto add = [&](const char* kind, const coreml::FeatureDescription& feature) {
    const auto& type = feature.type();
    const auto& array =
        type.has_state_type() ? type.state_type().array_type() : type.multi_array_type();
    inspection.metadata.emplace_back(fmt::format("{} {}", kind, feature.name()),
                                     shape_text_of(array));
  };
  for (const auto& feature : description.input()) add("input", feature);
  for (const auto& feature : description.output()) add("output", feature);
  for (const auto& feature : description.state()) add("state", feature);
}

}  // namespace

Inspection inspect_mlpackage(const std::filesystem::path& path) {
  const MlPackage package(path);
  Inspection inspection;
  inspection.path = path;
  inspection.format = "mlpackage";
  const auto& model = package.model();
  inspection.metadata.emplace_back("specification version",
                                   std::to_string(model.specification_version()));
  inspection.metadata.emplace_back("operations", std::to_string(package.block().operations_size()));
  add_features(model.description(), inspection);
  const auto& defined = model.description().metadata().user_defined();
  const std::map<std::string, std::string> sorted(defined.begin(), defined.end());
  for (const auto& [key, value] : sorted) {
    inspection.metadata.emplace_back(key, value);
    if (key == "com.qwodel.architecture") inspection.architecture = value;
  }
  inspection.tensors = weights_of(package);
  for (const InspectedTensor& tensor : inspection.tensors) {
    inspection.parameters += checked_product(tensor.shape).value_or(0);
    inspection.bytes += tensor.bytes;
  }
  if (inspection.parameters > 0) {
    inspection.bits_per_weight =
        8.0 * static_cast<double>(inspection.bytes) / static_cast<double>(inspection.parameters);
  }
  return inspection;
}

}  // namespace qwodel
