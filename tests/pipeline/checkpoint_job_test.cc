// Quantized Hugging Face directories, written and read back.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "formats/checkpoint.h"
#include "io/json.h"
#include "kernels/error_sums.h"
#include "qwodel/error.h"
#include "qwodel/quantize.h"
#include "sources/weights.h"
#include "tests/formats/temp_directory.h"
#include "tests/pipeline/tiny_llama.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

class CheckpointJobs : public testing::TestWithParam<const char*> {
 protected:
  QuantizeOptions options(const std::string& target) {
    QuantizeOptions result;
    result.model = directory_ / "model";
    result.output = directory_ / "out";
    result.targets = {target};
    result.method = "search";
    return result;
  }

  TempDirectory temporary_;
  fs::path directory_ = temporary_.path();
};

std::vector<float> values_of(const WeightTensor& tensor) {
  std::vector<float> values(element_count(tensor.shape()));
  tensor.read(0, values);
  return values;
}

// A runtime makes quantized linears of a vision tower, too, unless it is told not to.
TEST(CheckpointIgnore, NamesWhatTheGraphDoesNotKnow) {
  const TempDirectory temporary;
  TinyLlama model;
  model.extra = {{"vision_tower.layers.0.mlp.fc1.weight", {256, 256}},
                 {"vision_tower.layers.0.norm.weight", {256}},
                 {"model.audio_tower.proj.weight", {256, 256}}};
  model.write(temporary / "model");
  const auto config = [&](const std::string& target) {
    QuantizeOptions options;
    options.model = temporary / "model";
    options.output = temporary / target;
    options.targets = {target};
    options.method = "rtn";
    quantize(options);
    return read_json(temporary / target / "config.json")["quantization_config"];
  };
  EXPECT_EQ(config("ct:W4A16")["ignore"],
            Json({"lm_head", "re:.*audio_tower\\..*", "re:.*vision_tower\\..*"}));
  EXPECT_EQ(config("awq")["modules_to_not_convert"],
            Json({"lm_head", "audio_tower", ".*audio_tower", "vision_tower", ".*vision_tower"}));
}

TEST_P(CheckpointJobs, LinearsAreCloseAndTheRestIsCopied) {
  TinyLlama().write(directory_ / "model");
  const QuantizeReport report = quantize(options(GetParam()));
  const auto source = open_checkpoint(directory_ / "model");
  const auto artifact = open_checkpoint(directory_ / "out");
  const Weights before(*source);
  const Weights after(*artifact);
  ASSERT_EQ(before.tensors().size(), after.tensors().size());
  std::size_t quantized = 0;
  for (const auto& tensor : before.tensors()) {
    const WeightTensor* written = after.find(tensor->name());
    ASSERT_NE(written, nullptr) << tensor->name();
    ASSERT_EQ(written->shape(), tensor->shape());
    const auto x = values_of(*tensor);
    const auto y = values_of(*written);
    if (!written->is_quantized()) {
      EXPECT_EQ(x, y) << tensor->name();
      continue;
    }
    ++quantized;
    const double nmse = error_sums(x.data(), y.data(), x.size()).nmse();
    const auto& reported = report.artifacts[0].tensors;
    const auto row = std::ranges::find(reported, tensor->name(), &TensorReport::name);
    ASSERT_NE(row, reported.end());
    EXPECT_NEAR(*row->nmse, nmse, 1e-6 * nmse) << tensor->name();
    EXPECT_GT(nmse, 0);
  }
  EXPECT_EQ(quantized, 2 * 7u);
  const Json config = read_json(directory_ / "out/config.json");
  const Json& quantization = config["quantization_config"];
  const char* skipped = quantization.contains("ignore") ? "ignore" : "modules_to_not_convert";
  if (quantization["quant_method"] != "gptq") {
    EXPECT_EQ(quantization[skipped], Json::array({"lm_head"}));
  }
  EXPECT_TRUE(fs::exists(directory_ / "out/tokenizer.model"));
}

INSTANTIATE_TEST_SUITE_P(Targets, CheckpointJobs,
                         testing::Values("awq", "awq:g32", "gptq", "gptq:2bit-g32", "gptq:3bit-g64",
                                         "gptq:8bit", "gptq:4bit-g128-asym", "ct:W4A16",
                                         "ct:W4A16_ASYM", "ct:W8A16", "ct:W3A16-g64", "ct:FP8"));

using CheckpointJob1 = CheckpointJobs;

