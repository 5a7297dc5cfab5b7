// A small Llama checkpoint with random weights, for tests that need a model of a certain size or
// with a certain defect.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "io/json.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {

struct TinyLlama {
  std::uint64_t hidden = 256;
  std::uint64_t intermediate = 512;
  std::uint64_t layers = 2;
  std::uint64_t vocab = 512;  // the shipped tokenizer's size
  std::uint64_t experts = 0;  // of a layer: then it is a Mixtral
  // Tensors besides, by name and shape.
  std::vector<std::pair<std::string, std::vector<std::uint64_t>>> extra = {};
  // Called with every tensor's name and values before they are written.
  std::function<void(const std::string&, std::vector<float>&)> edit = {};

  std::vector<std::pair<std::string, std::vector<std::uint64_t>>> tensors() const {
    std::vector<std::pair<std::string, std::vector<std::uint64_t>>> all = {
        {"model.embed_tokens.weight", {vocab, hidden}}, {"model.norm.weight", {hidden}}};
    for (std::uint64_t i = 0; i < layers; ++i) {
      const std::string p = "model.layers." + std::to_string(i) + ".";
      for (const char* name : {"q", "k", "v", "o"}) {
        all.push_back({p + "self_attn." + name + "_proj.weight", {hidden, hidden}});
      }
      if (experts == 0) add_feed_forward(p + "mlp.", {"gate_proj", "up_proj", "down_proj"}, all);
      for (std::uint64_t e = 0; e < experts; ++e) {
        add_feed_forward(p + "block_sparse_moe.experts." + std::to_string(e) + ".",
                         {"w1", "w3", "w2"}, all);
      }
      if (experts > 0) all.push_back({p + "block_sparse_moe.gate.weight", {experts, hidden}});
      all.push_back({p + "input_layernorm.weight", {hidden}});
      all.push_back({p + "post_attention_layernorm.weight", {hidden}});
    }
    all.insert(all.end(), extra.begin(), extra.end());
    return all;
  }

  // Writes config.json, model.safetensors and the tokenizer of models/stories260K.
  void write(const std::filesystem::path& directory) const {
    std::filesystem::create_directories(directory);
    const std::filesystem::path shipped =
        std::filesystem::path(QWODEL_SOURCE_DIR) / "models/stories260K";
    for (const char* file :
         {"tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"}) {
      std::filesystem::copy_file(shipped / file, directory / file,
                                 std::filesystem::copy_options::overwrite_existing);
    }
    Json config = read_json(shipped / "config.json");
    config["hidden_size"] = hidden;
    config["intermediate_size"] = intermediate;
    config["num_hidden_layers"] = layers;
    config["num_attention_heads"] = 4;
    config["num_key_value_heads"] = 4;
    config["head_dim"] = hidden / 4;
    config["vocab_size"] = vocab;
    if (experts > 0) {
      config["architectures"] = {"MixtralForCausalLM"};
      config["model_type"] = "mixtral";
      config["num_local_experts"] = experts;
      config["num_experts_per_tok"] = 1;
    }
    std::ofstream(directory / "config.json") << config.dump();
    write_weights(directory / "model.safetensors");
  }

 private:
  using Shapes = std::vector<std::pair<std::string, std::vector<std::uint64_t>>>;

  // Names of the gate, of what it is multiplied with, and of the way back.
  void add_feed_forward(const std::string& module, const std::array<const char*, 3>& names,
                        Shapes& all) const {
    all.push_back({module + names[0] + ".weight", {intermediate, hidden}});
    all.push_back({module + names[1] + ".weight", {intermediate, hidden}});
    all.push_back({module + names[2] + ".weight", {hidden, intermediate}});
  }

  void write_weights(const std::filesystem::path& path) const {
    Json header = Json::object();
    std::string data;
    std::uint64_t state = 1;
    for (const auto& [name, shape] : tensors()) {
      std::uint64_t count = 1;
      for (const std::uint64_t extent : shape) count *= extent;
      std::vector<float> values(static_cast<std::size_t>(count));
      for (float& value : values) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        value = (static_cast<float>(state >> 40) / 16777216.0f - 0.5f) * 0.1f;
      }
      if (edit) edit(name, values);
      const std::uint64_t start = data.size();
      data.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
      header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {start, data.size()}}};
    }
    std::ofstream(path, std::ios::binary) << safetensors_bytes(header.dump(), data);
  }
};

}  // namespace qwodel
