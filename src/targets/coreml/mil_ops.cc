#include "targets/coreml/mil_ops.h"

namespace qwodel {

MilValue elementwise(MilBuilder& mil, std::string_view type, std::string_view name,
                     const MilValue& x, const MilValue& y) {
  return mil.op(type, name, {{"x", x}, {"y", y}}, x.type, broadcast(x.dims, y.dims));
}

MilValue compare(MilBuilder& mil, std::string_view type, std::string_view name, const MilValue& x,
                 const MilValue& y) {
  return mil.op(type, name, {{"x", x}, {"y", y}}, mil::BOOL, broadcast(x.dims, y.dims));
}

MilValue unary(MilBuilder& mil, std::string_view type, std::string_view name, const MilValue& x) {
  return mil.op(type, name, {{"x", x}}, x.type, x.dims);
}

MilValue cast(MilBuilder& mil, std::string_view name, const MilValue& x, mil::DataType type) {
  const char* word = type == mil::FLOAT16 ? "fp16" : type == mil::FLOAT32 ? "fp32" : "int32";
  return mil.op("cast", name, {{"x", x}, {"dtype", mil.text(word)}}, type, x.dims);
}

MilValue reshape(MilBuilder& mil, std::string_view name, const MilValue& x, const MilDims& dims) {
  if (x.dims == dims) return x;
  std::vector<std::int32_t> shape;
  for (const std::int64_t extent : dims) shape.push_back(static_cast<std::int32_t>(extent));
  return mil.op("reshape", name, {{"x", x}, {"shape", mil.integers(shape)}}, x.type, dims);
}

MilValue transpose(MilBuilder& mil, std::string_view name, const MilValue& x,
                   const std::vector<std::int32_t>& order) {
  MilDims dims;
  for (const std::int32_t axis : order) dims.push_back(x.dims[static_cast<std::size_t>(axis)]);
  return mil.op("transpose", name, {{"x", x}, {"perm", mil.integers(order)}}, x.type, dims);
}

MilValue softmax(MilBuilder& mil, std::string_view name, const MilValue& x) {
  return mil.op("softmax", name, {{"x", x}, {"axis", mil.integer(-1)}}, x.type, x.dims);
}

MilValue matmul(MilBuilder& mil, std::string_view name, const MilValue& x, const MilValue& y,
                bool transpose_y, const MilDims& dims) {
  return mil.op("matmul", name,
                {{"x", x},
                 {"y", y},
                 {"transpose_x", mil.flag(false)},
                 {"transpose_y", mil.flag(transpose_y)}},
                x.type, dims);
}

MilValue slice(MilBuilder& mil, std::string_view name, const MilValue& x, const MilSlice& axis) {
  const std::size_t rank = x.dims.size();
  const MilValue zero = mil.integers({0});
  std::vector<MilValue> begins(rank, zero);
  std::vector<MilValue> ends(rank, zero);
  begins[axis.axis] = axis.begin;
  ends[axis.axis] = axis.end;
  std::vector<bool> whole(rank, true);
  whole[axis.axis] = false;
  MilDims dims = x.dims;
  dims[axis.axis] = axis.extent;
  const MilDims indices = {static_cast<std::int64_t>(rank)};
  const std::string hint(name);
  return mil.op("slice_by_index", name,
                {{"x", x},
                 {"begin", mil.concat(hint + "_begin", begins, 0, indices)},
                 {"end", mil.concat(hint + "_end", ends, 0, indices)},
                 {"stride", mil.integers(std::vector<std::int32_t>(rank, 1))},
                 {"begin_mask", mil.flags(whole)},
                 {"end_mask", mil.flags(whole)},
                 {"squeeze_mask", mil.flags(std::vector<bool>(rank, false))}},
                x.type, dims);
}

MilValue columns(MilBuilder& mil, std::string_view name, const MilValue& x, std::uint64_t first,
                 std::uint64_t count) {
  const std::size_t rank = x.dims.size();
  std::vector<std::int32_t> begin(rank, 0);
  std::vector<std::int32_t> end(rank, 0);
  begin.back() = static_cast<std::int32_t>(first);
  end.back() = static_cast<std::int32_t>(first + count);
  std::vector<bool> whole(rank, true);
  whole.back() = false;
  MilDims dims = x.dims;
  dims.back() = static_cast<std::int64_t>(count);
  return mil.op("slice_by_index", name,
                {{"x", x},
                 {"begin", mil.integers(begin)},
                 {"end", mil.integers(end)},
                 {"stride", mil.integers(std::vector<std::int32_t>(rank, 1))},
                 {"begin_mask", mil.flags(whole)},
                 {"end_mask", mil.flags(whole)},
                 {"squeeze_mask", mil.flags(std::vector<bool>(rank, false))}},
                x.type, dims);
}

MilValue extent(MilBuilder& mil, std::string_view name, const MilValue& x, std::int32_t axis) {
  const MilDims rank = {static_cast<std::int64_t>(x.dims.size())};
  const MilValue shape = mil.op("shape", "shape_of_" + x.name, {{"x", x}}, mil::INT32, rank);
  return mil.op("slice_by_index", name,
                {{"x", shape},
                 {"begin", mil.integers({axis})},
                 {"end", mil.integers({axis + 1})},
                 {"stride", mil.integers({1})},
                 {"begin_mask", mil.flags({false})},
                 {"end_mask", mil.flags({false})},
                 {"squeeze_mask", mil.flags({false})}},
                mil::INT32, {1});
}

}  // namespace qwodel
