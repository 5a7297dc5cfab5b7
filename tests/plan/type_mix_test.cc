// The type of every tensor is the one llama-quantize gives it: models of several shapes, every file
// type, with and without importance (tests/golden/type_mixes.json, made by make_mix_goldens.py).
#include "plan/type_mix.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "io/json.h"
#include "plan/tensor_plan.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

struct Model {
  std::vector<PlanInput> inputs;
  QuantizationTraits traits;
  ImportanceMatrix importance;
};

Model read_model(const Json& golden) {
  Model model;
  const std::string architecture = golden["architecture"];
  GgufMetadata metadata;
  metadata.set_string("general.architecture", architecture);
  metadata.set_u32(architecture + ".block_count", golden["layers"]);
  metadata.set_u32(architecture + ".attention.head_count", golden["heads"]);
  metadata.set_u32(architecture + ".attention.head_count_kv", golden["kv_heads"]);
  metadata.set_u32(architecture + ".expert_count", golden["experts"]);
  std::vector<std::string> names;
  for (const Json& tensor : golden["tensors"]) {
    PlanInput input{tensor[0], tensor[1], TensorType::f32};
    names.push_back(input.name);
    if (input.shape.size() > 1 && !input.name.starts_with("token_embd") &&
        !input.name.starts_with("output")) {
      const std::uint64_t experts = input.shape.size() == 3 ? input.shape[0] : 1;
      model.importance.entries[input.name] =
          std::vector<float>(static_cast<std::size_t>(input.shape.back() * experts), 1.0f);
    }
    model.inputs.push_back(std::move(input));
  }
  model.traits = quantization_traits(metadata, names);
  return model;
}

// "12:14 3:0": runs of ggml type ids, as the golden folds them; "refused" when planning fails.
std::string planned_types(const Model& model, FileType file_type, bool with_importance) {
  PlanOptions options;
  options.file_type = file_type;
  std::vector<std::pair<int, int>> runs;
  try {
    const TensorPlan plan = plan_tensors(model.inputs, model.traits, options,
                                         with_importance ? &model.importance : nullptr, false);
    for (const PlannedTensor& tensor : plan.tensors) {
      const int id = info(tensor.type).ggml_id;
      if (runs.empty() || runs.back().second != id) runs.emplace_back(0, id);
      ++runs.back().first;
    }
  } catch (const Error&) {
    return "refused";
  }
  std::string text;
  for (const auto& [length, id] : runs) {
    text += fmt::format("{}{}:{}", text.empty() ? "" : " ", length, id);
  }
  return text;
}

TEST(TypeMix, EqualsLlamaQuantizeForEveryFileTypeAndModelShape) {
  const Json goldens = read_json(QWODEL_SOURCE_DIR "/tests/golden/type_mixes.json");
  std::size_t compared = 0;
  for (const auto& [name, golden] : goldens["models"].items()) {
    const Model model = read_model(golden);
    for (const auto& [key, expected] : golden["types"].items()) {
      const bool with_importance = key.ends_with("+imatrix");
      const auto file_type = file_type_from_name(key.substr(0, key.find('+')));
      ASSERT_TRUE(file_type) << key;
      EXPECT_EQ(planned_types(model, *file_type, with_importance), expected.get<std::string>())
          << name << " " << key;
      ++compared;
    }
  }
  EXPECT_GE(compared, 400u);
}

TEST(TypeMix, OverridesComeBeforeTheMixAndExplicitTypesBeforeOverrides) {
  const Json goldens = read_json(QWODEL_SOURCE_DIR "/tests/golden/type_mixes.json");
  const Model model = read_model(goldens["models"]["llama"]);
  PlanOptions options;
  options.file_type = FileType::q4_k_m;
  options.overrides.push_back(parse_tensor_type_override("FFN_DOWN=q8_0"));
  options.overrides.push_back(parse_tensor_type_override("ffn=Q2_K"));
  options.output_type = TensorType::q5_k;
  options.token_embedding_type = TensorType::q3_k;
  const TensorPlan plan = plan_tensors(model.inputs, model.traits, options, nullptr, false);
  for (const PlannedTensor& tensor : plan.tensors) {
    const std::string& name = model.inputs[tensor.input].name;
    const auto named = [&name](const char* part) { return name.find(part) != std::string::npos; };
    const TensorType expected = name == "output.weight"       ? TensorType::q5_k
                                : name == "token_embd.weight" ? TensorType::q3_k
                                : named("norm")               ? TensorType::f32
                                : named("ffn_down")           ? TensorType::q8_0
                                : named("ffn")                ? TensorType::q2_k
                                                              : tensor.type;
    EXPECT_EQ(tensor.type, expected) << name;
  }
}

TEST(TypeMix, PureUsesOneTypeForAllMatrices) {
  const Json goldens = read_json(QWODEL_SOURCE_DIR "/tests/golden/type_mixes.json");
  const Model model = read_model(goldens["models"]["llama"]);
  PlanOptions options;
  options.file_type = FileType::q4_k_m;
  options.pure = true;
  for (const PlannedTensor& t :
       plan_tensors(model.inputs, model.traits, options, nullptr, false).tensors) {
    EXPECT_EQ(t.type, t.quantized ? TensorType::q4_k : TensorType::f32);
  }
}

TEST(TypeMix, RefusesBadOverridesAndWrongImportance) {
  EXPECT_THROW(parse_tensor_type_override("ffn_down"), Error);
  EXPECT_THROW(parse_tensor_type_override("ffn_down=Q9_Z"), Error);
  EXPECT_THROW(parse_tensor_type_override("(=Q8_0"), Error);
  const Json goldens = read_json(QWODEL_SOURCE_DIR "/tests/golden/type_mixes.json");
  Model model = read_model(goldens["models"]["llama"]);
  model.importance.entries["blk.0.attn_q.weight"].resize(7);
  PlanOptions options;
  options.file_type = FileType::iq2_xs;
  EXPECT_THROW(plan_tensors(model.inputs, model.traits, options, &model.importance, false),
               ValidationError);
}

}  // namespace
}  // namespace qwodel
