// GPT-2's linears are stored as [in_features, out_features]; GPTQ's as all others are.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "formats/checkpoint.h"
#include "io/json.h"
#include "qwodel/quantize.h"
#include "sources/grouped.h"
#include "sources/weights.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;
using Shape = std::vector<std::uint64_t>;

constexpr std::uint64_t kHidden = 64;
constexpr std::uint64_t kVocab = 256;

std::vector<std::pair<std::string, Shape>> tensors() {
  std::vector<std::pair<std::string, Shape>> all = {{"transformer.wte.weight", {kVocab, kHidden}},
                                                    {"transformer.wpe.weight", {32, kHidden}}};
  const auto add = [&](const std::string& module, std::uint64_t in, std::uint64_t out) {
    if (in > 0) all.push_back({module + ".weight", {in, out}});
    if (in == 0) all.push_back({module + ".weight", {out}});
    all.push_back({module + ".bias", {out}});
  };
  add("transformer.ln_f", 0, kHidden);
  add("transformer.h.0.ln_1", 0, kHidden);
  add("transformer.h.0.ln_2", 0, kHidden);
  add("transformer.h.0.attn.c_attn", kHidden, 3 * kHidden);
  add("transformer.h.0.attn.c_proj", kHidden, kHidden);
  add("transformer.h.0.mlp.c_fc", kHidden, 4 * kHidden);
  add("transformer.h.0.mlp.c_proj", 4 * kHidden, kHidden);
  return all;
}

void write_tokenizer(const fs::path& directory) {
  Json vocabulary = Json::object();
  for (std::uint64_t i = 0; i < kVocab; ++i) vocabulary["t" + std::to_string(i)] = i;
  const Json tokenizer = {{"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {}}}},
                          {"pre_tokenizer", {{"type", "ByteLevel"}}}};
  std::ofstream(directory / "tokenizer.json") << tokenizer.dump();
}

class Conv1d : public testing::Test {
 protected:
  Conv1d() : model_(temporary_.path() / "model") {
    fs::create_directories(model_);
    const Json config = {{"architectures", {"GPT2LMHeadModel"}},
                         {"model_type", "gpt2"},
                         {"n_ctx", 32},
                         {"n_positions", 32},
                         {"n_embd", kHidden},
                         {"n_head", 4},
                         {"n_layer", 1},
                         {"vocab_size", kVocab},
                         {"layer_norm_epsilon", 1e-5}};
    std::ofstream(model_ / "config.json") << config.dump();
    write_tokenizer(model_);
    write_weights();
  }

  QuantizeReport run(const fs::path& model, const std::string& target, const std::string& name) {
    QuantizeOptions options;
    options.model = model;
    options.targets = {target};
    options.method = target.starts_with("gguf") ? "" : "rtn";
    options.output = temporary_.path() / name;
    return quantize(options);
  }

  std::vector<float> values(const fs::path& path, const std::string& name) {
    const auto checkpoint = open_checkpoint(path);
    const Weights weights(*checkpoint);
    const WeightTensor* tensor = weights.find(name);
    if (tensor == nullptr) return {};
    shape_ = tensor->shape();
    std::vector<float> result(shape_[0] * (shape_.size() > 1 ? shape_[1] : 1));
    tensor->read(0, result);
    return result;
  }

  TempDirectory temporary_;
  fs::path model_;
  Shape shape_;  // of what values() read last

 private:
  void write_weights() const {
    Json header = Json::object();
    std::string data;
    std::uint64_t state = 1;
    for (const auto& [name, shape] : tensors()) {
      std::vector<float> values(shape[0] * (shape.size() > 1 ? shape[1] : 1));
      for (float& value : values) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        value = (static_cast<float>(state >> 40) / 16777216.0f - 0.5f) * 0.1f;
      }
      const std::uint64_t start = data.size();
      data.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
      header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {start, data.size()}}};
    }
    std::ofstream(model_ / "model.safetensors", std::ios::binary)
        << safetensors_bytes(header.dump(), data);
  }
};

TEST_F(Conv1d, IsQuantizedByItsOutputs) {
  run(model_, "gptq:4bit-g32", "out");
  for (const std::string module : {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"}) {
    const std::string name = "transformer.h.0." + module + ".weight";
    const std::vector<float> stored = values(model_, name);
    const Shape in_out = shape_;
    const std::vector<float> decoded = values(temporary_.path() / "out", name);
    ASSERT_EQ(shape_, (Shape{in_out[1], in_out[0]})) << name;
    for (std::uint64_t out = 0; out < in_out[1]; ++out) {
      for (std::uint64_t group = 0; group < in_out[0]; group += 32) {
        float largest = 0;
        float error = 0;
        for (std::uint64_t in = group; in < group + 32; ++in) {
          const float value = stored[in * in_out[1] + out];
          largest = std::max(largest, std::abs(value));
          error = std::max(error, std::abs(decoded[out * in_out[0] + in] - value));
        }
        // Half a step of 15, and what half precision takes off the scale.
        ASSERT_LT(error, largest / 15 * 1.01f) << name << " " << out;
        ASSERT_GT(error, 0) << name << " " << out;
      }
    }
  }
}

TEST_F(Conv1d, AQuantizedOneIsReadAsItIsStored) {
  run(model_, "gptq:4bit-g32", "out");
  run(temporary_.path() / "out", "gguf:F32", "out.gguf");
  const std::pair<const char*, const char*> names[] = {{"attn.c_attn", "attn_qkv"},
                                                       {"attn.c_proj", "attn_output"},
                                                       {"mlp.c_fc", "ffn_up"},
                                                       {"mlp.c_proj", "ffn_down"}};
  for (const auto& [module, tensor] : names) {
    const std::vector<float> quantized = values(
        temporary_.path() / "out", std::string("transformer.h.0.").append(module) + ".weight");
    const Shape shape = shape_;
    EXPECT_EQ(values(temporary_.path() / "out.gguf",
                     std::string("blk.0.").append(tensor).append(".weight")),
              quantized)
        << module;
    EXPECT_EQ(shape_, shape);
  }
}

// A linear that the artifact does not quantize stays as the class stores it.
TEST_F(Conv1d, StaysAsItIsStoredWhereItIsNotQuantized) {
  QuantizeOptions options;
  options.model = model_;
  options.targets = {"ct:W4A16-g32"};
  options.method = "rtn";
  options.output = temporary_.path() / "out";
  options.tensor_types = {"c_fc=none"};
  quantize(options);
  const std::string name = "transformer.h.0.mlp.c_fc.weight";
  const std::vector<float> stored = values(model_, name);
  EXPECT_EQ(values(temporary_.path() / "out", name), stored);
  EXPECT_EQ(shape_, (Shape{kHidden, 4 * kHidden}));
}

}  // namespace
}  // namespace qwodel
