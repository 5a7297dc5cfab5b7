#include "models/describe.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "io/json.h"
#include "models/tensor_rules.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

using testing::AssertionResult;

const std::filesystem::path kNowhere = "/nonexistent";

// A Llama of `layers` layers, 4 heads of 8, 2 key-value heads.
Json llama_config(std::uint64_t layers = 2) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", 64},
          {"hidden_size", 32},
          {"intermediate_size", 48},
          {"num_hidden_layers", layers},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2}};
}

std::vector<SourceTensor> llama_tensors(std::uint64_t layers = 2) {
  std::vector<SourceTensor> tensors = {{"model.embed_tokens.weight", {64, 32}},
                                       {"model.norm.weight", {32}}};
  for (std::uint64_t i = 0; i < layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    tensors.push_back({layer + "input_layernorm.weight", {32}});
    tensors.push_back({layer + "post_attention_layernorm.weight", {32}});
    tensors.push_back({layer + "self_attn.q_proj.weight", {32, 32}});
    tensors.push_back({layer + "self_attn.k_proj.weight", {16, 32}});
    tensors.push_back({layer + "self_attn.v_proj.weight", {16, 32}});
    tensors.push_back({layer + "self_attn.o_proj.weight", {32, 32}});
    tensors.push_back({layer + "mlp.gate_proj.weight", {48, 32}});
    tensors.push_back({layer + "mlp.up_proj.weight", {48, 32}});
    tensors.push_back({layer + "mlp.down_proj.weight", {32, 48}});
  }
  return tensors;
}

ModelSpec describe(const Json& config, const std::vector<SourceTensor>& tensors,
                   const ModelOptions& options = {}) {
  const ModelChoice choice = choose_model(kNowhere, config, tensors, options);
  const ModelContext model{*choice.row, choice.config, options,
                           kNowhere,    tensors,       choice.config.values.layers()};
  return describe_without_vocabulary(model, config);
}

// The message of the error that describing gives, which must be of type E.
template <class E>
std::string failure(const Json& config, const std::vector<SourceTensor>& tensors,
                    const ModelOptions& options = {}) {
  try {
    describe(config, tensors, options);
  } catch (const E& error) {
    return error.what();
  }
  ADD_FAILURE() << "no error, or of another type";
  return {};
}

const ModelTensor& tensor_named(const ModelSpec& spec, std::string_view name) {
  for (const ModelTensor& tensor : spec.tensors) {
    if (tensor.name == name) return tensor;
  }
  throw std::runtime_error(fmt::format("no tensor {}", name));
}

TEST(DescribeModel, InterleavesRotaryRows) {
  const ModelSpec spec = describe(llama_config(), llama_tensors());
  const ModelTensor& q = tensor_named(spec, "blk.1.attn_q.weight");
  ASSERT_EQ(q.parts.size(), 1u);
  const TensorView& view = q.parts[0];
  EXPECT_EQ(q.shape, (std::vector<std::uint64_t>{32, 32}));
  ASSERT_EQ(view.shape, (std::vector<std::uint64_t>{4, 4, 2, 32}));
  std::uint64_t row = 0;
  for (std::uint64_t head = 0; head < 4; ++head) {
    for (std::uint64_t pair = 0; pair < 4; ++pair) {
      for (std::uint64_t half = 0; half < 2; ++half, ++row) {
        const std::uint64_t source = head * 8 + half * 4 + pair;
        EXPECT_EQ(
            view.offset + head * view.strides[0] + pair * view.strides[1] + half * view.strides[2],
            source * 32)
            << "row " << row;
      }
    }
  }
  EXPECT_EQ(view.strides[3], 1u);
  EXPECT_EQ(tensor_named(spec, "blk.0.attn_k.weight").parts[0].shape[0], 2u);
}

TEST(DescribeModel, SkipsBuffersAndOtherModalities) {
  std::vector<SourceTensor> tensors = llama_tensors();
  const std::size_t count = describe(llama_config(), tensors).tensors.size();
  tensors.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", {4}});
  tensors.push_back({"model.vision_tower.encoder.layers.0.fc1.weight", {4, 4}});
  tensors.push_back({"multi_modal_projector.linear_1.weight", {4, 4}});
  EXPECT_EQ(describe(llama_config(), tensors).tensors.size(), count);
}

