// GGUF artifacts whose tensors are encoded with error feedback.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "qwodel/error.h"
#include "qwodel/quantize.h"
#include "tests/formats/temp_directory.h"
#include "tests/pipeline/tiny_llama.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

class GgufFeedbackJob : public testing::TestWithParam<const char*> {
 protected:
  QuantizeOptions options(const std::string& method, const std::string& name) {
    QuantizeOptions result;
    result.model = directory_ / "model";
    result.output = directory_ / (name + ".gguf");
    result.targets = {GetParam()};
    result.method = method;
    result.calibration = {.text = "builtin", .samples = 6, .seq_len = 64};
    return result;
  }

  static std::string bytes_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TempDirectory temporary_;
  fs::path directory_ = temporary_.path();
};

TEST_P(GgufFeedbackJob, WritesTheSameTypesInAsManyBytes) {
  TinyLlama().write(directory_ / "model");
  const auto plain = quantize(options("search", "plain")).artifacts[0];
  const auto fed_back = quantize(options("gptq", "gptq")).artifacts[0];
  EXPECT_EQ(fs::file_size(directory_ / "plain.gguf"), fs::file_size(directory_ / "gptq.gguf"));
  ASSERT_EQ(plain.tensors.size(), fed_back.tensors.size());
  std::size_t changed = 0;
  for (std::size_t i = 0; i < plain.tensors.size(); ++i) {
    EXPECT_EQ(plain.tensors[i].type, fed_back.tensors[i].type);
    EXPECT_EQ(plain.tensors[i].bytes, fed_back.tensors[i].bytes);
    if (fed_back.tensors[i].method != "gptq") {
      EXPECT_EQ(plain.tensors[i].nmse, fed_back.tensors[i].nmse) << plain.tensors[i].name;
      continue;
    }
    ++changed;
    EXPECT_NE(plain.tensors[i].nmse, fed_back.tensors[i].nmse) << plain.tensors[i].name;
  }
  EXPECT_EQ(changed, 2 * 7u + 1);  // of the layers, and the head
}

TEST_P(GgufFeedbackJob, ThreadsChangeNoByte) {
  TinyLlama().write(directory_ / "model");
  QuantizeOptions one = options("gptq", "one");
  one.threads = 1;
  quantize(one);
  QuantizeOptions two = options("gptq", "two");
  two.threads = 2;
  quantize(two);
  EXPECT_TRUE(bytes_of(directory_ / "one.gguf") == bytes_of(directory_ / "two.gguf"));
}

INSTANTIATE_TEST_SUITE_P(Targets, GgufFeedbackJob,
                         testing::Values("gguf:Q2_K", "gguf:Q4_K_M", "gguf:IQ4_XS", "gguf:Q4_0"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::ranges::replace(name, ':', '_');
                           return name;
                         });

}  // namespace
}  // namespace qwodel
