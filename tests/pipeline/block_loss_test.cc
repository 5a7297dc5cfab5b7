// What a layer's output loses when a linear changes, against products of the linear's own inputs.
#include "pipeline/block_loss.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "io/mapped_file.h"
#include "models/build_graph.h"
#include "tests/formats/temp_directory.h"
#include "tests/pipeline/tiny_llama.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

// Hidden states after every stage, and what the feed-forward's last linear reads.
class Trace final : public ActivationObserver, public StageKeeper {
 public:
  std::size_t first_stage() const override { return 0; }
  void load(std::uint64_t, MatrixView) const override {}
  void save(std::size_t, std::uint64_t, ConstMatrixView rows) override {
    stages.push_back(copy_rows(rows));
  }
  void on_input(std::size_t, std::size_t, std::size_t, ConstMatrixView rows) override {
    if (rows.cols == TinyLlama{}.intermediate) down.push_back(copy_rows(rows));
  }

  std::vector<HiddenRows> stages, down;
};

class BlockLosses : public testing::Test {
 protected:
  BlockLosses() {
    TinyLlama{}.write(scratch_ / "model");
    model_ = std::make_unique<SourceModel>(scratch_ / "model", ModelOptions{});
    graph_ = build_graph(model_->spec);
    plan_ =
        plan_linears(model_->spec, graph_, source_tensors(*model_->weights), {.group_size = 32});
    tokens_.append(std::vector<std::uint32_t>{5, 6, 7, 8, 9});
    tokens_.append(std::vector<std::uint32_t>{100, 90, 80});
  }

  LinearTask task() const { return {.model = *model_, .graph = graph_, .plan = plan_}; }

  std::size_t linear(const std::string& module) const {
    const auto found = std::ranges::find(plan_.linears, module, &PlannedLinear::module);
    EXPECT_NE(found, plan_.linears.end()) << module;
    return static_cast<std::size_t>(found - plan_.linears.begin());
  }

  std::vector<float> values_of(std::size_t linear) const {
    return read_linear(*model_, plan_.linears[linear]);
  }

  // Sum over tokens of (x change^T)^2, for what the last linear of a layer reads.
  double change_of_outputs(const HiddenRows& inputs, const std::vector<double>& change) const {
    const std::size_t width = TinyLlama{}.intermediate;
    double total = 0;
    for (std::size_t t = 0; t < tokens_.tokens.size(); ++t) {
      for (std::size_t o = 0; o < change.size() / width; ++o) {
        double sum = 0;
        for (std::size_t i = 0; i < width; ++i) {
          sum += change[o * width + i] * static_cast<double>(inputs[t * width + i]);
        }
        total += sum * sum;
      }
    }
    return total;
  }

  TempDirectory scratch_;
  std::unique_ptr<SourceModel> model_;
  Graph graph_;
  LinearPlan plan_;
  TokenSequences tokens_;
};

double squared_distance(const HiddenRows& a, const HiddenRows& b) {
  double total = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    total += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
  }
  return total;
}

double measure(BlockLoss& loss, std::size_t linear, const std::vector<float>& values) {
  return loss.measure(std::span(&linear, 1), std::span(&values, 1));
}

TEST_F(BlockLosses, AreOfWhatTheLayerGives) {
  Trace trace;
  const CheckpointWeights weights(graph_, model_->readers);
  Executor(graph_, weights, {.compute = ComputeType::f32, .scratch = {}})
      .forward(tokens_, &trace, &trace);
  for (const std::size_t layer : {0u, 1u}) {
    const std::size_t down = linear("model.layers." + std::to_string(layer) + ".mlp.down_proj");
    std::vector<float> values = values_of(down);
    std::vector<double> change(values.size());
    for (std::size_t i = 0; i < values.size(); i += 7) {
      values[i] += 0.01f * static_cast<float>(i % 5);
      change[i] = 0.01 * static_cast<double>(i % 5);
    }
    const double expected = change_of_outputs(trace.down[layer], change) /
                            squared_distance(trace.stages[layer + 1], trace.stages[layer]);
    BlockLoss loss(task(), tokens_);
    loss.enter(layer + 1);
    const double found = measure(loss, down, values);
    EXPECT_NEAR(found, expected, 1e-3 * expected);
    EXPECT_GT(found, 1e-8);
    // The model is as it was.
    EXPECT_EQ(measure(loss, down, values_of(down)), 0);
    EXPECT_EQ(measure(loss, down, values), found);
  }
}

TEST_F(BlockLosses, AreInfiniteWhereNothingIsFinite) {
  const std::size_t gate = linear("model.layers.0.mlp.gate_proj");
  BlockLoss loss(task(), tokens_);
  loss.enter(1);
  const std::vector<float> values(values_of(gate).size(), std::numeric_limits<float>::infinity());
  EXPECT_TRUE(std::isinf(measure(loss, gate, values)));
}

class BlockLossOption : public testing::Test {
 protected:
  BlockLossOption() {
    TinyLlama llama;
    llama.edit = [](const std::string& name, std::vector<float>& values) {
      if (name.find("norm") == std::string::npos) return;
      for (std::size_t i = 0; i < values.size(); i += 16) values[i] *= 20;  // loud channels
    };
    llama.write(scratch_ / "model");
    std::ofstream ids(scratch_ / "text.ids");
    for (int i = 0; i < 800; ++i) ids << 3 + i * 7919 % 500 << "\n";
  }

  QuantizeOptions options(const std::string& loss, const std::string& name) const {
    QuantizeOptions result;
    result.model = scratch_ / "model";
    result.targets = {"awq:g32"};
    result.method = "awq";
    result.calibration.text = (scratch_ / "text.ids").string();
    result.calibration.samples = 10;
    result.calibration.seq_len = 80;
    result.awq_loss = loss;
    result.output = scratch_ / name;
    return result;
  }

  std::string weights_of(const std::string& name) const {
    const MappedFile file(scratch_ / name / "model.safetensors");
    return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
  }

  TempDirectory scratch_;
};

TEST_F(BlockLossOption, ChoosesOtherScalesWhateverTheThreads) {
  quantize(options("linear", "linear"));
  QuantizeOptions one = options("block", "one");
  one.threads = 1;
  const QuantizeReport report = quantize(one);
  quantize(options("block", "all"));
  EXPECT_TRUE(weights_of("one") == weights_of("all"));
  EXPECT_FALSE(weights_of("one") == weights_of("linear"));
  EXPECT_TRUE(std::ranges::any_of(report.artifacts[0].tensors, [](const TensorReport& tensor) {
    return tensor.calibrated && tensor.calibrated->scale_ratio.value_or(0) > 0;
  }));
}

TEST_F(BlockLossOption, WantsATextAndAName) {
  expect_error<Error>([&] { quantize(options("literal", "a")); }, "linear or block");
  expect_error<Error>([&] { plan(options("literal", "a")); }, "linear or block");
  QuantizeOptions statistics = options("block", "b");
  CalibrateOptions calibration;
  calibration.run.model = statistics.model;
  calibration.calibration = statistics.calibration;
  calibration.output = scratch_ / "model.qstats";
  calibrate(calibration);
  statistics.calibration.text.clear();
  statistics.statistics = calibration.output;
  expect_error<Error>([&] { quantize(statistics); }, "--calibration");
  EXPECT_FALSE(fs::exists(statistics.output));
}

}  // namespace
}  // namespace qwodel
