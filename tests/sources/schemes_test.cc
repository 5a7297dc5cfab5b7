// Choosing a scheme, and quantized checkpoints whose parts do not fit together.
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "sources/weights.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

struct Stored {
  std::string dtype;
  std::string shape;  // "[2,3]"
  std::string bytes;
};

std::string zeros(std::size_t count) { return std::string(count, '\0'); }

class Schemes : public testing::Test {
 protected:
  void open(const std::string& config, const std::map<std::string, Stored>& tensors) {
    folder_.write("config.json", config);
    std::string header = "{";
    std::string data;
    for (const auto& [name, stored] : tensors) {
      header += header.size() > 1 ? ",\"" : "\"";
      header += name + R"(":{"dtype":")" + stored.dtype + R"(","shape":)" + stored.shape;
      header += R"(,"data_offsets":[)" + std::to_string(data.size());
      data += stored.bytes;
      header += "," + std::to_string(data.size()) + "]}";
    }
    folder_.write("model.safetensors", safetensors_bytes(header + "}", data));
    checkpoint_ = open_checkpoint(folder_.path());
    weights_ = std::make_unique<Weights>(*checkpoint_);
  }

  template <class E>
  void expect_refused(const std::string& config, const std::map<std::string, Stored>& tensors,
                      std::string_view part) {
    expect_error<E>([&] { open(config, tensors); }, part);
  }

  TempDirectory folder_;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::unique_ptr<Weights> weights_;
};

std::string config_with(const std::string& quantization) {
  return R"({"quantization_config":)" + quantization + "}";
}

// One column group of 8 inputs and 8 outputs, 4 bits.
std::map<std::string, Stored> gptq_parts() {
  return {{"a.qweight", {"I32", "[1,8]", zeros(32)}},
          {"a.qzeros", {"I32", "[1,1]", zeros(4)}},
          {"a.scales", {"F16", "[1,8]", zeros(16)}},
          {"a.g_idx", {"I32", "[8]", zeros(32)}}};
}

const std::string kGptq = config_with(R"({"quant_method":"gptq","bits":4,"group_size":8})");

TEST_F(Schemes, UnknownMethods) {
  for (const std::string method : {"bitsandbytes", "hqq", "mxfp4"}) {
    expect_refused<FormatNotSupportedError>(config_with(R"({"quant_method":")" + method + "\"}"),
                                            {{"a", {"U8", "[1]", "x"}}}, method);
  }
  expect_refused<FormatNotSupportedError>(config_with("{}"), {{"a", {"U8", "[1]", "x"}}},
                                          "awq, compressed-tensors");
  open(config_with("null"), {{"a", {"U8", "[1]", "x"}}});
  EXPECT_EQ(weights_->tensors().size(), 1u);
}

TEST_F(Schemes, TheTextModelsConfigCounts) {
  expect_refused<FormatNotSupportedError>(
      R"({"text_config":{"quantization_config":{"quant_method":"hqq"}}})",
      {{"a", {"U8", "[1]", "x"}}}, "hqq");
}

TEST_F(Schemes, QuantizedTensorsWithoutConfig) {
  expect_refused<FormatNotSupportedError>("{}", gptq_parts(), ".qweight");
  folder_.write("quantize_config.json", R"({"bits":4,"group_size":8})");
  open("{}", gptq_parts());
  ASSERT_EQ(weights_->tensors().size(), 1u);
  EXPECT_EQ(weights_->tensors()[0]->name(), "a.weight");
}

TEST_F(Schemes, GptqZeroPointsOfVersion1WrapAround) {
  auto parts = gptq_parts();
  parts["a.qweight"].bytes = std::string(32, '\x33');
  parts["a.qzeros"].bytes = "\x0F\xFF\x80\x7F";  // 15, 0, 15, 15, 0, 8, 15, 7
  parts["a.scales"].bytes.clear();
  for (int i = 0; i < 8; ++i) parts["a.scales"].bytes += std::string("\x00\x3C", 2);  // 1.0
  open(kGptq, parts);
  const std::vector<float> zero = {0, 1, 0, 0, 1, 9, 0, 8};
  std::vector<float> values(64);
  weights_->tensors()[0]->read(0, values);
  for (std::size_t i = 0; i < 64; ++i) EXPECT_EQ(values[i], 3.0f - zero[i / 8]) << i;
}

