#include "sources/transposed.h"

#include <algorithm>

namespace qwodel {
namespace {

class TransposedTensor final : public WeightTensor {
 public:
  explicit TransposedTensor(const WeightTensor& stored)
      : WeightTensor(stored.name(), {stored.shape()[1], stored.shape()[0]}, stored.type(),
                     stored.is_quantized()),
        stored_(stored) {}

  void read(std::uint64_t first, std::span<float> out) const override {
    const std::uint64_t cols = shape()[1];
    while (!out.empty()) {
      const std::uint64_t col = first % cols;
      // Whole rows together where there are any, else what is left of one.
      const std::uint64_t rows = col == 0 ? out.size() / cols : 0;
      const auto height = static_cast<std::size_t>(std::max<std::uint64_t>(rows, 1));
      const auto width = static_cast<std::size_t>(
          rows > 0 ? cols : std::min<std::uint64_t>(cols - col, out.size()));
      read_block(first / cols, col, height, width, out.data());
      first += height * width;
      out = out.subspan(height * width);
    }
  }

  // Any part of it touches nearly every page, so they stay until all of it was read.
  std::vector<std::span<const std::byte>> storage(std::uint64_t first,
                                                  std::uint64_t count) const override {
    if (count < shape()[0] * shape()[1]) return {};
    return stored_.storage(first, count);
  }

 private:
  // `height` x `width` values from (row, col), row-major.
  void read_block(std::uint64_t row, std::uint64_t col, std::size_t height, std::size_t width,
                  float* out) const {
    std::vector<float> column(height);
    for (std::size_t c = 0; c < width; ++c) {
      stored_.read((col + c) * shape()[0] + row, column);
      for (std::size_t r = 0; r < height; ++r) out[r * width + c] = column[r];
    }
  }

  const WeightTensor& stored_;
};

}  // namespace

std::unique_ptr<WeightTensor> make_transposed_tensor(const WeightTensor& stored) {
  return std::make_unique<TransposedTensor>(stored);
}

}  // namespace qwodel
