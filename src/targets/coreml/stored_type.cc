#include "targets/coreml/stored_type.h"

#include <algorithm>
#include <array>

namespace qwodel {
namespace {

constexpr std::array kStored = {
    StoredType{mil::FLOAT16, BlobType::float16}, StoredType{mil::FLOAT32, BlobType::float32},
    StoredType{mil::UINT8, BlobType::uint8},     StoredType{mil::INT8, BlobType::int8},
    StoredType{mil::INT16, BlobType::int16},     StoredType{mil::UINT16, BlobType::uint16},
    StoredType{mil::INT4, BlobType::int4},       StoredType{mil::UINT1, BlobType::uint1},
    StoredType{mil::UINT2, BlobType::uint2},     StoredType{mil::UINT3, BlobType::uint3},
    StoredType{mil::UINT4, BlobType::uint4},     StoredType{mil::UINT6, BlobType::uint6},
    StoredType{mil::INT32, BlobType::int32},     StoredType{mil::UINT32, BlobType::uint32}};

}  // namespace

const StoredType* stored_type(mil::DataType type) {
  const auto* found = std::ranges::find(kStored, type, &StoredType::type);
  return found == kStored.end() ? nullptr : found;
}

}  // namespace qwodel
