// Plain numbers: floats of 64, 32, 16 and 8 bits, integers, booleans. A value decodes to the
// nearest float; quantized_ is false even for 8-bit floats, which are a storage type of their own.
#include "sources/plain.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "core/half.h"
#include "kernels/convert.h"

namespace qwodel {
namespace {

template <class T>
void decode_cast(const std::byte* in, std::size_t count, float* out) {
  for (std::size_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, in + i * sizeof(T), sizeof(T));
    out[i] = static_cast<float>(value);
  }
}

template <>
void decode_cast<float>(const std::byte* in, std::size_t count, float* out) {
  if (count > 0) std::memcpy(out, in, count * sizeof(float));
}

// The kernels want aligned halves; a container may place them at odd addresses.
template <void (*kernel)(const std::uint16_t*, std::size_t, float*)>
void decode_16_bit(const std::byte* in, std::size_t count, float* out) {
  if (reinterpret_cast<std::uintptr_t>(in) % alignof(std::uint16_t) == 0) {
    kernel(reinterpret_cast<const std::uint16_t*>(in), count, out);
    return;
  }
  std::array<std::uint16_t, 2048> aligned;
  while (count > 0) {
    const std::size_t part = std::min(count, aligned.size());
    std::memcpy(aligned.data(), in, part * sizeof(std::uint16_t));
    kernel(aligned.data(), part, out);
    in += part * sizeof(std::uint16_t);
    out += part;
    count -= part;
  }
}

template <float (*convert)(std::uint8_t)>
void decode_8_bit(const std::byte* in, std::size_t count, float* out) {
  static constexpr auto kValues = [] {
    std::array<float, 256> values{};
    for (std::size_t i = 0; i < 256; ++i) values[i] = convert(static_cast<std::uint8_t>(i));
    return values;
  }();
  for (std::size_t i = 0; i < count; ++i) out[i] = kValues[static_cast<std::size_t>(in[i])];
}

void decode_boolean(const std::byte* in, std::size_t count, float* out) {
  for (std::size_t i = 0; i < count; ++i) out[i] = in[i] == std::byte{0} ? 0.0f : 1.0f;
}

using enum TensorType;
constexpr std::array<std::pair<TensorType, DecodeNumbers>, 15> kDecoders = {{
    {f32, decode_cast<float>},
    {f16, decode_16_bit<half_to_float>},
    {bf16, decode_16_bit<bfloat16_to_float>},
    {f64, decode_cast<double>},
    {i8, decode_cast<std::int8_t>},
    {i16, decode_cast<std::int16_t>},
    {i32, decode_cast<std::int32_t>},
    {i64, decode_cast<std::int64_t>},
    {u8, decode_cast<std::uint8_t>},
    {u16, decode_cast<std::uint16_t>},
    {u32, decode_cast<std::uint32_t>},
    {u64, decode_cast<std::uint64_t>},
    {boolean, decode_boolean},
    {f8_e4m3, decode_8_bit<float8_e4m3_to_float>},
    {f8_e5m2, decode_8_bit<float8_e5m2_to_float>},
}};

class PlainTensor final : public WeightTensor {
 public:
  explicit PlainTensor(const TensorInfo& tensor)
      : WeightTensor(tensor.name, tensor.shape, tensor.type, false),
        bytes_(tensor.bytes),
        width_(info(tensor.type).block_bytes),
        decode_(number_decoder(tensor.type)) {}

  void read(std::uint64_t first, std::span<float> out) const override {
    decode_(bytes_.data() + first * width_, out.size(), out.data());
  }

  std::span<const std::byte> raw() const override { return bytes_; }

  std::vector<std::span<const std::byte>> storage(std::uint64_t first,
                                                  std::uint64_t count) const override {
    return {bytes_.subspan(first * width_, count * width_)};
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t width_;
  DecodeNumbers decode_;
};

}  // namespace

DecodeNumbers number_decoder(TensorType type) {
  const auto row = std::ranges::find(kDecoders, type, &std::pair<TensorType, DecodeNumbers>::first);
  return row == kDecoders.end() ? nullptr : row->second;
}

std::vector<float> read_numbers(const TensorInfo& tensor) {
  std::vector<float> values(element_count(tensor.shape));
  number_decoder(tensor.type)(tensor.bytes.data(), values.size(), values.data());
  return values;
}

std::unique_ptr<WeightTensor> make_plain_tensor(const TensorInfo& tensor) {
  return std::make_unique<PlainTensor>(tensor);
}

}  // namespace qwodel
