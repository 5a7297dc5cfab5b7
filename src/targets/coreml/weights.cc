// Weights and tables as constants of the program, stored or compressed.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstring>

#include "core/half.h"
#include "targets/coreml/lowering.h"

namespace qwodel {
namespace {

// Fewer values than this are part of the model file.
constexpr std::uint64_t kFewestStored = 10;

std::uint64_t count_of(const MilDims& dims) {
  std::uint64_t count = 1;
  for (const std::int64_t extent : dims) count *= static_cast<std::uint64_t>(extent);
  return count;
}

// Types of codes in the program and in the weight file.
struct CodeType {
  mil::DataType program;
  BlobType file;
};

CodeType code_type(const WeightScheme& scheme) {
  if (scheme.form == WeightForm::linear) {
    return scheme.bits == 4 ? CodeType{mil::INT4, BlobType::int4}
                            : CodeType{mil::INT8, BlobType::int8};
  }
  switch (scheme.bits) {
    case 1:
      return {mil::UINT1, BlobType::uint1};
    case 2:
      return {mil::UINT2, BlobType::uint2};
    case 3:
      return {mil::UINT3, BlobType::uint3};
    case 4:
      return {mil::UINT4, BlobType::uint4};
    case 6:
      return {mil::UINT6, BlobType::uint6};
    default:
      return {mil::UINT8, BlobType::uint8};
  }
}

std::size_t add_blob(WeightFile& file, BlobType type, std::uint64_t values) {
  file.layout.add(type, values);
  return file.layout.blobs().size() - 1;
}

template <class T>
std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::int64_t extent_of(std::uint64_t value) { return static_cast<std::int64_t>(value); }

// One stream of bits over all rows; up to CoreML7 an array of bytes.
std::vector<MilBuilder::Part> palette_parts(WeightFile& file, StoredWeight& stored, bool grouped) {
  const CodeType codes = code_type(stored.scheme);
  const std::uint64_t values = stored.rows * stored.columns;
  const std::uint64_t entries = std::uint64_t{1} << stored.scheme.bits;
  const std::uint64_t group =
      stored.scheme.group_rows == 0 ? stored.rows : stored.scheme.group_rows;
  const std::uint64_t tables = stored.rows / group;
  const std::uint64_t bytes = (values * stored.scheme.bits + 7) / 8;
  stored.codes =
      grouped ? add_blob(file, codes.file, values) : add_blob(file, BlobType::uint8, bytes);
  stored.tables = add_blob(file, BlobType::float16, tables * entries);
  const auto& blobs = file.layout.blobs();
  if (grouped) {
    return {
        {"indices",
         MilBuilder::blob_value(codes.program, {extent_of(stored.rows), extent_of(stored.columns)},
                                blobs[stored.codes])},
        {"lut", MilBuilder::blob_value(mil::FLOAT16, {extent_of(tables), 1, extent_of(entries), 1},
                                       blobs[stored.tables])}};
  }
  return {{"indices", MilBuilder::blob_value(mil::UINT8, {extent_of(bytes)}, blobs[stored.codes])},
          {"lut", MilBuilder::blob_value(mil::FLOAT16, {extent_of(entries)}, blobs[stored.tables])},
          {"shape",
           MilBuilder::integer_value(mil::UINT32, {static_cast<std::uint32_t>(stored.rows),
                                                   static_cast<std::uint32_t>(stored.columns)})}};
}

// Up to CoreML7 scales and offsets have one axis, that of the rows.
std::vector<MilBuilder::Part> linear_parts(WeightFile& file, StoredWeight& stored, bool blocks) {
  const CodeType codes = code_type(stored.scheme);
  const std::uint64_t rows = stored.scheme.per_tensor ? 1 : stored.rows;
  const std::uint64_t per_row = stored.scheme.block == 0 ? 1 : stored.columns / stored.scheme.block;
  const bool offsets = !stored.scheme.symmetric || !blocks;
  stored.codes = add_blob(file, codes.file, stored.rows * stored.columns);
  stored.scales = add_blob(file, BlobType::float16, rows * per_row);
  if (offsets) stored.offsets = add_blob(file, codes.file, rows * per_row);
  const auto& blobs = file.layout.blobs();
  MilDims dims = {extent_of(rows), extent_of(per_row)};
  if (!blocks) dims = stored.scheme.per_tensor ? MilDims{} : MilDims{extent_of(rows)};
  std::vector<MilBuilder::Part> parts = {
      {blocks ? "data" : "quantized_data",
       MilBuilder::blob_value(codes.program, {extent_of(stored.rows), extent_of(stored.columns)},
                              blobs[stored.codes])},
      {"scale", MilBuilder::blob_value(mil::FLOAT16, dims, blobs[stored.scales])}};
  if (offsets) {
    parts.push_back({blocks ? "offset" : "zero_point",
                     MilBuilder::blob_value(codes.program, dims, blobs[stored.offsets])});
  }
  if (!blocks) parts.push_back({"axis", MilBuilder::integer_value(mil::INT32, {0})});
  return parts;
}

}  // namespace

MilValue Lowering::matrix(WeightId weight) {
  const GraphWeight& source = graph.weights[weight];
  const std::string key = fmt::format("matrix {}", source.name);
  const auto known = made.find(key);
  if (known != made.end()) return known->second;
  StoredWeight stored;
  stored.weight = weight;
  stored.scheme = schemes[weight];
  stored.columns = source.shape.back();
  stored.rows = 1;
  for (std::size_t i = 0; i + 1 < source.shape.size(); ++i) stored.rows *= source.shape[i];
  if (const auto order = orders.weights.find(weight); order != orders.weights.end()) {
    stored.order = order->second;
  }
  const MilDims dims = {extent_of(stored.rows), extent_of(stored.columns)};
  const bool current = mil.specification() >= 9;
  MilValue value;
  if (stored.scheme.form == WeightForm::float16) {
    stored.codes = add_blob(file, BlobType::float16, stored.rows * stored.columns);
    value = mil.stored(source.name, mil::FLOAT16, dims, file.layout.blobs()[stored.codes]);
  } else if (stored.scheme.form == WeightForm::palette) {
    value = mil.compressed("constexpr_lut_to_dense", source.name,
                           palette_parts(file, stored, current), dims);
  } else {
    value =
        mil.compressed(current ? "constexpr_blockwise_shift_scale" : "constexpr_affine_dequantize",
                       source.name, linear_parts(file, stored, current), dims);
  }
  file.weights.push_back(stored);
  return made[key] = value;
}

MilValue Lowering::vector(WeightId weight, const MilDims& dims, std::uint64_t first_row) {
  const GraphWeight& source = graph.weights[weight];
  const std::string key = fmt::format("vector {} {}", source.name, fmt::join(dims, " "));
  const auto known = made.find(key);
  if (known != made.end()) return known->second;
  const std::uint64_t count = count_of(dims);
  if (count < kFewestStored && !orders.weights.contains(weight)) {
    std::vector<float> values(static_cast<std::size_t>(count));
    weights.read(weight, first_row * source.shape.back(), values);
    std::vector<std::uint16_t> bits;
    for (const float value : values) bits.push_back(float_to_half(value));
    return made[key] = mil.halves(bits, dims);
  }
  StoredWeight stored;
  stored.weight = weight;
  stored.columns = source.shape.size() == 1 ? 1 : source.shape.back();
  stored.rows = count / stored.columns;
  stored.first_row = first_row;
  if (const auto order = orders.weights.find(weight); order != orders.weights.end()) {
    stored.order = order->second;
  }
  stored.codes = add_blob(file, BlobType::float16, count);
  file.weights.push_back(stored);
  return made[key] = mil.stored(source.name, mil::FLOAT16, dims, file.layout.blobs()[stored.codes]);
}

MilValue Lowering::zeros(std::uint64_t count) {
  return halves("zeros", std::vector<std::uint16_t>(static_cast<std::size_t>(count), 0),
                {extent_of(count)});
}

MilValue Lowering::halves(const std::string& name, const std::vector<std::uint16_t>& bits,
                          const MilDims& dims) {
  if (bits.size() < kFewestStored) return mil.halves(bits, dims);
  const std::string key = fmt::format("halves {} {}", name, fmt::join(dims, " "));
  const auto known = made.find(key);
  if (known != made.end()) return known->second;
  const std::size_t blob = add_blob(file, BlobType::float16, bits.size());
  file.constants.push_back({blob, bytes_of(bits)});
  return made[key] = mil.stored(name, mil::FLOAT16, dims, file.layout.blobs()[blob]);
}

// Integers go to the weight file from CoreML8 on.
MilValue Lowering::integers(const std::string& name, const std::vector<std::int32_t>& values,
                            const MilDims& dims) {
  const std::string key = fmt::format("integers {}", name);
  const auto known = made.find(key);
  if (known != made.end()) return known->second;
  if (mil.specification() < 9 || values.size() < kFewestStored) {
    return made[key] = mil.integers(values, dims);
  }
  const std::size_t blob = add_blob(file, BlobType::int32, values.size());
  file.constants.push_back({blob, bytes_of(values)});
  return made[key] = mil.stored(name, mil::INT32, dims, file.layout.blobs()[blob]);
}

}  // namespace qwodel