TEST_F(Schemes, GptqPartsThatDoNotFit) {
  for (const char* part : {"a.qzeros", "a.scales"}) {
    auto parts = gptq_parts();
    parts.erase(part);
    expect_refused<ValidationError>(kGptq, parts, part);
  }
  const auto refuse = [&](const std::string& name, const Stored& stored, std::string_view what) {
    auto parts = gptq_parts();
    parts[name] = stored;
    expect_refused<ValidationError>(kGptq, parts, what);
  };
  refuse("a.qweight", {"F32", "[1,8]", zeros(32)}, "a.qweight");
  refuse("a.qweight", {"I32", "[8]", zeros(32)}, "a matrix");
  refuse("a.qzeros", {"I32", "[1,9]", zeros(36)}, "2, 3, 4 or 8 bits");
  refuse("a.qzeros", {"I32", "[2,1]", zeros(8)}, "[1, 1]");
  refuse("a.scales", {"F16", "[1,7]", zeros(14)}, "[1, 8]");
  refuse("a.scales", {"I16", "[1,8]", zeros(16)}, "F16");
  refuse("a.g_idx", {"I32", "[7]", zeros(28)}, "[8]");
  refuse("a.g_idx", {"I32", "[8]", std::string("\x01", 1) + zeros(31)}, "group 1 for column 0");
  refuse("a.g_idx", {"I32", "[8]", zeros(28) + std::string(4, '\xFF')}, "group -1 for column 7");
  refuse("a.weight", {"U8", "[1]", "x"}, "both a plain and a quantized");
  auto parts = gptq_parts();
  parts.erase("a.g_idx");
  open(kGptq, parts);
  expect_refused<ValidationError>(config_with(R"({"quant_method":"gptq","group_size":4})"), parts,
                                  "group of 4");
  expect_refused<FormatNotSupportedError>(
      config_with(R"({"quant_method":"gptq","checkpoint_format":"marlin"})"), parts, "marlin");
}

TEST_F(Schemes, AwqPartsThatDoNotFit) {
  const std::string config = config_with(R"({"quant_method":"awq","version":"GEMM"})");
  const std::map<std::string, Stored> good = {{"a.qweight", {"I32", "[8,1]", zeros(32)}},
                                              {"a.qzeros", {"I32", "[2,1]", zeros(8)}},
                                              {"a.scales", {"F16", "[2,8]", zeros(32)}}};
  open(config, good);
  EXPECT_EQ(weights_->tensors()[0]->shape(), (std::vector<std::uint64_t>{8, 8}));
  expect_refused<FormatNotSupportedError>(config_with(R"({"quant_method":"awq","version":"gemv"})"),
                                          good, "gemv");
  auto parts = good;
  parts["a.scales"] = {"F16", "[3,8]", zeros(48)};
  expect_refused<ValidationError>(config, parts, "equal groups");
  parts = good;
  parts["a.qzeros"] = {"I32", "[1,1]", zeros(4)};
  expect_refused<ValidationError>(config, parts, "[2, 1]");
  parts = good;
  parts["a.qweight"] = {"I32", "[8,2]", zeros(64)};
  expect_refused<ValidationError>(config, parts, "[8, 1]");
}

TEST_F(Schemes, Fp8PartsThatDoNotFit) {
  const std::string config = config_with(R"({"quant_method":"fp8","weight_block_size":[2,2]})");
  const auto parts = [](const std::string& dtype, const std::string& scale_shape,
                        std::size_t scales) {
    return std::map<std::string, Stored>{
        {"a.weight", {dtype, "[3,4]", zeros(12)}},
        {"a.weight_scale_inv", {"F32", scale_shape, zeros(4 * scales)}}};
  };
  open(config, parts("F8_E4M3", "[2,2]", 4));
  EXPECT_TRUE(weights_->tensors()[0]->is_quantized());
  expect_refused<ValidationError>(config, parts("F8_E4M3", "[2,3]", 6), "one scale per block");
  expect_refused<ValidationError>(config, parts("F8_E4M3", "[4]", 4), "one scale per block");
  expect_refused<ValidationError>(config, parts("U8", "[2,2]", 4), "F8_E4M3");
  expect_refused<ValidationError>(
      config_with(R"({"quant_method":"fp8","weight_block_size":[0,2]})"),
      parts("F8_E4M3", "[2,2]", 4), "weight_block_size");
  expect_refused<ValidationError>(config, {{"a.weight_scale_inv", {"F32", "[1]", zeros(4)}}},
                                  "a.weight");
}

TEST_F(Schemes, CompressedTensorsPartsThatDoNotFit) {
  const auto config = [](const std::string& format) {
    return config_with(R"({"quant_method":"compressed-tensors","format":")" + format +
                       R"(","config_groups":{"g":{"weights":{"num_bits":4,"group_size":8}}}})");
  };
  std::map<std::string, Stored> good = {
      {"a.weight_packed", {"I32", "[2,2]", zeros(16)}},
      {"a.weight_scale", {"BF16", "[2,2]", zeros(8)}},
      {"a.weight_shape", {"I64", "[2]", "\x02" + zeros(7) + "\x10" + zeros(7)}}};
  open(config("pack-quantized"), good);
  EXPECT_EQ(weights_->tensors()[0]->shape(), (std::vector<std::uint64_t>{2, 16}));
  expect_refused<FormatNotSupportedError>(config("nvfp4-pack-quantized"), good, "nvfp4");
  for (const char* name : {"a.weight_scale", "a.weight_shape"}) {
    auto parts = good;
    parts.erase(name);
    expect_refused<ValidationError>(config("pack-quantized"), parts, name);
  }
  auto parts = good;
  parts["a.weight_packed"] = {"I32", "[2,3]", zeros(24)};
  expect_refused<ValidationError>(config("pack-quantized"), parts, "16 packed codes");
  parts = good;
  parts["a.weight_shape"].bytes = zeros(16);
  expect_refused<ValidationError>(config("pack-quantized"), parts, "an extent of 0");
  parts = good;
  parts["a.weight_zero_point"] = {"I32", "[1,1]", zeros(4)};
  expect_refused<ValidationError>(config("pack-quantized"), parts, "a.weight_zero_point");
}

}  // namespace
}  // namespace qwodel