TEST_F(CheckpointJob1, BytesDoNotDependOnThreads) {
  TinyLlama().write(directory_ / "model");
  for (const int threads : {1, 3}) {
    QuantizeOptions one = options("awq");
    one.threads = threads;
    one.output = directory_ / std::to_string(threads);
    quantize(one);
  }
  const auto bytes = [&](const char* name) {
    std::ifstream in(directory_ / name / "model.safetensors", std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  const std::string first = bytes("1");
  EXPECT_GT(first.size(), 100000u);
  EXPECT_EQ(first, bytes("3"));
}

TEST_F(CheckpointJob1, ShardsHaveAnIndex) {
  TinyLlama().write(directory_ / "model");
  QuantizeOptions sharded = options("gptq");
  sharded.max_shard_size = 300000;
  quantize(sharded);
  const Json index = read_json(directory_ / "out/model.safetensors.index.json");
  EXPECT_GT(index["weight_map"].size(), 14 * 4u);
  EXPECT_FALSE(fs::exists(directory_ / "out/model.safetensors"));
  const auto artifact = open_checkpoint(directory_ / "out");
  EXPECT_GT(artifact->files().size(), 1u);
  std::uint64_t bytes = 0;
  for (const TensorInfo& tensor : artifact->tensors()) bytes += tensor.bytes.size();
  EXPECT_EQ(index["metadata"]["total_size"], bytes);
}

TEST_F(CheckpointJob1, ShapesThatDoNotFitAreRefusedBeforeAnything) {
  TinyLlama model;
  model.hidden = 96;
  model.intermediate = 192;
  model.write(directory_ / "model");
  EXPECT_THROW(quantize(options("awq:g64")), FormatNotSupportedError);
  EXPECT_FALSE(fs::exists(directory_ / "out"));
}

TEST_F(CheckpointJob1, LinearsMayHaveTypesOfTheirOwn) {
  TinyLlama().write(directory_ / "model");
  QuantizeOptions mixed = options("ct:W4A16");
  mixed.tensor_types = {"DOWN_proj=W8A16", "layers.1.*o_proj=none", "o_proj=FP8"};
  const QuantizeReport report = quantize(mixed);
  std::map<std::string, std::string> types;
  for (const TensorReport& row : report.artifacts[0].tensors) types[row.name] = row.type;
  EXPECT_EQ(types.at("model.layers.0.mlp.down_proj.weight"), "int8-g512");
  EXPECT_EQ(types.at("model.layers.0.self_attn.o_proj.weight"), "f8_e4m3");
  EXPECT_EQ(types.at("model.layers.1.self_attn.o_proj.weight"), "F32");
  EXPECT_EQ(types.at("model.layers.1.self_attn.q_proj.weight"), "int4-g128");
  const Json config = read_json(directory_ / "out/config.json")["quantization_config"];
  EXPECT_EQ(config["format"], "mixed-precision");
  EXPECT_EQ(config["config_groups"].size(), 3u);
  const Json ignored = {"lm_head", "model.layers.1.self_attn.o_proj"};
  EXPECT_EQ(config["ignore"], ignored);
  std::size_t named = 0;
  for (const Json& group : config["config_groups"]) named += group["targets"].size();
  EXPECT_EQ(named, 13u);
}

TEST_F(CheckpointJob1, SeveralTargetsAreNamedAfterTheirFormats) {
  TinyLlama().write(directory_ / "model");
  QuantizeOptions several = options("gptq");
  several.targets = {"gptq:4bit-g32", "awq:g32", "coreml:int8_linear"};
  several.method = "rtn";
  const QuantizeReport report = quantize(several);
  std::vector<std::string> endings;
  for (const ArtifactReport& artifact : report.artifacts) {
    const std::string name = artifact.path.filename().string();
    endings.push_back(name.substr(name.find('-')));
    EXPECT_TRUE(fs::exists(artifact.path));
  }
  ASSERT_EQ(endings.size(), 3u);
  EXPECT_TRUE(endings[0].ends_with("-GPTQ-Int4")) << endings[0];
  EXPECT_TRUE(endings[1].ends_with("-AWQ")) << endings[1];
  EXPECT_TRUE(endings[2].ends_with("-int8_linear.mlpackage")) << endings[2];
}

TEST_F(CheckpointJob1, BadTypesOfLinearsAreUsageErrors) {
  TinyLlama().write(directory_ / "model");
  const auto code_of = [&](const char* target, const char* type, const char* method) {
    QuantizeOptions wrong = options(target);
    wrong.tensor_types = {type};
    wrong.method = method;
    try {
      quantize(wrong);
      return 0;
    } catch (const Error& error) {
      return static_cast<int>(error.code());
    }
  };
  EXPECT_EQ(code_of("ct:W4A16", "down_proj", "rtn"), 2);
  EXPECT_EQ(code_of("ct:W4A16", "down_proj=W9A16", "rtn"), 2);
  EXPECT_EQ(code_of("ct:W4A16", "(=W8A16", "rtn"), 2);
  EXPECT_EQ(code_of("ct:W4A16", "proj=none", "rtn"), 2);
  EXPECT_EQ(code_of("ct:FP8", "down_proj=none", "gptq"), 3);
  EXPECT_EQ(code_of("awq", "down_proj=none", "rtn"), 3);
  EXPECT_EQ(code_of("gptq", "down_proj=8bit", "rtn"), 3);
  EXPECT_FALSE(fs::exists(directory_ / "out"));
}

TEST_F(CheckpointJob1, QuantizedCheckpointsAreRepackedWithoutLoss) {
  TinyLlama().write(directory_ / "model");
  struct Step {
    const char* from;
    const char* to;
    bool fits;
  };
  for (const Step& step : {
           Step{"gptq:4bit-g32", "ct:W4A16-g32", true}, Step{"ct:W4A16-g64", "awq:g64", true},
           Step{"awq", "ct:W4A16_ASYM", true}, Step{"awq", "gptq:4bit-g128-asym", true},
           Step{"ct:W3A16-g64", "gptq:3bit-g64", true},
           Step{"awq", "ct:W4A16", false},          // zero points
           Step{"gptq:4bit-g32", "awq:g64", false}  // groups
       }) {
    QuantizeOptions first = options(step.from);
    first.output = directory_ / "first";
    first.force = true;
    quantize(first);
    QuantizeOptions second = options(step.to);
    second.model = directory_ / "first";
    second.method = step.fits ? "" : "repack";
    second.force = true;
    if (!step.fits) {
      EXPECT_THROW(quantize(second), FormatNotSupportedError) << step.from << step.to;
      continue;
    }
    const QuantizeReport report = quantize(second);
    const auto before = open_checkpoint(directory_ / "first");
    const auto after = open_checkpoint(directory_ / "out");
    const Weights old_weights(*before);
    const Weights new_weights(*after);
    std::size_t repacked = 0;
    for (const TensorReport& row : report.artifacts[0].tensors) {
      EXPECT_EQ(values_of(*old_weights.find(row.name)), values_of(*new_weights.find(row.name)));
      if (row.method != "repack") continue;
      ++repacked;
      EXPECT_EQ(row.nmse, 0.0);
    }
    EXPECT_EQ(repacked, 14u) << step.from << step.to;
  }
}

TEST_F(CheckpointJob1, TextsShorterThanASampleAreRefused) {
  TinyLlama().write(directory_ / "model");
  std::ofstream(directory_ / "short.txt") << "Once upon a time";
  for (const char* method : {"awq", "gptq", "awq+gptq"}) {
    QuantizeOptions calibrated = options("gptq:4bit-g32");
    calibrated.method = method;
    calibrated.calibration.text = (directory_ / "short.txt").string();
    calibrated.calibration.seq_len = 512;
    EXPECT_THROW(quantize(calibrated), ValidationError) << method;
  }
  std::set<std::string> left;
  for (const auto& entry : fs::directory_iterator(directory_)) left.insert(entry.path().filename());
  EXPECT_EQ(left, (std::set<std::string>{"model", "short.txt"}));
}

TEST_F(CheckpointJob1, NotANumberIsNamed) {
  TinyLlama model;
  model.edit = [](const std::string& name, std::vector<float>& values) {
    if (name == "model.layers.1.mlp.up_proj.weight") values[5] = NAN;
  };
  model.write(directory_ / "model");
  try {
    quantize(options("awq"));
    FAIL() << "no error";
  } catch (const QuantizationError& error) {
    EXPECT_NE(std::string(error.what()).find("layers.1.mlp.up_proj"), std::string::npos);
  }
  for (const auto& entry : fs::directory_iterator(directory_)) {
    EXPECT_EQ(entry.path().filename(), "model");
  }
}

TEST_F(CheckpointJob1, ExistingDirectoriesStayWithoutForce) {
  TinyLlama().write(directory_ / "model");
  fs::create_directory(directory_ / "out");
  std::ofstream(directory_ / "out/mine.txt") << "mine";
  EXPECT_THROW(quantize(options("awq")), DependencyError);
  EXPECT_TRUE(fs::exists(directory_ / "out/mine.txt"));
  QuantizeOptions forced = options("awq");
  forced.force = true;
  quantize(forced);
  EXPECT_FALSE(fs::exists(directory_ / "out/mine.txt"));
  EXPECT_TRUE(fs::exists(directory_ / "out/model.safetensors"));
}

}  // namespace
}  // namespace qwodel
