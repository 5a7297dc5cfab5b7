// The operations of MIL that language models are made of, with all their parameters and the types
// of their results.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "targets/coreml/mil_builder.h"

namespace qwodel {

// Elementwise with broadcasting: add, sub, mul, minimum.
MilValue elementwise(MilBuilder& mil, std::string_view type, std::string_view name,
                     const MilValue& x, const MilValue& y);
// less, greater_equal: the result is bool.
MilValue compare(MilBuilder& mil, std::string_view type, std::string_view name, const MilValue& x,
                 const MilValue& y);
// silu, tanh, sigmoid, relu ...
MilValue unary(MilBuilder& mil, std::string_view type, std::string_view name, const MilValue& x);
// To fp16, fp32 or int32.
MilValue cast(MilBuilder& mil, std::string_view name, const MilValue& x, mil::DataType type);

// At most one extent may be flexible.
MilValue reshape(MilBuilder& mil, std::string_view name, const MilValue& x, const MilDims& dims);
MilValue transpose(MilBuilder& mil, std::string_view name, const MilValue& x,
                   const std::vector<std::int32_t>& order);
MilValue softmax(MilBuilder& mil, std::string_view name, const MilValue& x);
// dims: of the result.
MilValue matmul(MilBuilder& mil, std::string_view name, const MilValue& x, const MilValue& y,
                bool transpose_y, const MilDims& dims);

// One axis of a slice; the others are whole.
struct MilSlice {
  std::size_t axis = 0;
  MilValue begin;  // int32 [1]
  MilValue end;    // int32 [1]
  std::int64_t extent = kFlexible;
};
MilValue slice(MilBuilder& mil, std::string_view name, const MilValue& x, const MilSlice& axis);
// Columns [first, first + count) of the last axis.
MilValue columns(MilBuilder& mil, std::string_view name, const MilValue& x, std::uint64_t first,
                 std::uint64_t count);

// The extent of an axis at run time: int32 [1].
MilValue extent(MilBuilder& mil, std::string_view name, const MilValue& x, std::int32_t axis);

}  // namespace qwodel
