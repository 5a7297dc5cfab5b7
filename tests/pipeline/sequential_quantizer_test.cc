// Whole runs of true-sequential GPTQ on a real model.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "io/json.h"
#include "qwodel/error.h"
#include "qwodel/evaluate.h"
#include "qwodel/quantize.h"
#include "tests/formats/temp_directory.h"
#include "tests/pipeline/tiny_llama.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

class SequentialGptq : public testing::Test {
 protected:
  QuantizeOptions options(const std::string& name, const std::string& method) const {
    QuantizeOptions result;
    result.model = model_;
    result.targets = {"ct:W3A16-g32"};
    result.tensor_types = {"down_proj=none"};  // of 172 columns
    result.output = temporary_.path() / name;
    result.method = method;
    result.calibration.text = calibration_text_;
    result.calibration.samples = 16;
    result.calibration.seq_len = 128;
    if (method == "rtn") result.calibration.text.clear();
    return result;
  }

  double divergence(const std::string& name, const fs::path& text) const {
    EvaluateOptions evaluation;
    evaluation.run.model = temporary_.path() / name;
    evaluation.text = text;
    evaluation.context = 128;
    evaluation.chunks = 8;
    evaluation.against = model_;
    return evaluate(evaluation).divergence->mean.value;
  }

  std::string weights(const std::string& name) const {
    std::ifstream file(temporary_.path() / name / "model.safetensors", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  fs::path calibration_text_ = fs::path(QWODEL_SOURCE_DIR) / "tests/data/alice.txt";
  fs::path model_ = fs::path(QWODEL_SOURCE_DIR) / "models" / "stories260K";
  TempDirectory temporary_;
};

TEST_F(SequentialGptq, IsCloserToTheModelThanRounding) {
  quantize(options("rtn", "rtn"));
  quantize(options("gptq", "gptq"));
  const fs::path text = fs::path(QWODEL_SOURCE_DIR) / "data/own.txt";
  const double sequential = divergence("gptq", text);
  EXPECT_GT(sequential, 0);
  EXPECT_LT(sequential, 0.7 * divergence("rtn", text));
}

// On the text that both minimize their error on: 0.71 to 0.84 of it for four sets of samples, in
// f32 and in bf16. On another text a model this small leaves less: 0.86 to 0.99.
TEST_F(SequentialGptq, MakesUpForEarlierLinears) {
  quantize(options("gptq", "gptq"));
  QuantizeOptions one_shot = options("one_shot", "gptq");
  one_shot.true_sequential = false;
  quantize(one_shot);
  const double sequential = divergence("gptq", calibration_text_);
  EXPECT_GT(sequential, 0);
  EXPECT_LT(sequential, 0.9 * divergence("one_shot", calibration_text_));
}

TEST_F(SequentialGptq, ThreadsDoNotChangeAByte) {
  QuantizeOptions one = options("one", "awq+gptq");
  one.threads = 1;
  QuantizeOptions two = options("two", "awq+gptq");
  two.threads = 2;
  quantize(one);
  quantize(two);
  EXPECT_FALSE(weights("one").empty());
  EXPECT_EQ(weights("one"), weights("two"));
}

TEST_F(SequentialGptq, AnInterruptedRunGoesOnToTheSameBytes) {
  const QuantizeReport whole = quantize(options("whole", "gptq"));
  QuantizeOptions part = options("part", "gptq");
  CancelToken cancel;
  part.cancel = &cancel;
  part.progress = [&](const Progress& progress) {
    if (progress.stage == "layer 2") cancel.cancel();
  };
  EXPECT_THROW(quantize(part), Error);
  EXPECT_FALSE(fs::exists(part.output));
  part.cancel = nullptr;
  part.progress = {};
  part.resume = true;
  const QuantizeReport resumed = quantize(part);
  EXPECT_FALSE(weights("whole").empty());
  EXPECT_EQ(weights("whole"), weights("part"));
  for (std::size_t i = 0; i < whole.artifacts[0].tensors.size(); ++i) {
    const auto& expected = whole.artifacts[0].tensors[i].calibrated;
    const auto& found = resumed.artifacts[0].tensors[i].calibrated;
    ASSERT_EQ(found.has_value(), expected.has_value());
    if (found) {
      EXPECT_EQ(found->loss_after, expected->loss_after);
    }
  }
}

// Hidden states of most batches are in a file then, and batches are smaller.
TEST_F(SequentialGptq, AMemoryCapChangesRoundingsOnly) {
  QuantizeOptions capped = options("capped", "gptq");
  capped.max_memory = 1 << 20;
  const QuantizeReport expected = quantize(options("whole", "gptq"));
  const QuantizeReport found = quantize(capped);
  double difference = 0;
  double total = 0;
  for (std::size_t i = 0; i < expected.artifacts[0].tensors.size(); ++i) {
    const auto& wanted = expected.artifacts[0].tensors[i].calibrated;
    if (!wanted) continue;
    total += *wanted->loss_after;
    difference +=
        std::abs(*found.artifacts[0].tensors[i].calibrated->loss_after - *wanted->loss_after);
  }
  EXPECT_GT(total, 0);
  EXPECT_LT(difference, 0.02 * total);
}

// Phases do not overlap, and are parts of the run.
TEST_F(SequentialGptq, ReportsWhereTheTimeWent) {
  const QuantizeReport report = quantize(options("whole", "awq+gptq"));
  std::vector<std::string> names;
  double seconds = 0;
  for (const PhaseTime& phase : report.artifacts[0].phases) {
    names.push_back(phase.name);
    EXPECT_GT(phase.seconds, 0) << phase.name;
    seconds += phase.seconds;
  }
  EXPECT_EQ(names,
            (std::vector<std::string>{"channel scales", "model", "original model", "second moments",
                                      "mismatch", "factorization", "scale search", "feedback",
                                      "report", "writing", "verification"}));
  EXPECT_LE(seconds, report.seconds);
}

// Every linear with what was done to it.
TEST_F(SequentialGptq, ReportsEveryLinear) {
  const QuantizeReport report = quantize(options("whole", "awq+gptq"));
  double before = 0;
  double after = 0;
  std::size_t scaled = 0;
  std::size_t linears = 0;
  for (const TensorReport& row : report.artifacts[0].tensors) {
    EXPECT_EQ(row.calibrated.has_value(), row.method != "copy") << row.name;
    if (!row.calibrated) continue;
    ++linears;
    EXPECT_EQ(row.calibrated->tokens, 16 * 128u);
    EXPECT_EQ(row.calibrated->damp_percent, 0.01);
    ASSERT_TRUE(row.calibrated->loss_before && row.calibrated->loss_after) << row.name;
    EXPECT_GT(*row.calibrated->loss_after, 0) << row.name;
    EXPECT_LT(*row.calibrated->loss_after, *row.calibrated->loss_before) << row.name;
    EXPECT_LT(*row.calibrated->loss_before, 1) << row.name;
    before += *row.calibrated->loss_before;
    after += *row.calibrated->loss_after;
    EXPECT_FALSE(row.calibrated->scale_refused) << row.name;
    scaled += row.calibrated->scale_ratio.value_or(0) > 0 ? 1 : 0;
  }
  EXPECT_EQ(linears, 5 * 6u);
  EXPECT_LT(after, 0.6 * before);
  EXPECT_GT(scaled, 5u);
}

// Readers of a GPTQ directory are told how it was made.
TEST_F(SequentialGptq, DampingIsInTheConfig) {
  QuantizeOptions gptq = options("gptq", "gptq");
  gptq.targets = {"gptq:4bit-g32"};
  gptq.tensor_types = {};
  TinyLlama().write(temporary_.path() / "model");
  gptq.model = temporary_.path() / "model";
  quantize(gptq);
  const Json config = read_json(temporary_.path() / "gptq/config.json")["quantization_config"];
  EXPECT_EQ(config["damp_percent"], 0.01);
  EXPECT_EQ(config["true_sequential"], true);
  EXPECT_EQ(config, read_json(temporary_.path() / "gptq/quantize_config.json"));
  gptq.method = "rtn";
  gptq.force = true;
  quantize(gptq);
  const Json rounded = read_json(temporary_.path() / "gptq/config.json")["quantization_config"];
  EXPECT_FALSE(rounded.contains("damp_percent"));
  EXPECT_EQ(rounded["true_sequential"], false);
}

// What a linear makes up for is what the ones before it did wrong.
TEST_F(SequentialGptq, TheStrengthOfCompensationMatters) {
  QuantizeOptions none = options("none", "gptq");
  none.mismatch_strength = 0;
  quantize(none);
  quantize(options("full", "gptq"));
  EXPECT_NE(weights("none"), weights("full"));
}

}  // namespace
}  // namespace qwodel
