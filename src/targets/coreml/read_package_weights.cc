#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "core/checked.h"
#include "qwodel/error.h"
#include "targets/coreml/package_weights.h"
#include "targets/coreml/stored_type.h"

namespace qwodel {
namespace {

constexpr std::uint64_t kSmallest = 10;  // values of what is listed as a weight
constexpr std::size_t kMaxRank = 5;

std::string text(const std::vector<std::uint64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace

// Finds the parts of each weight and sees that they fit.
class PackageWeightReader {
 public:
  PackageWeightReader(const MlPackage& package, const std::string& path)
      : package_(package), path_(path) {}

  std::vector<PackageWeight> run() {
    std::vector<PackageWeight> all;
    for (const mil::Operation& op : package_.block().operations()) {
      if (!op.type().starts_with("const") || op.outputs().empty()) continue;
      op_ = &op;
      if (std::optional<PackageWeight> weight = read()) all.push_back(std::move(*weight));
    }
    return all;
  }

 private:
  [[noreturn]] void fail(std::string found, std::string expected) const {
    throw ValidationError({.where = fmt::format("{}: {}", path_, op_->outputs(0).name()),
                           .found = std::move(found),
                           .expected = std::move(expected),
                           .remedy = "make the package again"});
  }

  // A parameter, wherever the version of the program has it; nullptr when it is absent.
  const mil::Value* find(const std::string& parameter) const {
    if (const auto at = op_->attributes().find(parameter); at != op_->attributes().end()) {
      return &at->second;
    }
    const auto at = op_->inputs().find(parameter);
    if (at == op_->inputs().end()) return nullptr;
    if (at->second.arguments_size() == 1 && at->second.arguments(0).has_value()) {
      return &at->second.arguments(0).value();
    }
    throw FormatNotSupportedError({.where = fmt::format("{}: {}", path_, op_->outputs(0).name()),
                                   .found = fmt::format("{} that is computed", parameter),
                                   .expected = "a stored one",
                                   .remedy = {}});
  }

  std::vector<std::uint64_t> shape_of(const mil::TensorType& tensor) const {
    std::vector<std::uint64_t> shape;
    for (const mil::Dimension& dimension : tensor.dimensions()) {
      if (dimension.constant().size() == 0) fail("an extent of 0", "a known extent");
      shape.push_back(dimension.constant().size());
    }
    return shape;
  }

  StoredNumbers numbers(const std::string& parameter) const {
    const mil::Value* value = find(parameter);
    if (value == nullptr) fail(fmt::format("no {}", parameter), "one");
    const mil::TensorType& tensor = value->type().tensor_type();
    const StoredType* stored = stored_type(tensor.data_type());
    if (stored == nullptr) fail(fmt::format("another type of {}", parameter), "numbers");
    StoredNumbers result{stored->blob, shape_of(tensor), {}};
    if (value->has_blob_file_value()) {
      const std::uint64_t offset = value->blob_file_value().offset();
      const Blob* blob = package_.weights() ? package_.weights()->find(offset) : nullptr;
      if (blob == nullptr || blob->type != result.type) {
        fail(fmt::format("no blob of {} at {}", info(result.type).name, offset), "one");
      }
      result.bytes = package_.weights()->data(*blob);
    } else {
      result.bytes = literal(value->immediate_value().tensor());
    }
    const auto count = checked_product(result.shape);
    const auto bits = count ? checked_mul(*count, info(result.type).bits) : std::nullopt;
    if (!bits || (*bits + 7) / 8 != result.bytes.size()) {
      fail(fmt::format("{} bytes of {}", result.bytes.size(), parameter),
           fmt::format("{} of {}", text(result.shape), info(result.type).name));
    }
    return result;
  }

  static std::span<const std::byte> literal(const mil::TensorValue& tensor) {
    if (tensor.has_floats()) {
      const auto& values = tensor.floats().values();
      return std::as_bytes(std::span(values.data(), static_cast<std::size_t>(values.size())));
    }
    if (tensor.has_ints()) {
      const auto& values = tensor.ints().values();
      return std::as_bytes(std::span(values.data(), static_cast<std::size_t>(values.size())));
    }
    const std::string& bytes = tensor.bytes().values();
    return std::as_bytes(std::span(bytes.data(), bytes.size()));
  }

  // Nothing for what is small, or no numbers.
  std::optional<PackageWeight> read() const {
    const mil::TensorType& result = op_->outputs(0).type().tensor_type();
    if (stored_type(result.data_type()) == nullptr) return std::nullopt;
    const std::vector<std::uint64_t> shape = shape_of(result);
    const auto count = checked_product(shape);
    if (!count) fail(text(shape), "fewer values");
    if (*count < kSmallest) return std::nullopt;
    PackageWeight weight;
    weight.name_ = op_->outputs(0).name();
    if (op_->type() == "const") {
      const mil::Value* value = find("val");
      if (value == nullptr || !value->has_blob_file_value()) return std::nullopt;
      weight.codes_ = numbers("val");
    } else if (op_->type() == "constexpr_lut_to_dense") {
      read_palette(shape, weight);
    } else if (op_->type() == "constexpr_blockwise_shift_scale") {
      weight.codes_ = numbers("data");
      weight.scales_ = numbers("scale");
      if (find("offset") != nullptr) weight.offsets_ = numbers("offset");
    } else if (op_->type() == "constexpr_affine_dequantize") {
      read_affine(weight);
    } else {
      throw FormatNotSupportedError({.where = fmt::format("{}: {}", path_, weight.name_),
                                     .found = op_->type(),
                                     .expected = "values, integers with scales, or palettes",
                                     .remedy = {}});
    }
    check(shape, weight);
    return weight;
  }

  // One scale for each row of an axis, as one axis among others.
  void read_affine(PackageWeight& weight) const {
    weight.codes_ = numbers("quantized_data");
    weight.scales_ = numbers("scale");
    weight.offsets_ = numbers("zero_point");
    const mil::Value* axis = find("axis");
    const auto& ints = axis == nullptr ? mil::TensorValue::Ints::default_instance()
                                       : axis->immediate_value().tensor().ints();
    const std::size_t rank = weight.codes_.shape.size();
    const auto place = ints.values_size() == 1 ? ints.values(0) : 0;
    if (place < 0 || static_cast<std::size_t>(place) >= rank) {
      fail(fmt::format("axis {}", place), fmt::format("one of {}", rank));
    }
    for (StoredNumbers* part : {&*weight.scales_, &*weight.offsets_}) {
      const auto count = checked_product(part->shape).value_or(0);
      part->shape.assign(rank, 1);
      part->shape[static_cast<std::size_t>(place)] = count;
    }
  }

  // Up to CoreML7: one table, and codes as a stream of bytes.
  void read_palette(const std::vector<std::uint64_t>& shape, PackageWeight& weight) const {
    weight.codes_ = numbers("indices");
    StoredNumbers table = numbers("lut");
    const bool grouped = table.shape.size() != 1;
    const std::size_t rank = shape.size();
    if (grouped && (table.shape.size() != rank + 2 || table.shape.back() != 1)) {
      fail(fmt::format("tables {}", text(table.shape)), "one or more tables of single values");
    }
    weight.entries_ = grouped ? table.shape[rank] : table.shape[0];
    if (!std::has_single_bit(weight.entries_) || weight.entries_ < 2 || weight.entries_ > 256) {
      fail(fmt::format("{} entries", weight.entries_), "2 to 256, a power of two");
    }
    const auto bits = static_cast<unsigned>(std::countr_zero(weight.entries_));
    if (grouped) {
      table.shape.resize(rank);
      if (info(weight.codes_.type).bits != bits) {
        fail(fmt::format("{} entries for {}", weight.entries_, info(weight.codes_.type).name),
             "as many as codes can tell apart");
      }
    } else {
      table.shape.assign(rank, 1);
      const auto count = checked_mul(*checked_product(shape), bits);
      if (weight.codes_.type != BlobType::uint8 || !count ||
          weight.codes_.bytes.size() != (*count + 7) / 8) {
        fail(fmt::format("{} bytes of indices", weight.codes_.bytes.size()),
             fmt::format("{} of {} bits", text(shape), bits));
      }
      weight.codes_.type = code_type(bits);
      weight.codes_.shape = shape;
    }
    weight.tables_ = std::move(table);
  }

  BlobType code_type(unsigned bits) const {
    constexpr std::pair<unsigned, BlobType> kTypes[] = {{1, BlobType::uint1}, {2, BlobType::uint2},
                                                        {3, BlobType::uint3}, {4, BlobType::uint4},
                                                        {6, BlobType::uint6}, {8, BlobType::uint8}};
    const auto* found = std::ranges::find(kTypes, bits, &std::pair<unsigned, BlobType>::first);
    if (found == std::end(kTypes)) fail(fmt::format("codes of {} bits", bits), "1 to 8 bits");
    return found->second;
  }

  void check(const std::vector<std::uint64_t>& shape, const PackageWeight& weight) const {
    if (weight.codes_.shape != shape || shape.empty() || shape.size() > kMaxRank) {
      fail(fmt::format("values {}", text(weight.codes_.shape)), text(shape));
    }
    for (const auto& part : {weight.scales_, weight.offsets_, weight.tables_}) {
      if (!part) continue;
      bool fits = part->shape.size() == shape.size();
      for (std::size_t i = 0; fits && i < shape.size(); ++i) {
        fits = shape[i] % part->shape[i] == 0;
      }
      if (!fits) {
        fail(fmt::format("parts {}", text(part->shape)),
             fmt::format("some that divide {}", text(shape)));
      }
    }
    if (weight.offsets_ && weight.offsets_->shape != weight.scales_->shape) {
      fail(fmt::format("offsets {}", text(weight.offsets_->shape)), text(weight.scales_->shape));
    }
  }

  const MlPackage& package_;
  const std::string& path_;
  const mil::Operation* op_ = nullptr;
};

std::vector<PackageWeight> package_weights(const MlPackage& package, const std::string& path) {
  return PackageWeightReader(package, path).run();
}

}  // namespace qwodel
