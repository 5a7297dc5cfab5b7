// Quantized directories into GGUF files that hold their weights as they are.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "formats/checkpoint.h"
#include "qwodel/error.h"
#include "qwodel/quantize.h"
#include "sources/weights.h"
#include "tests/formats/temp_directory.h"
#include "tests/pipeline/tiny_llama.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

class GgufRepacking : public testing::Test {
 protected:
  void make(const std::string& target, const TinyLlama& model = {}) {
    fs::remove_all(path("model"));
    model.write(path("model"));
    QuantizeOptions options;
    options.model = path("model");
    options.targets = {target};
    options.method = "rtn";
    options.output = path("source");
    options.force = true;
    quantize(options);
  }

  QuantizeReport convert(const std::string& type, const std::string& method, const fs::path& out,
                         const char* source = "source") {
    QuantizeOptions options;
    options.model = path(source);
    options.targets = {"gguf:" + type};
    options.method = method;
    options.output = out;
    options.force = true;
    return quantize(options);
  }

  std::string refusal(const std::string& type, const char* source = "source") {
    fs::remove(path("out.gguf"));
    try {
      convert(type, "repack", path("out.gguf"), source);
    } catch (const FormatNotSupportedError& error) {
      EXPECT_EQ(static_cast<int>(error.code()), 3);
      EXPECT_FALSE(fs::exists(path("out.gguf")));
      return error.what();
    }
    return "no error";
  }

  // Every value of the repacked file's linears is the source's, as the exact conversion has it.
  void expect_exact(const std::string& type) {
    fs::remove(path("out.gguf"));
    const QuantizeReport report = convert(type, "repack", path("out.gguf"));
    convert("F32", "", path("exact.gguf"));
    const auto exact = open_checkpoint(path("exact.gguf"));
    const auto repacked = open_checkpoint(path("out.gguf"));
    const Weights before(*exact);
    const Weights after(*repacked);
    std::size_t linears = 0;
    for (const TensorReport& row : report.artifacts[0].tensors) {
      if (row.method != "repack") continue;
      ++linears;
      EXPECT_EQ(row.type, type);
      EXPECT_EQ(row.nmse, 0.0);
      EXPECT_EQ(values(before, row.name), values(after, row.name)) << row.name;
    }
    EXPECT_EQ(linears, 14u);
  }

  static std::vector<float> values(const Weights& weights, const std::string& name) {
    const WeightTensor& tensor = *weights.find(name);
    std::vector<float> all(element_count(tensor.shape()));
    tensor.read(0, all);
    return all;
  }

  fs::path path(const char* name) const { return temporary_.path() / name; }

  TempDirectory temporary_;
};

TEST_F(GgufRepacking, SymmetricWeightsLoseNothing) {
  for (const char* target : {"gptq:4bit-g32", "gptq:4bit-g128", "ct:W4A16-g64", "ct:W3A16-g32"}) {
    SCOPED_TRACE(target);
    make(target);
    expect_exact("Q4_0");
  }
  make("ct:W5A16-g64");
  expect_exact("Q5_0");
}

TEST_F(GgufRepacking, ZeroPointsLoseNothingWhereHalvesHoldThem) {
  TinyLlama model;
  // Groups of 32 have all of 16 levels, 5 below zero; the scale is a power of two.
  model.edit = [](const std::string& name, std::vector<float>& values) {
    if (name.find("proj") == std::string::npos) return;
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = 0x1p-6f * (static_cast<float>(i * 7 % 16) - 5);
    }
  };
  for (const char* target : {"awq:g32", "gptq:4bit-g32-asym", "ct:W4A16_ASYM-g32"}) {
    SCOPED_TRACE(target);
    make(target, model);
    expect_exact("Q4_1");
    EXPECT_THAT(refusal("Q4_0"), testing::HasSubstr("zero point"));
  }
}

TEST_F(GgufRepacking, WhatCannotBeHeldIsRefused) {
  make("awq:g32");
  EXPECT_THAT(refusal("Q4_1"), testing::HasSubstr("zero point"));
  make("gptq:8bit-g32");
  EXPECT_THAT(refusal("Q4_0"), testing::HasSubstr("more levels"));
  EXPECT_THAT(refusal("Q4_K_M"), testing::HasSubstr("Q4_0, Q4_1, Q5_0 or Q5_1"));
  EXPECT_THAT(refusal("Q4_0", "model"), testing::HasSubstr("no weights that are quantized"));
}

}  // namespace
}  // namespace qwodel
