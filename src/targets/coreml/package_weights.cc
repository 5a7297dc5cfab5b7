#include "targets/coreml/package_weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/half.h"

namespace qwodel {
namespace {

template <class T>
void read_as(std::span<const std::byte> bytes, std::uint64_t first, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + (static_cast<std::size_t>(first) + i) * sizeof(T),
                sizeof(T));
    out[i] = static_cast<float>(value);
  }
}

void read_halves(std::span<const std::byte> bytes, std::uint64_t first, std::span<float> out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t half;
    std::memcpy(&half, bytes.data() + (static_cast<std::size_t>(first) + i) * 2, 2);
    out[i] = half_to_float(half);
  }
}

// Codes of less than 8 bits, which may lie across two bytes.
void read_bits(std::span<const std::byte> bytes, unsigned bits, bool is_signed, std::uint64_t first,
               std::span<float> out) {
  const unsigned mask = (1u << bits) - 1;
  const int sign = 1 << (bits - 1);
  std::uint64_t at = first * bits;
  for (float& value : out) {
    const auto byte = static_cast<std::size_t>(at / 8);
    const auto shift = static_cast<unsigned>(at % 8);
    unsigned word = std::to_integer<unsigned>(bytes[byte]) >> shift;
    if (shift + bits > 8) word |= std::to_integer<unsigned>(bytes[byte + 1]) << (8 - shift);
    const auto code = static_cast<int>(word & mask);
    value = static_cast<float>(is_signed ? (code ^ sign) - sign : code);
    at += bits;
  }
}

}  // namespace

void StoredNumbers::read(std::uint64_t first, std::span<float> out) const {
  switch (type) {
    case BlobType::float16:
      return read_halves(bytes, first, out);
    case BlobType::float32:
      return read_as<float>(bytes, first, out);
    case BlobType::uint8:
      return read_as<std::uint8_t>(bytes, first, out);
    case BlobType::int8:
      return read_as<std::int8_t>(bytes, first, out);
    case BlobType::uint16:
      return read_as<std::uint16_t>(bytes, first, out);
    case BlobType::int16:
      return read_as<std::int16_t>(bytes, first, out);
    case BlobType::uint32:
      return read_as<std::uint32_t>(bytes, first, out);
    case BlobType::int32:
      return read_as<std::int32_t>(bytes, first, out);
    default:
      return read_bits(bytes, info(type).bits, type == BlobType::int4, first, out);
  }
}

float StoredNumbers::at(std::uint64_t index) const {
  float value = 0;
  read(index, {&value, 1});
  return value;
}

std::vector<std::span<const std::byte>> PackageWeight::parts() const {
  std::vector<std::span<const std::byte>> all = {codes_.bytes};
  for (const auto& part : {scales_, offsets_, tables_}) {
    if (part) all.push_back(part->bytes);
  }
  return all;
}

std::string PackageWeight::type() const {
  std::string name(info(codes_.type).name);
  for (const auto& part : {scales_, offsets_, tables_}) {
    if (part) name += fmt::format("+{}", info(part->type).name);
  }
  return name;
}

std::uint64_t PackageWeight::bytes() const {
  std::uint64_t total = 0;
  for (const auto part : parts()) total += part.size();
  return total;
}

bool PackageWeight::is_float() const {
  return scales_ || tables_ || codes_.type == BlobType::float16 || codes_.type == BlobType::float32;
}

void PackageWeight::read(std::uint64_t first, std::span<float> out) const {
  codes_.read(first, out);
  if (scales_) apply_scales(first, out);
  if (tables_) apply_tables(first, out);
}

// The group of a value where each axis is cut into that many equal parts.
std::uint64_t PackageWeight::group_of(const std::vector<std::uint64_t>& groups,
                                      std::uint64_t index) const {
  std::uint64_t group = 0;
  std::uint64_t stride = 1;
  for (std::size_t axis = codes_.shape.size(); axis-- > 0;) {
    const std::uint64_t extent = codes_.shape[axis];
    group += index % extent / (extent / groups[axis]) * stride;
    stride *= groups[axis];
    index /= extent;
  }
  return group;
}

// Neighbours on the last axis share a group, so groups are looked up once for each run.
void PackageWeight::apply_scales(std::uint64_t first, std::span<float> values) const {
  const std::uint64_t run = codes_.shape.back() / scales_->shape.back();
  for (std::size_t i = 0; i < values.size();) {
    const std::uint64_t index = first + i;
    const auto count =
        static_cast<std::size_t>(std::min<std::uint64_t>(run - index % run, values.size() - i));
    const std::uint64_t group = group_of(scales_->shape, index);
    const float scale = scales_->at(group);
    const float offset = offsets_ ? offsets_->at(group) : 0;
    for (float& value : values.subspan(i, count)) {
      value = half_to_float(float_to_half(scale * (value - offset)));
    }
    i += count;
  }
}

void PackageWeight::apply_tables(std::uint64_t first, std::span<float> values) const {
  const std::uint64_t run = codes_.shape.back() / tables_->shape.back();
  std::vector<float> table(static_cast<std::size_t>(entries_));
  std::optional<std::uint64_t> now;
  for (std::size_t i = 0; i < values.size();) {
    const std::uint64_t index = first + i;
    const auto count =
        static_cast<std::size_t>(std::min<std::uint64_t>(run - index % run, values.size() - i));
    const std::uint64_t group = group_of(tables_->shape, index);
    if (now != group) tables_->read(group * entries_, table);
    now = group;
    for (float& value : values.subspan(i, count)) value = table[static_cast<std::size_t>(value)];
    i += count;
  }
}

}  // namespace qwodel
