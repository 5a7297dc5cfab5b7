// Tensors that are encoded before their artifact: what is read of them is what the codec decodes.
#include "pipeline/encoded_tensors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "codecs/codec.h"
#include "qwodel/error.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

class EncodedTensorsTest : public testing::Test {
 protected:
  static constexpr std::size_t kRows = 5, kCols = 64;

  EncodedTensorsTest() {
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
      PlannedTensor planned;
      planned.input = i;
      planned.type = i == 0 ? TensorType::q8_0 : TensorType::q4_0;
      planned.bytes = *bytes_of(planned.type, element_count(inputs_[i].shape));
      planned.quantized = true;
      plan_.tensors.push_back(planned);
    }
    for (std::size_t i = 0; i < values_.size(); ++i) values_[i] = static_cast<float>(i % 37) - 18;
    blocks_.resize(static_cast<std::size_t>(plan_.tensors[1].bytes));
    find_codec(TensorType::q4_0)->encode(values_.data(), kRows, kCols, nullptr, blocks_.data());
  }

  EncodedTensors open(const std::string& key, bool resume) const {
    const EncodedTensors::Work work{temporary_.path() / "model.gguf", key, resume};
    return {work, inputs_, plan_, std::array<std::size_t, 2>{0, 1}, nullptr};
  }

  // A run that is interrupted when it has the second tensor.
  void interrupt() const {
    EncodedTensors encoded = open("key", false);
    encoded.write(1, 0, blocks_);
    encoded.finish(1);
    encoded.keep();
  }

  fs::path staging() const { return temporary_.path() / ".model.gguf.blocks.partial"; }

  const std::vector<PlanInput> inputs_ = {{"a", {2, 32}, TensorType::f32},
                                          {"b", {kRows, kCols}, TensorType::f32}};
  TensorPlan plan_;
  std::vector<float> values_ = std::vector<float>(kRows * kCols);
  std::vector<std::byte> blocks_;
  TempDirectory temporary_;
};

TEST_F(EncodedTensorsTest, ReadValuesAnywhereAndRowsForTiles) {
  {
    EncodedTensors encoded = open("key", false);
    std::vector<float> decoded(values_.size());
    find_codec(TensorType::q4_0)->decode(blocks_.data(), decoded.size(), decoded.data());
    const std::size_t row = blocks_.size() / kRows;
    encoded.write(1, 2, std::span(blocks_).subspan(2 * row));
    encoded.write(1, 0, std::span(blocks_).first(2 * row));
    EXPECT_FALSE(encoded.encodes({.tensor = 1, .first_row = 0, .rows = 1}));
    encoded.finish(1);
    EXPECT_TRUE(encoded.encodes({.tensor = 1, .first_row = 0, .rows = 1}));
    EXPECT_FALSE(encoded.encodes({.tensor = 0, .first_row = 0, .rows = 1}));

    std::vector<float> found(70);
    encoded.read(1, 61, found);
    EXPECT_TRUE(std::equal(found.begin(), found.end(), decoded.begin() + 61));
    std::vector<std::byte> rows(2 * row);
    encoded.encode({.tensor = 1, .first_row = 3, .rows = 2}, {}, rows.data());
    EXPECT_TRUE(std::equal(rows.begin(), rows.end(),
                           blocks_.begin() + static_cast<std::ptrdiff_t>(3 * row)));
  }
  EXPECT_TRUE(fs::is_empty(temporary_.path()));
}

TEST_F(EncodedTensorsTest, AnotherRunGoesOnWithWhatWasKept) {
  interrupt();
  {
    EncodedTensors encoded = open("key", true);
    EXPECT_FALSE(encoded.finished(0));
    ASSERT_TRUE(encoded.finished(1));
    std::vector<std::byte> found(blocks_.size());
    encoded.encode({.tensor = 1, .first_row = 0, .rows = kRows}, {}, found.data());
    EXPECT_EQ(found, blocks_);
  }
  EXPECT_TRUE(fs::is_empty(temporary_.path()));
}

TEST_F(EncodedTensorsTest, BlocksThatTheDiskLostAreNotFinished) {
  interrupt();
  fs::resize_file(staging() / "blocks", 0);
  fs::resize_file(staging() / "blocks", plan_.tensors[0].bytes + plan_.tensors[1].bytes);
  EXPECT_FALSE(open("key", true).finished(1));
}

TEST_F(EncodedTensorsTest, OnlyTheSameRunGoesOn) {
  interrupt();
  EXPECT_FALSE(open("key", false).finished(1));
  interrupt();
  EXPECT_THROW(open("other", true), ValidationError);
}

}  // namespace
}  // namespace qwodel
