// GGUF artifacts of a real model whose channels are scaled before they are encoded, and whose
// tensors are encoded one after the other.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "qwodel/calibrate.h"
#include "qwodel/evaluate.h"
#include "qwodel/quantize.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

class GgufCalibrationJob : public testing::Test {
 protected:
  QuantizeOptions options(const std::string& name, const std::string& method,
                          const std::string& type = "Q4_0") const {
    QuantizeOptions result;
    result.model = model_;
    result.targets = {"gguf:" + type};
    result.output = path_of(name);
    result.method = method;
    result.calibration.text = text_;
    result.calibration.samples = 16;
    result.calibration.seq_len = 128;
    return result;
  }

  double divergence(const std::string& name) const {
    EvaluateOptions evaluation;
    evaluation.run.model = path_of(name);
    evaluation.run.compute = "f32";
    evaluation.text = fs::path(QWODEL_SOURCE_DIR) / "data/own.txt";
    evaluation.context = 128;
    evaluation.chunks = 8;
    evaluation.against = model_;
    return evaluate(evaluation).divergence->mean.value;
  }

  fs::path path_of(const std::string& name) const {
    return temporary_.path() / "out" / (name + ".gguf");
  }

  std::string bytes_of(const std::string& name) const {
    std::ifstream file(path_of(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  static const TensorReport& tensor(const QuantizeReport& report, const std::string& name) {
    return *std::ranges::find(report.artifacts.at(0).tensors, name, &TensorReport::name);
  }

  fs::path model_ = fs::path(QWODEL_SOURCE_DIR) / "models" / "stories260K";
  fs::path text_ = fs::path(QWODEL_SOURCE_DIR) / "tests/data/alice.txt";
  TempDirectory temporary_;
};

TEST_F(GgufCalibrationJob, ScalesLeaveTheModelAsItIs) {
  quantize(options("search", "search", "Q8_0"));
  const QuantizeReport report = quantize(options("awq", "awq", "Q8_0"));
  EXPECT_NE(bytes_of("search"), bytes_of("awq"));
  EXPECT_EQ(tensor(report, "blk.0.attn_q.weight").method.substr(0, 4), "awq+");
  EXPECT_EQ(tensor(report, "token_embd.weight").method.find("awq"), std::string::npos);
  // A norm without the inverse of its linears' scales would leave nothing of the model.
  EXPECT_LT(divergence("awq"), 3 * divergence("search"));
  EXPECT_GT(divergence("awq"), 0.1 * divergence("search"));
}

TEST_F(GgufCalibrationJob, ComesCloserWithEveryStep) {
  quantize(options("search", "search"));
  QuantizeOptions one_pass = options("one_pass", "gptq");
  one_pass.true_sequential = false;
  quantize(one_pass);
  quantize(options("gptq", "gptq"));
  const double search = divergence("search");
  const double fed_back = divergence("one_pass");
  const double sequential = divergence("gptq");
  EXPECT_LT(fed_back, 0.95 * search);
  EXPECT_LT(sequential, fed_back);
  EXPECT_GT(sequential, 0.2 * search);
}

TEST_F(GgufCalibrationJob, TheFirstTensorsAreThoseOfOnePass) {
  QuantizeOptions one_pass = options("one_pass", "gptq");
  one_pass.true_sequential = false;
  const QuantizeReport first = quantize(one_pass);
  const QuantizeReport second = quantize(options("gptq", "gptq"));
  ASSERT_EQ(first.artifacts[0].tensors.size(), second.artifacts[0].tensors.size());
  EXPECT_EQ(tensor(second, "blk.0.attn_q.weight").method, "gptq");
  // Sums over other batches turn a tie now and then.
  const double expected = *tensor(first, "blk.0.attn_q.weight").nmse;
  EXPECT_NEAR(*tensor(second, "blk.0.attn_q.weight").nmse, expected, 0.002 * expected);
  EXPECT_NE(tensor(first, "blk.4.attn_q.weight").nmse, tensor(second, "blk.4.attn_q.weight").nmse);
  EXPECT_EQ(fs::file_size(path_of("one_pass")), fs::file_size(path_of("gptq")));
}

TEST_F(GgufCalibrationJob, ThreadsChangeNoByteAndNothingIsLeft) {
  for (const int threads : {1, 2}) {
    QuantizeOptions run = options(std::to_string(threads), "awq+gptq");
    run.threads = threads;
    quantize(run);
  }
  EXPECT_TRUE(bytes_of("1") == bytes_of("2"));
  std::size_t files = 0;
  for (const auto& entry : fs::directory_iterator(temporary_.path() / "out")) {
    EXPECT_EQ(entry.path().extension(), ".gguf") << entry.path();
    ++files;
  }
  EXPECT_EQ(files, 2u);
}

}  // namespace
}  // namespace qwodel