TEST(DescribeModel, StripsPrefixesOfMultimodalCheckpoints) {
  for (const std::string prefix : {"language_model.", "model.language_model."}) {
    std::vector<SourceTensor> tensors = llama_tensors();
    for (SourceTensor& tensor : tensors) {
      tensor.name =
          prefix.starts_with("model.") ? prefix + tensor.name.substr(6) : prefix + tensor.name;
    }
    EXPECT_EQ(describe(llama_config(), tensors).tensors.size(), tensors.size()) << prefix;
  }
}

TEST(DescribeModel, NamesATensorWithoutRule) {
  std::vector<SourceTensor> tensors = llama_tensors();
  tensors.push_back({"model.layers.0.self_attn.sinks", {4}});
  EXPECT_NE(failure<ValidationError>(llama_config(), tensors).find("self_attn.sinks"),
            std::string::npos);
}

TEST(DescribeModel, NamesEveryRequiredTensorThatIsMissing) {
  const std::vector<SourceTensor> all = llama_tensors();
  for (std::size_t left_out = 0; left_out < all.size(); ++left_out) {
    std::vector<SourceTensor> tensors = all;
    tensors.erase(tensors.begin() + static_cast<std::ptrdiff_t>(left_out));
    EXPECT_NE(failure<ValidationError>(llama_config(), tensors).find(all[left_out].name),
              std::string::npos);
  }
}

TEST(DescribeModel, RejectsATensorGivenTwice) {
  std::vector<SourceTensor> tensors = llama_tensors();
  tensors.push_back({"norm.weight", {32}});
  failure<ValidationError>(llama_config(), tensors);
}

TEST(DescribeModel, RejectsLayersBeyondTheConfig) {
  const std::string message = failure<ValidationError>(llama_config(2), llama_tensors(3));
  EXPECT_NE(message.find("model.layers.2."), std::string::npos);
}

TEST(DescribeModel, DoesNotCountToALayerNumberThatTensorsDoNotProve) {
  const std::string message = failure<ValidationError>(llama_config(1000000000), llama_tensors());
  EXPECT_NE(message.find("model.layers.2."), std::string::npos);
}

TEST(DescribeModel, RejectsHostileConfigs) {
  const std::vector<std::pair<const char*, Json>> edits = {{"num_attention_heads", 0},
                                                           {"num_attention_heads", -4},
                                                           {"num_attention_heads", 3},
                                                           {"num_attention_heads", 4000000000u},
                                                           {"num_attention_heads", "four"},
                                                           {"num_attention_heads", 4.5},
                                                           {"num_key_value_heads", 0},
                                                           {"num_key_value_heads", 5},
                                                           {"num_hidden_layers", 0},
                                                           {"num_hidden_layers", -1},
                                                           {"num_hidden_layers", 1e300},
                                                           {"num_hidden_layers", Json::array({2})},
                                                           {"hidden_size", -32},
                                                           {"hidden_size", Json::object()},
                                                           {"vocab_size", 18446744073709551615u},
                                                           {"rms_norm_eps", "small"},
                                                           {"rms_norm_eps", 1e300},
                                                           {"head_dim", 0},
                                                           {"max_position_embeddings", -1},
                                                           {"rope_theta", "hot"},
                                                           {"architectures", 5},
                                                           {"intermediate_size", 4294967296u}};
  for (const auto& [key, value] : edits) {
    Json config = llama_config();
    config[key] = value;
    EXPECT_THROW(describe(config, llama_tensors()), ValidationError) << key << " " << value;
  }
}

TEST(DescribeModel, RejectsHostileRotaryScaling) {
  Json config = llama_config();
  config["rope_scaling"] = {{"rope_type", "llama3"}, {"factor", "eight"}};
  failure<ValidationError>(config, llama_tensors());
  config["rope_scaling"] = {{"rope_type", "llama3"}};
  config["head_dim"] = 4294967295u;
  failure<ValidationError>(config, llama_tensors());
}

