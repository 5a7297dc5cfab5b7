// Tensors that are encoded before their artifact: what is read of them is what the codec decodes.
#include "pipeline/encoded_tensors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "codecs/codec.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

TEST(EncodedTensors, ReadValuesAnywhereAndRowsForTiles) {
  constexpr std::size_t kRows = 5, kCols = 64;
  const std::vector<PlanInput> inputs = {{"a", {2, 32}, TensorType::f32},
                                         {"b", {kRows, kCols}, TensorType::f32}};
  TensorPlan plan;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    PlannedTensor planned;
    planned.input = i;
    planned.type = i == 0 ? TensorType::q8_0 : TensorType::q4_0;
    planned.bytes = *bytes_of(planned.type, element_count(inputs[i].shape));
    planned.quantized = true;
    plan.tensors.push_back(planned);
  }
  const TempDirectory temporary;
  EncodedTensors encoded(temporary.path() / "model.gguf", inputs, plan,
                         std::array<std::size_t, 2>{0, 1}, nullptr);
  std::vector<float> values(kRows * kCols);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 37) - 18.0f;
  const Codec& codec = *find_codec(TensorType::q4_0);
  std::vector<std::byte> blocks(static_cast<std::size_t>(plan.tensors[1].bytes));
  codec.encode(values.data(), kRows, kCols, nullptr, blocks.data());
  std::vector<float> decoded(values.size());
  codec.decode(blocks.data(), decoded.size(), decoded.data());

  const std::size_t row = blocks.size() / kRows;
  encoded.write(1, 2, std::span(blocks).subspan(2 * row));
  encoded.write(1, 0, std::span(blocks).first(2 * row));
  EXPECT_FALSE(encoded.encodes({.tensor = 1, .first_row = 0, .rows = 1}));
  encoded.finish(1);
  EXPECT_TRUE(encoded.encodes({.tensor = 1, .first_row = 0, .rows = 1}));
  EXPECT_FALSE(encoded.encodes({.tensor = 0, .first_row = 0, .rows = 1}));

  std::vector<float> found(70);
  encoded.read(1, 61, found);
  EXPECT_TRUE(std::equal(found.begin(), found.end(), decoded.begin() + 61));
  std::vector<std::byte> rows(2 * row);
  encoded.encode({.tensor = 1, .first_row = 3, .rows = 2}, {}, rows.data());
  EXPECT_TRUE(
      std::equal(rows.begin(), rows.end(), blocks.begin() + static_cast<std::ptrdiff_t>(3 * row)));
  EXPECT_TRUE(std::filesystem::is_empty(temporary.path()));
}

}  // namespace
}  // namespace qwodel
