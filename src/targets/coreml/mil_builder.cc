#include "targets/coreml/mil_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

#include "core/half.h"
#include "formats/mlpackage/package.h"

namespace qwodel {
namespace {

// Words that are no identifiers in MIL's text form.
constexpr std::array<std::string_view, 27> kReserved = {
    "any",   "bool",   "program", "func",   "tensor", "list",  "dict", "tuple", "true",
    "false", "string", "bf16",    "fp16",   "fp32",   "fp64",  "int8", "int16", "int32",
    "int64", "uint8",  "uint16",  "uint32", "uint64", "state", "int4", "uint4", "const"};

void set_type(mil::DataType type, const MilDims& dims, mil::ValueType& out) {
  mil::TensorType& tensor = *out.mutable_tensor_type();
  tensor.set_data_type(type);
  tensor.set_rank(static_cast<std::int64_t>(dims.size()));
  for (const std::int64_t extent : dims) {
    mil::Dimension& dimension = *tensor.add_dimensions();
    if (extent == kFlexible) {
      dimension.mutable_unknown();
    } else {
      dimension.mutable_constant()->set_size(static_cast<std::uint64_t>(extent));
    }
  }
}

mil::Value literal(mil::DataType type, const MilDims& dims) {
  mil::Value value;
  set_type(type, dims, *value.mutable_type());
  return value;
}

mil::TensorValue& tensor(mil::Value& value) {
  return *value.mutable_immediate_value()->mutable_tensor();
}

mil::Value text_value(const std::string& text) {
  mil::Value value = literal(mil::STRING, {});
  tensor(value).mutable_strings()->add_values(text);
  return value;
}

void bind(const std::string& name, mil::Argument& argument) {
  argument.add_arguments()->set_name(name);
}

std::string bytes_of_halves(const std::vector<std::uint16_t>& bits) {
  std::string bytes(bits.size() * sizeof(std::uint16_t), '\0');
  std::memcpy(bytes.data(), bits.data(), bytes.size());
  return bytes;
}

}  // namespace

const std::vector<MilVersion>& mil_versions() {
  static const std::vector<MilVersion> kVersions = {
      {"ios16", "iOS 16, macOS 13", "CoreML6", 7},
      {"ios17", "iOS 17, macOS 14", "CoreML7", 8},
      {"ios18", "iOS 18, macOS 15", "CoreML8", 9},
  };
  return kVersions;
}

MilDims broadcast(const MilDims& a, const MilDims& b) {
  const std::size_t rank = std::max(a.size(), b.size());
  MilDims dims(rank, 1);
  for (std::size_t i = 0; i < rank; ++i) {
    const std::int64_t x = i < a.size() ? a[a.size() - 1 - i] : 1;
    const std::int64_t y = i < b.size() ? b[b.size() - 1 - i] : 1;
    dims[rank - 1 - i] = x == 1 ? y : x;
  }
  return dims;
}

MilBuilder::MilBuilder(const MilVersion& version) : version_(version) {
  function_.set_opset(std::string(version.opset));
  for (const std::string_view word : kReserved) names_.emplace(word);
}

std::string mil_identifier(std::string_view hint) {
  std::string name(hint);
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  if (std::isdigit(static_cast<unsigned char>(name.front())) != 0) name = fmt::format("_{}", name);
  return name;
}

std::string MilBuilder::unique_name(std::string_view hint) {
  const std::string name =
      mil_identifier(scope_.empty() ? std::string(hint) : fmt::format("{}_{}", scope_, hint));
  std::string unique = name;
  while (!names_.insert(unique).second) {
    unique = fmt::format("{}_{}", name, ++counters_[name]);
  }
  return unique;
}

mil::Operation& MilBuilder::add(std::string_view type, const std::string& name) {
  mil::Operation& op = *block_.add_operations();
  op.set_type(std::string(type));
  (*op.mutable_attributes())["name"] = text_value(name);
  return op;
}

MilValue MilBuilder::input(const std::string& name, mil::DataType type, const MilDims& dims) {
  names_.insert(name);
  mil::NamedValueType& input = *function_.add_inputs();
  input.set_name(name);
  set_type(type, dims, *input.mutable_type());
  return {name, type, dims};
}

MilValue MilBuilder::state(const std::string& name, const MilDims& dims) {
  names_.insert(name);
  mil::NamedValueType& input = *function_.add_inputs();
  input.set_name(name);
  set_type(mil::FLOAT16, dims, *input.mutable_type()->mutable_state_type()->mutable_wrapped_type());
  return {name, mil::FLOAT16, dims};
}

MilValue MilBuilder::constant(std::string_view hint, mil::Value value, mil::DataType type,
                              const MilDims& dims) {
  const std::string key = value.SerializeAsString();
  const auto known = constants_.find(key);
  if (known != constants_.end()) return known->second;
  const std::string scope = std::exchange(scope_, {});
  const MilValue result{unique_name(hint), type, dims};
  scope_ = scope;
  mil::Operation& op = add("const", result.name);
  mil::NamedValueType& output = *op.add_outputs();
  output.set_name(result.name);
  *output.mutable_type() = value.type();
  (*op.mutable_attributes())["val"] = std::move(value);
  return constants_[key] = result;
}

MilValue MilBuilder::integer(std::int32_t number) {
  mil::Value value = literal(mil::INT32, {});
  tensor(value).mutable_ints()->add_values(number);
  return constant("integer", std::move(value), mil::INT32, {});
}

MilValue MilBuilder::integers(const std::vector<std::int32_t>& values) {
  return integers(values, {static_cast<std::int64_t>(values.size())});
}

MilValue MilBuilder::integers(const std::vector<std::int32_t>& values, const MilDims& dims) {
  mil::Value value = literal(mil::INT32, dims);
  for (const std::int32_t number : values) tensor(value).mutable_ints()->add_values(number);
  return constant("integers", std::move(value), mil::INT32, dims);
}

MilValue MilBuilder::flag(bool set) {
  mil::Value value = literal(mil::BOOL, {});
  tensor(value).mutable_bools()->add_values(set);
  return constant("flag", std::move(value), mil::BOOL, {});
}

MilValue MilBuilder::flags(const std::vector<bool>& values) {
  const MilDims dims = {static_cast<std::int64_t>(values.size())};
  mil::Value value = literal(mil::BOOL, dims);
  for (const bool set : values) tensor(value).mutable_bools()->add_values(set);
  return constant("flags", std::move(value), mil::BOOL, dims);
}

MilValue MilBuilder::text(const std::string& words) {
  return constant("text", text_value(words), mil::STRING, {});
}

MilValue MilBuilder::half(float number) { return halves({float_to_half(number)}, {}); }

MilValue MilBuilder::single(float number) {
  mil::Value value = literal(mil::FLOAT32, {});
  tensor(value).mutable_floats()->add_values(number);
  return constant("single", std::move(value), mil::FLOAT32, {});
}

MilValue MilBuilder::halves(const std::vector<std::uint16_t>& bits, const MilDims& dims) {
  mil::Value value = literal(mil::FLOAT16, dims);
  tensor(value).mutable_bytes()->set_values(bytes_of_halves(bits));
  return constant("half", std::move(value), mil::FLOAT16, dims);
}

mil::Value MilBuilder::blob_value(mil::DataType type, const MilDims& dims, const Blob& blob) {
  mil::Value value = literal(type, dims);
  value.mutable_blob_file_value()->set_file_name(std::string(kWeightFileName));
  value.mutable_blob_file_value()->set_offset(blob.position);
  return value;
}

mil::Value MilBuilder::integer_value(mil::DataType type, const std::vector<std::uint32_t>& values) {
  const bool scalar = type == mil::INT32;
  mil::Value value =
      literal(type, scalar ? MilDims{} : MilDims{static_cast<std::int64_t>(values.size())});
  if (scalar) {
    tensor(value).mutable_ints()->add_values(static_cast<std::int32_t>(values.front()));
    return value;
  }
  std::string bytes(values.size() * sizeof(std::uint32_t), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  tensor(value).mutable_bytes()->set_values(bytes);
  return value;
}

MilValue MilBuilder::stored(std::string_view name, mil::DataType type, const MilDims& dims,
                            const Blob& blob) {
  return constant(name, blob_value(type, dims, blob), type, dims);
}

MilValue MilBuilder::compressed(std::string_view type, std::string_view name,
                                const std::vector<Part>& parts, const MilDims& dims) {
  const std::string scope = std::exchange(scope_, {});
  const MilValue result{unique_name(name), mil::FLOAT16, dims};
  scope_ = scope;
  mil::Operation& op = add(type, result.name);
  // Up to CoreML7 the parameters are attributes, then inputs.
  for (const Part& part : parts) {
    const std::string parameter(part.parameter);
    if (specification() < 9) {
      (*op.mutable_attributes())[parameter] = part.value;
    } else {
      *(*op.mutable_inputs())[parameter].add_arguments()->mutable_value() = part.value;
    }
  }
  mil::NamedValueType& output = *op.add_outputs();
  output.set_name(result.name);
  set_type(mil::FLOAT16, dims, *output.mutable_type());
  return result;
}

MilValue MilBuilder::op(std::string_view type, std::string_view name, Arguments arguments,
                        mil::DataType result, const MilDims& dims) {
  const MilValue value{unique_name(name), result, dims};
  mil::Operation& op = add(type, value.name);
  for (const auto& [parameter, argument] : arguments) {
    bind(argument.name, (*op.mutable_inputs())[std::string(parameter)]);
  }
  mil::NamedValueType& output = *op.add_outputs();
  output.set_name(value.name);
  set_type(result, dims, *output.mutable_type());
  return value;
}

MilValue MilBuilder::concat(std::string_view name, const std::vector<MilValue>& values,
                            std::int32_t axis, const MilDims& dims) {
  const MilValue result = op("concat", name, {{"axis", integer(axis)}, {"interleave", flag(false)}},
                             values.front().type, dims);
  mil::Argument& list =
      (*block_.mutable_operations(block_.operations_size() - 1)->mutable_inputs())["values"];
  for (const MilValue& value : values) bind(value.name, list);
  return result;
}

void MilBuilder::write_state(const MilValue& state, const MilValue& value) {
  mil::Operation& op = add("write_state", unique_name("write_" + state.name));
  bind(state.name, (*op.mutable_inputs())["input"]);
  bind(value.name, (*op.mutable_inputs())["data"]);
}

void MilBuilder::output(const MilValue& value) { block_.add_outputs(value.name); }

mil::Program MilBuilder::finish() {
  (*function_.mutable_block_specializations())[function_.opset()] = std::move(block_);
  mil::Program program;
  program.set_version(1);
  (*program.mutable_functions())["main"] = std::move(function_);
  return program;
}

}  // namespace qwodel