TEST(DescribeModel, RejectsShapesThatOverflow) {
  std::vector<SourceTensor> tensors = llama_tensors();
  tensors[0].shape = {1ull << 40, 1ull << 40};
  failure<ValidationError>(llama_config(), tensors);
  tensors[0].shape = {1, 1, 1, 1, 1};
  failure<ValidationError>(llama_config(), tensors);
  tensors = llama_tensors();
  tensors[4].shape = {};  // q_proj without rows
  failure<ValidationError>(llama_config(), tensors);
}

TEST(DescribeModel, AnUnknownClassNamesItsNeighbourAndWhatItLacks) {
  Json config = llama_config();
  config["architectures"] = {"LlamoForCausalLM"};
  std::vector<SourceTensor> tensors = llama_tensors();
  tensors.push_back({"model.layers.0.self_attn.sinks", {4}});
  const std::string message = failure<FormatNotSupportedError>(config, tensors);
  for (const char* part : {"LlamoForCausalLM", "LlamaForCausalLM", "self_attn.sinks"}) {
    EXPECT_NE(message.find(part), std::string::npos) << message;
  }
  EXPECT_EQ(message.find("--arch-as"), std::string::npos) << message;
  tensors.pop_back();
  EXPECT_NE(failure<FormatNotSupportedError>(config, tensors).find("--arch-as llama"),
            std::string::npos);
}

TEST(DescribeModel, ArchAsAcceptsAnUnknownClass) {
  Json config = llama_config();
  config["architectures"] = {"SomebodysForCausalLM"};
  const ModelSpec spec = describe(config, llama_tensors(),
                                  {.arch_as = "llama", .tokenizer_pre = {}, .model_name = {}});
  EXPECT_EQ(spec.architecture, "llama");
  failure<FormatNotSupportedError>(config, llama_tensors(),
                                   {.arch_as = "lama", .tokenizer_pre = {}, .model_name = {}});
}

Json mixtral_config(std::uint64_t experts) {
  Json config = llama_config(1);
  config["architectures"] = {"MixtralForCausalLM"};
  config["model_type"] = "mixtral";
  config["num_local_experts"] = experts;
  return config;
}

std::vector<SourceTensor> mixtral_tensors(std::uint64_t experts) {
  std::vector<SourceTensor> tensors;
  for (SourceTensor& tensor : llama_tensors(1)) {
    if (tensor.name.find(".mlp.") == std::string::npos) tensors.push_back(std::move(tensor));
  }
  const std::string moe = "model.layers.0.block_sparse_moe.";
  tensors.push_back({moe + "gate.weight", {experts, 32}});
  for (std::uint64_t e = 0; e < experts; ++e) {
    tensors.push_back({fmt::format("{}experts.{}.w1.weight", moe, e), {48, 32}});
    tensors.push_back({fmt::format("{}experts.{}.w2.weight", moe, e), {32, 48}});
    tensors.push_back({fmt::format("{}experts.{}.w3.weight", moe, e), {48, 32}});
  }
  return tensors;
}

TEST(DescribeModel, StacksExpertsInIndexOrderWhateverTheFileOrder) {
  std::vector<SourceTensor> tensors = mixtral_tensors(12);
  std::reverse(tensors.begin(), tensors.end());
  const ModelSpec spec = describe(mixtral_config(12), tensors);
  const ModelTensor& down = tensor_named(spec, "blk.0.ffn_down_exps.weight");
  EXPECT_EQ(down.shape, (std::vector<std::uint64_t>{12, 32, 48}));
  ASSERT_EQ(down.parts.size(), 12u);
  for (std::size_t e = 0; e < 12; ++e) {
    EXPECT_EQ(spec.sources[down.parts[e].source],
              fmt::format("model.layers.0.block_sparse_moe.experts.{}.w2.weight", e));
  }
}

