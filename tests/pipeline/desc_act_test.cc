// GPTQ directories whose groups are of columns in order of activation.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "formats/checkpoint.h"
#include "io/json.h"
#include "qwodel/error.h"
#include "qwodel/quantize.h"
#include "sources/grouped.h"
#include "sources/weights.h"
#include "tests/formats/temp_directory.h"
#include "tests/pipeline/tiny_llama.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kGroup = 32;

class DescAct : public testing::Test {
 protected:
  void SetUp() override { TinyLlama().write(temporary_.path() / "model"); }

  QuantizeOptions options(const std::string& name, const std::string& target = "gptq:4bit-g32") {
    QuantizeOptions result;
    result.model = temporary_.path() / "model";
    result.targets = {target};
    result.output = temporary_.path() / name;
    result.calibration.text = fs::path(QWODEL_SOURCE_DIR) / "tests/data/alice.txt";
    result.calibration.samples = 4;
    result.calibration.seq_len = 128;
    result.desc_act = true;
    return result;
  }

  int code_of(const QuantizeOptions& options) {
    try {
      quantize(options);
    } catch (const Error& error) {
      message_ = error.what();
      return static_cast<int>(error.code());
    }
    return 0;
  }

  std::string weights(const std::string& name) const {
    std::ifstream file(temporary_.path() / name / "model.safetensors", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  TempDirectory temporary_;
  std::string message_;
};

std::vector<std::int32_t> index_of(const Checkpoint& checkpoint, const std::string& name) {
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    if (tensor.name != name) continue;
    std::vector<std::int32_t> index(tensor.bytes.size() / 4);
    std::memcpy(index.data(), tensor.bytes.data(), tensor.bytes.size());
    return index;
  }
  return {};
}

TEST_F(DescAct, GroupsFollowTheActivations) {
  const QuantizeReport report = quantize(options("out"));
  const Json config = read_json(temporary_.path() / "out/config.json")["quantization_config"];
  EXPECT_EQ(config["desc_act"], true);
  EXPECT_EQ(config["static_groups"], false);
  const auto artifact = open_checkpoint(temporary_.path() / "out");
  const Weights weights(*artifact);
  const std::string layer = "model.layers.0.";
  const auto q = index_of(*artifact, layer + "self_attn.q_proj.g_idx");
  ASSERT_EQ(q.size(), 256u);
  EXPECT_FALSE(std::ranges::is_sorted(q));
  for (std::int32_t group = 0; group < 8; ++group) {
    EXPECT_EQ(std::ranges::count(q, group), static_cast<std::ptrdiff_t>(kGroup)) << group;
  }
  // Linears that runtimes hold as one matrix read one input, so they have one order.
  EXPECT_EQ(q, index_of(*artifact, layer + "self_attn.k_proj.g_idx"));
  EXPECT_EQ(q, index_of(*artifact, layer + "self_attn.v_proj.g_idx"));
  const auto codes = stored_codes(*weights.find(layer + "self_attn.q_proj.weight"));
  ASSERT_TRUE(codes);
  EXPECT_TRUE(std::ranges::equal(codes->group_index, q));
  double before = 0;
  double after = 0;
  for (const TensorReport& row : report.artifacts[0].tensors) {
    if (!row.calibrated) continue;
    before += *row.calibrated->loss_before;
    after += *row.calibrated->loss_after;
  }
  EXPECT_GT(after, 0);
  EXPECT_LT(after, 0.9 * before);
}

TEST_F(DescAct, ARunThatResumesReadsTheOrderBack) {
  quantize(options("whole"));
  QuantizeOptions part = options("part");
  CancelToken cancel;
  part.cancel = &cancel;
  part.progress = [&](const Progress& progress) {
    if (progress.stage == "layer 0") cancel.cancel();
  };
  EXPECT_THROW(quantize(part), Error);
  part.cancel = nullptr;
  part.progress = {};
  part.resume = true;
  quantize(part);
  EXPECT_FALSE(weights("whole").empty());
  EXPECT_EQ(weights("whole"), weights("part"));
}

// Other files have no place for an order of columns.
TEST_F(DescAct, IsNotRepacked) {
  quantize(options("first"));
  for (const char* target : {"ct:W4A16-g32", "gptq:4bit-g32", "awq:g32"}) {
    QuantizeOptions second = options("second", target);
    second.model = temporary_.path() / "first";
    second.method = "repack";
    second.desc_act = false;
    EXPECT_EQ(code_of(second), 3) << target;
    EXPECT_NE(message_.find("g_idx"), std::string::npos) << message_;
    EXPECT_FALSE(fs::exists(temporary_.path() / "second"));
  }
}

TEST_F(DescAct, IsForGptqOnly) {
  for (const char* target : {"ct:W4A16", "awq", "gguf:Q4_0", "coreml:int4", "gptq,gguf:Q4_0"}) {
    EXPECT_EQ(code_of(options("out", target)), 3) << target;
    EXPECT_NE(message_.find("--desc-act"), std::string::npos) << message_;
  }
  QuantizeOptions rounded = options("out");
  rounded.method = "rtn";
  EXPECT_EQ(code_of(rounded), 2);
  for (const char* runtime : {"vllm", "lmdeploy"}) {
    QuantizeOptions served = options("out", "gptq:4bit-g128");
    served.runtimes = {runtime};
    EXPECT_EQ(code_of(served), 3) << runtime;
    EXPECT_NE(message_.find("own order"), std::string::npos) << message_;
  }
  EXPECT_FALSE(fs::exists(temporary_.path() / "out"));
}

}  // namespace
}  // namespace qwodel
