// Quantized, torch and GGUF checkpoints decode to what the programs that define them decode.
// Files and expectations: tools/golden/make_source_goldens.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "sources/weights.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

const fs::path kGoldens = fs::path(QWODEL_SOURCE_DIR) / "tests/golden/sources";

std::vector<std::string> cases() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(kGoldens)) {
    if (fs::exists(entry.path() / "expected.safetensors")) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::ranges::sort(names);
  return names;
}

std::vector<std::string> lines(const fs::path& path) {
  std::vector<std::string> found;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) found.push_back(line);
  return found;
}

bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size_bytes()) == 0);
}

class GoldenSource : public testing::TestWithParam<std::string> {
 protected:
  GoldenSource()
      : folder_(kGoldens / GetParam()),
        checkpoint_(
            open_checkpoint(fs::exists(folder_ / "model.gguf") ? folder_ / "model.gguf" : folder_)),
        weights_(*checkpoint_),
        expected_file_(open_checkpoint(folder_ / "expected.safetensors")) {}

  std::span<const float> expected(const std::string& name) const {
    const TensorInfo* tensor = expected_file_->find(name);
    if (tensor == nullptr) return {};
    return {reinterpret_cast<const float*>(tensor->bytes.data()), element_count(tensor->shape)};
  }

  fs::path folder_;
  std::unique_ptr<Checkpoint> checkpoint_;
  Weights weights_;
  std::unique_ptr<Checkpoint> expected_file_;
};

TEST_P(GoldenSource, NamesAndShapes) {
  std::vector<std::string> names;
  for (const auto& tensor : weights_.tensors()) {
    names.push_back(tensor->name());
    const TensorInfo* stored = expected_file_->find(tensor->name());
    ASSERT_NE(stored, nullptr) << tensor->name();
    EXPECT_EQ(tensor->shape(), stored->shape) << tensor->name();
    EXPECT_EQ(weights_.find(tensor->name()), tensor.get());
  }
  EXPECT_EQ(names, lines(folder_ / "expected_names.txt"));
}

TEST_P(GoldenSource, Values) {
  for (const auto& tensor : weights_.tensors()) {
    const auto want = expected(tensor->name());
    std::vector<float> values(want.size());
    tensor->read(0, values);
    EXPECT_TRUE(same_bits(values, want)) << tensor->name();
  }
}

TEST_P(GoldenSource, AnyPart) {
  for (const auto& tensor : weights_.tensors()) {
    const auto want = expected(tensor->name());
    for (std::size_t first = 0; first < want.size(); first = first * 3 / 2 + 1) {
      for (std::size_t count : {1u, 3u, 17u, 33u, 100u, 1000u}) {
        count = std::min<std::size_t>(count, want.size() - first);
        std::vector<float> values(count);
        tensor->read(first, values);
        ASSERT_TRUE(same_bits(values, want.subspan(first, count)))
            << tensor->name() << " from " << first << ", " << count;
      }
    }
  }
}

TEST_P(GoldenSource, StoredBytesAreWhatIsThere) {
  for (const auto& tensor : weights_.tensors()) {
    const std::uint64_t count = element_count(tensor->shape());
    const auto bytes = bytes_of(tensor->type(), count);
    ASSERT_TRUE(bytes.has_value());
    const TensorInfo* stored = checkpoint_->find(tensor->name());
    if (tensor->raw().empty()) {
      EXPECT_TRUE(count == 0 || (tensor->is_quantized() && tensor->type() == TensorType::f32))
          << tensor->name();
    } else {
      ASSERT_NE(stored, nullptr);
      EXPECT_EQ(tensor->raw().size(), *bytes);
      EXPECT_EQ(tensor->raw().data(), stored->bytes.data());
      EXPECT_EQ(tensor->type(), stored->type);
    }
    for (const auto part : tensor->storage(0, count)) {
      const auto inside = [&](const TensorInfo& whole) {
        return part.data() >= whole.bytes.data() &&
               part.data() + part.size() <= whole.bytes.data() + whole.bytes.size();
      };
      EXPECT_TRUE(part.empty() || std::ranges::any_of(checkpoint_->tensors(), inside));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Sources, GoldenSource, testing::ValuesIn(cases()), [](const auto& suite) {
  std::string name = suite.param;
  std::ranges::replace(name, '-', '_');
  return name;
});

}  // namespace
}  // namespace qwodel