TEST(DescribeModel, NamesAMissingExpert) {
  std::vector<SourceTensor> tensors = mixtral_tensors(4);
  tensors.pop_back();
  EXPECT_NE(failure<ValidationError>(mixtral_config(4), tensors).find("experts.3.w3"),
            std::string::npos);
  failure<ValidationError>(mixtral_config(3), mixtral_tensors(4));
  failure<ValidationError>(mixtral_config(4294967295u), mixtral_tensors(4));
  tensors = mixtral_tensors(4);
  tensors.back().shape = {47, 32};
  failure<ValidationError>(mixtral_config(4), tensors);
}

TEST(DescribeModel, StacksStableLmsNormsPerHead) {
  Json config = llama_config(1);
  config["architectures"] = {"StableLmForCausalLM"};
  config["model_type"] = "stablelm";
  std::vector<SourceTensor> tensors = llama_tensors(1);
  for (int head = 0; head < 4; ++head) {
    tensors.push_back(
        {fmt::format("model.layers.0.self_attn.q_layernorm.norms.{}.weight", head), {8}});
  }
  for (int head = 0; head < 2; ++head) {
    tensors.push_back(
        {fmt::format("model.layers.0.self_attn.k_layernorm.norms.{}.weight", head), {8}});
  }
  const ModelSpec spec = describe(config, tensors);
  const ModelTensor& q = tensor_named(spec, "blk.0.attn_q_norm.weight");
  EXPECT_EQ(q.shape, (std::vector<std::uint64_t>{4, 8}));
  EXPECT_TRUE(q.keep_f32);
  EXPECT_EQ(tensor_named(spec, "blk.0.attn_k_norm.weight").shape[0], 2u);
}

TEST(MatchPattern, ReadsNumbers) {
  const auto match = match_pattern("layers.{L}.experts.{E}.w1", "layers.12.experts.345.w1");
  ASSERT_TRUE(match);
  EXPECT_EQ(match->layer, 12u);
  EXPECT_EQ(match->index, 345u);
  for (const char* name :
       {"layers.1.experts.2.w", "layers..experts.2.w1", "layers.01.experts.2.w1",
        "layers.-1.experts.2.w1", "layers.1.experts.2.w11", "layers.1000000000.experts.2.w1",
        "layers.", "", "layers.1.experts.x.w1", "layers.99999999999999999999999.experts.2.w1"}) {
    EXPECT_FALSE(match_pattern("layers.{L}.experts.{E}.w1", name)) << name;
  }
}

TEST(KeptF32, FollowsTheConverter) {
  EXPECT_TRUE(is_kept_f32("blk.3.attn_q.bias", 1));
  EXPECT_TRUE(is_kept_f32("blk.3.attn_q_norm.weight", 2));
  EXPECT_TRUE(is_kept_f32("blk.3.ffn_gate_inp.weight", 2));
  EXPECT_TRUE(is_kept_f32("position_embd.weight", 2));
  EXPECT_FALSE(is_kept_f32("blk.3.ffn_gate.weight", 2));
  EXPECT_FALSE(is_kept_f32("token_embd.weight", 2));
}

TEST(ModelClasses, RowsAreConsistent) {
  std::set<std::string_view> names;
  for (const ModelClass* row : model_classes()) {
    EXPECT_TRUE(names.insert(row->name).second) << row->name << " has two rows";
    EXPECT_FALSE(row->vocabulary.empty()) << row->name;
    EXPECT_NE(row->metadata, nullptr) << row->name;
    for (const TensorRule& rule : row->tensors) {
      EXPECT_EQ(rule.hf.find("{L}") == std::string_view::npos,
                rule.gguf.find("{L}") == std::string_view::npos)
          << rule.hf;
      EXPECT_EQ(rule.hf.find("{E}") != std::string_view::npos, rule.stack != Stack::none)
          << rule.hf;
    }
    for (const ConfigDefaults& defaults : row->defaults) {
      EXPECT_TRUE(Json::parse(defaults.values).is_object()) << row->name;
    }
  }
}

}  // namespace
}  // namespace qwodel
