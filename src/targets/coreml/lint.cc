#include "targets/coreml/lint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <optional>
#include <set>
#include <string_view>

#include "core/checked.h"
#include "qwodel/error.h"
#include "targets/coreml/stored_type.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kMaxTensorBytes = (std::uint64_t{1} << 31) - 1;
constexpr int kMaxRank = 5;
constexpr std::size_t kMaxEnumerated = 128;

struct Opset {
  int specification;
  std::string_view name;
};
constexpr std::array kOpsets = {Opset{6, "CoreML5"}, Opset{7, "CoreML6"}, Opset{8, "CoreML7"},
                                Opset{9, "CoreML8"}, Opset{10, "CoreML9"}};

bool is_identifier(const std::string& name) {
  const auto is_word = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; };
  return !name.empty() && std::isdigit(static_cast<unsigned char>(name.front())) == 0 &&
         std::ranges::all_of(name, is_word);
}

// Values of a tensor whose extents are all known.
std::optional<std::uint64_t> values_of(const mil::TensorType& tensor) {
  std::uint64_t count = 1;
  for (const mil::Dimension& dimension : tensor.dimensions()) {
    if (!dimension.has_constant()) return std::nullopt;
    const auto next = checked_mul(count, dimension.constant().size());
    if (!next) return std::nullopt;
    count = *next;
  }
  return count;
}

class Linter {
 public:
  explicit Linter(const MlPackage& package) : package_(package) {}

  std::vector<LintFinding> run() {
    check_version();
    for (const mil::NamedValueType& input : package_.function().inputs()) {
      define(fmt::format("input {}", input.name()), input.name());
    }
    for (const mil::Operation& op : package_.block().operations()) check_operation(op);
    check_outputs();
    check_features();
    return std::move(findings_);
  }

 private:
  void require(bool holds, const std::string& where, std::string found, std::string expected) {
    if (!holds) findings_.push_back({where, std::move(found), std::move(expected)});
  }

  int specification() const { return package_.model().specification_version(); }

  void check_version() {
    const auto* row = std::ranges::find(kOpsets, specification(), &Opset::specification);
    require(row != kOpsets.end(), "the model",
            fmt::format("specification version {}", specification()), "6 to 10");
    if (row == kOpsets.end()) return;
    require(package_.function().opset() == row->name, "the program",
            fmt::format("operations of {}", package_.function().opset()),
            fmt::format("those of {}", row->name));
    require(package_.model().ml_program().version() == 1, "the program",
            fmt::format("version {}", package_.model().ml_program().version()), "version 1");
  }

  void define(const std::string& where, const std::string& name) {
    require(is_identifier(name), where, fmt::format("the name \"{}\"", name),
            "letters, digits and _");
    require(defined_.insert(name).second, where, fmt::format("the name \"{}\" a second time", name),
            "a name of its own");
  }

  void check_operation(const mil::Operation& op) {
    const std::string name = op.outputs().empty() ? op.type() : op.outputs(0).name();
    const std::string where = fmt::format("operation {}", name);
    require(op.attributes().contains("name"), where, "no name attribute", "one");
    for (const auto& [parameter, argument] : op.inputs()) {
      for (const auto& binding : argument.arguments()) {
        if (binding.has_value()) {
          check_value(where, binding.value());
        } else {
          require(defined_.contains(binding.name()), where,
                  fmt::format("{} bound to \"{}\"", parameter, binding.name()),
                  "a value made before");
          used_.insert(binding.name());
        }
      }
    }
    for (const auto& [parameter, value] : op.attributes()) check_value(where, value);
    if (op.type() == "write_state" && op.inputs().contains("data")) {
      const auto& data = op.inputs().at("data");
      if (data.arguments_size() > 0) written_.insert(data.arguments(0).name());
    }
    for (const mil::NamedValueType& output : op.outputs()) {
      define(where, output.name());
      if (op.type().starts_with("const")) constants_.insert(output.name());
      check_type(where, output.type().tensor_type());
    }
  }

  void check_type(const std::string& where, const mil::TensorType& tensor) {
    require(tensor.rank() == tensor.dimensions_size(), where,
            fmt::format("{} extents", tensor.dimensions_size()),
            fmt::format("{}, its rank", tensor.rank()));
    require(tensor.rank() <= kMaxRank, where, fmt::format("rank {}", tensor.rank()), "at most 5");
    const StoredType* stored = stored_type(tensor.data_type());
    const auto values = values_of(tensor);
    if (stored == nullptr || !values) return;
    const auto bits = checked_mul(*values, info(stored->blob).bits);
    require(bits && *bits / 8 <= kMaxTensorBytes, where, fmt::format("{} values", *values),
            "less than 2 GiB");
  }

