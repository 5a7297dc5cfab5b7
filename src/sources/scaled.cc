#include "sources/scaled.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "qwodel/error.h"
#include "sources/parts.h"
#include "sources/plain.h"

namespace qwodel {
namespace {

// How scales lie over the matrices of a tensor.
struct Layout {
  std::uint64_t rows = 1;  // of one matrix
  std::uint64_t cols = 1;
  std::uint64_t height = 1;  // of a block
  std::uint64_t width = 1;
  std::uint64_t scale_rows = 1;  // of one matrix of scales
  std::uint64_t scale_cols = 1;
};

class ScaledTensor final : public WeightTensor {
 public:
  ScaledTensor(const ScaledParts& parts, const Layout& layout)
      : WeightTensor(parts.weight->name, parts.weight->shape, TensorType::f32, true),
        parts_(parts),
        layout_(layout) {}

  void read(std::uint64_t first, std::span<float> out) const override {
    const TensorInfo& weight = *parts_.weight;
    const std::size_t width = info(weight.type).block_bytes;
    number_decoder(weight.type)(weight.bytes.data() + first * width, out.size(), out.data());
    std::vector<float> scales(layout_.scale_cols);
    std::vector<float> zeros(layout_.scale_cols, 0.0f);
    while (!out.empty()) {
      const std::uint64_t row = first / layout_.cols;
      const std::uint64_t col = first % layout_.cols;
      const std::size_t part = std::min<std::uint64_t>(layout_.cols - col, out.size());
      load_row(*parts_.scale, row, scales);
      if (parts_.zero != nullptr) load_row(*parts_.zero, row, zeros);
      scale_run(col, out.first(part), scales, zeros);
      first += part;
      out = out.subspan(part);
    }
  }

  std::vector<std::span<const std::byte>> storage(std::uint64_t first,
                                                  std::uint64_t count) const override {
    const std::size_t width = info(parts_.weight->type).block_bytes;
    return {parts_.weight->bytes.subspan(first * width, count * width), parts_.scale->bytes};
  }

 private:
  // The scales over row `row`, counted through all matrices.
  void load_row(const TensorInfo& part, std::uint64_t row, std::vector<float>& values) const {
    const std::uint64_t matrix = row / layout_.rows;
    const std::uint64_t scale_row =
        matrix * layout_.scale_rows + row % layout_.rows / layout_.height;
    const std::uint64_t at = scale_row * layout_.scale_cols * info(part.type).block_bytes;
    number_decoder(part.type)(part.bytes.data() + at, values.size(), values.data());
  }

  void scale_run(std::uint64_t col, std::span<float> run, const std::vector<float>& scales,
                 const std::vector<float>& zeros) const {
    for (std::size_t i = 0; i < run.size();) {
      const std::uint64_t block = (col + i) / layout_.width;
      const std::size_t end =
          std::min<std::uint64_t>(run.size(), (block + 1) * layout_.width - col);
      const float scale = scales[block];
      const float zero = zeros[block];
      for (; i < end; ++i) run[i] = (run[i] - zero) * scale;
    }
  }

  ScaledParts parts_;
  Layout layout_;
};

std::uint64_t blocks(std::uint64_t extent, std::uint64_t block) {
  return extent / block + (extent % block != 0 ? 1 : 0);
}

// One scale for everything, one per matrix, one per row, or one per block: what the shape of the
// scale allows. Trailing dimensions of one value are the same as none.
std::optional<Layout> find_layout(const std::vector<std::uint64_t>& shape,
                                  std::vector<std::uint64_t> scale, ScaleBlock block) {
  Layout layout;
  layout.cols = shape.back();
  layout.rows = shape[shape.size() - 2];
  const std::vector<std::uint64_t> leading(shape.begin(), shape.end() - 2);
  const auto scales_of = [&](std::uint64_t rows, std::uint64_t cols) {
    std::vector<std::uint64_t> expected = leading;
    expected.push_back(rows);
    expected.push_back(cols);
    return expected;
  };
  scale.resize(std::max(scale.size(), shape.size()), 1);
  const bool single = std::ranges::all_of(scale, [](std::uint64_t n) { return n == 1; });
  if (block.height > 0) {
    layout.height = block.height;
    layout.width = block.width;
  } else if (single) {
    layout.rows *= element_count(leading);
    layout.height = std::max<std::uint64_t>(layout.rows, 1);
    layout.width = std::max<std::uint64_t>(layout.cols, 1);
    return layout;
  } else if (scale == scales_of(1, 1)) {
    layout.height = std::max<std::uint64_t>(layout.rows, 1);
    layout.width = std::max<std::uint64_t>(layout.cols, 1);
  } else {
    const std::uint64_t groups = scale.back();
    if (groups == 0) return std::nullopt;
    layout.width = block.width > 0 ? block.width : std::max<std::uint64_t>(layout.cols / groups, 1);
  }
  layout.scale_rows = blocks(layout.rows, layout.height);
  layout.scale_cols = blocks(layout.cols, layout.width);
  if (scale != scales_of(layout.scale_rows, layout.scale_cols)) return std::nullopt;
  return layout;
}

}  // namespace

std::unique_ptr<WeightTensor> make_scaled_tensor(const ScaledParts& parts, ScaleBlock block) {
  const TensorInfo& weight = *parts.weight;
  const TensorInfo& scale = *parts.scale;
  const auto layout =
      weight.shape.size() < 2 ? std::nullopt : find_layout(weight.shape, scale.shape, block);
  if (!layout) {
    throw ValidationError(
        {.where = fmt::format("tensor \"{}\"", scale.name),
         .found = "shape " + shape_text(scale.shape),
         .expected = fmt::format("one scale per block, row or tensor of a weight {}",
                                 shape_text(weight.shape)),
         .remedy = "check quantization_config in config.json"});
  }
  expect_part(scale, scale.shape, {TensorType::f32, TensorType::bf16, TensorType::f16});
  if (parts.zero != nullptr) {
    expect_part(*parts.zero, scale.shape,
                {TensorType::i8, TensorType::u8, TensorType::i32, weight.type});
  }
  return std::make_unique<ScaledTensor>(parts, *layout);
}

}  // namespace qwodel
