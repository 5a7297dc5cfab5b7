// F32, F16, BF16: values as they are. 32, 16 and 16 bits per weight.
#include <cstring>

#include "codecs/codec.h"
#include "kernels/convert.h"

namespace qwodel {
namespace {

void encode_f32(const float* values, std::size_t rows, std::size_t cols,
                const float* /*importance*/, std::byte* out) {
  std::memcpy(out, values, rows * cols * sizeof(float));
}

void decode_f32(const std::byte* in, std::size_t count, float* values) {
  std::memcpy(values, in, count * sizeof(float));
}

void encode_f16(const float* values, std::size_t rows, std::size_t cols,
                const float* /*importance*/, std::byte* out) {
  float_to_half(values, rows * cols, reinterpret_cast<std::uint16_t*>(out));
}

void decode_f16(const std::byte* in, std::size_t count, float* values) {
  half_to_float(reinterpret_cast<const std::uint16_t*>(in), count, values);
}

void encode_bf16(const float* values, std::size_t rows, std::size_t cols,
                 const float* /*importance*/, std::byte* out) {
  float_to_bfloat16(values, rows * cols, reinterpret_cast<std::uint16_t*>(out));
}

void decode_bf16(const std::byte* in, std::size_t count, float* values) {
  bfloat16_to_float(reinterpret_cast<const std::uint16_t*>(in), count, values);
}

}  // namespace

extern constinit const Codec codec_f32{
    .type = TensorType::f32, .encode = encode_f32, .decode = decode_f32};
extern constinit const Codec codec_f16{
    .type = TensorType::f16, .encode = encode_f16, .decode = decode_f16};
extern constinit const Codec codec_bf16{
    .type = TensorType::bf16, .encode = encode_bf16, .decode = decode_bf16};

}  // namespace qwodel