  void check_value(const std::string& where, const mil::Value& value) {
    if (!value.has_blob_file_value()) return;
    const std::uint64_t offset = value.blob_file_value().offset();
    const Blob* blob = package_.weights() ? package_.weights()->find(offset) : nullptr;
    if (blob == nullptr) {
      require(false, where, fmt::format("weights at {}", offset), "the position of a blob");
      return;
    }
    const mil::TensorType& tensor = value.type().tensor_type();
    const StoredType* stored = stored_type(tensor.data_type());
    const auto values = values_of(tensor);
    require(stored != nullptr && stored->blob == blob->type && values == blob->values(), where,
            fmt::format("{} values of {} at {}", blob->values(), info(blob->type).name, offset),
            "the type and size that the program gives");
  }

  void check_outputs() {
    for (const std::string& output : package_.block().outputs()) {
      const std::string where = fmt::format("output {}", output);
      require(defined_.contains(output), where, "no operation that makes it", "one");
      require(!constants_.contains(output), where, "a constant", "the result of an operation");
      require(!written_.contains(output), where, "a value that is written to a state",
              "another, such as its identity: Core ML crashes on it");
    }
  }

  void check_array(const std::string& where, const coreml::ArrayFeatureType& array) {
    const bool flexible = array.has_shape_range() || array.has_enumerated_shapes();
    require(array.shape_size() > 0 || flexible, where, "no shape", "a shape");
    require(array.data_type() != coreml::ArrayFeatureType::FLOAT16 || specification() >= 7, where,
            "fp16 in a model for iOS 15", "iOS 16 or later");
    const auto& ranges = array.shape_range().size_ranges();
    if (array.has_shape_range()) {
      require(ranges.size() == array.shape_size(), where, fmt::format("{} ranges", ranges.size()),
              fmt::format("{}", array.shape_size()));
    }
    for (int i = 0; i < std::min(ranges.size(), array.shape_size()); ++i) {
      const auto extent = array.shape(i);
      require(extent >= 0 && static_cast<std::uint64_t>(extent) >= ranges[i].lower_bound() &&
                  extent <= ranges[i].upper_bound(),
              where, fmt::format("the default extent {}", extent), "one within its range");
    }
    if (!array.has_enumerated_shapes()) return;
    const auto& shapes = array.enumerated_shapes().shapes();
    require(static_cast<std::size_t>(shapes.size()) <= kMaxEnumerated, where,
            fmt::format("{} shapes", shapes.size()), "at most 128");
    require(std::ranges::any_of(shapes,
                                [&](const auto& shape) {
                                  return std::ranges::equal(shape.shape(), array.shape());
                                }),
            where, "a default shape that is not enumerated", "one of the shapes");
  }

  void check_state(const coreml::FeatureDescription& state) {
    const std::string where = fmt::format("state {}", state.name());
    require(specification() >= 9, where, "a state before iOS 18", "none");
    require(state.type().has_state_type(), where, "another kind of feature", "a state");
    const auto& array = state.type().state_type().array_type();
    require(array.shape_size() > 0, where, "no shape", "a shape");
    require(!array.has_shape_range() && !array.has_enumerated_shapes(), where, "a flexible shape",
            "a fixed one");
    require(array.data_type() == coreml::ArrayFeatureType::FLOAT16, where, "another type", "fp16");
  }

  void check_features() {
    const coreml::ModelDescription& description = package_.model().description();
    std::set<std::string> declared;
    std::set<bool> flexible;
    for (const auto& input : description.input()) {
      const std::string where = fmt::format("input {}", input.name());
      declared.insert(input.name());
      require(used_.contains(input.name()), where, "no operation that reads it", "one");
      const auto& array = input.type().multi_array_type();
      check_array(where, array);
      flexible.insert(array.has_shape_range());
    }
    require(description.state().empty() || flexible.size() < 2, "the inputs",
            "ranges beside fixed shapes in a model with states", "ranges for all or none");
    for (const auto& state : description.state()) {
      declared.insert(state.name());
      check_state(state);
    }
    std::set<std::string> taken;
    for (const auto& input : package_.function().inputs()) taken.insert(input.name());
    require(declared == taken, "the inputs and states", "others than the program takes",
            "the same");
    const auto name_of_feature = [](const auto& output) { return output.name(); };
    require(
        std::ranges::equal(description.output(), package_.block().outputs(), {}, name_of_feature),
        "the outputs", "others than the program gives", "the same");
  }

  const MlPackage& package_;
  std::set<std::string> defined_, used_, constants_, written_;
  std::vector<LintFinding> findings_;
};

}  // namespace

std::vector<LintFinding> lint_package(const MlPackage& package) { return Linter(package).run(); }

void require_clean(const MlPackage& package, const std::string& path) {
  const auto findings = lint_package(package);
  if (findings.empty()) return;
  const LintFinding& first = findings.front();
  throw ValidationError({.where = fmt::format("{}, {}", path, first.where),
                         .found = first.found,
                         .expected = first.expected,
                         .remedy = "Core ML would refuse it: make the package again"},
                        ErrorCode::verification_failed);
}

}  // namespace qwodel
