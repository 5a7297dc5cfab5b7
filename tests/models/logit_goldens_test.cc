// Logits of tiny models of every family against transformers in single precision
// (tools/golden/make_logit_goldens.py), and proof that the comparison would notice: a graph with
// one of its traits changed is outside the bound.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "graph/executor.h"
#include "models/build_graph.h"
#include "tests/models/golden_spec.h"
#include "tests/models/recipe_weights.h"
#include "tests/sanitized.h"

namespace qwodel {
namespace {

// Of the range of all logits. Rounding makes 6e-7; the two forms of GELU differ by 4e-5.
constexpr double kBound = 1e-5;

std::filesystem::path goldens() { return model_goldens().parent_path() / "logits"; }

struct Case {
  Json golden;
  std::vector<SourceTensor> tensors;
  ModelSpec spec;
};

std::vector<SourceTensor> case_tensors(const Json& golden) {
  std::vector<SourceTensor> tensors = golden_tensors(golden["model"]);
  for (const Json& added : golden["add"]) {
    const std::string name = added[0];
    std::erase_if(tensors, [&](const SourceTensor& tensor) { return tensor.name == name; });
    tensors.push_back({name, added[1].get<std::vector<std::uint64_t>>()});
  }
  for (const Json& dropped : golden["drop"]) {
    std::erase_if(tensors, [&](const SourceTensor& tensor) { return dropped == tensor.name; });
  }
  return tensors;
}

Case load_case(const std::string& name) {
  Case result;
  result.golden = read_json(goldens() / (name + ".json"));
  const std::string model = result.golden["model"];
  result.tensors = case_tensors(result.golden);
  Json config = read_json(model_goldens() / model / "config.json");
  for (const auto& [key, value] : result.golden["edits"].items()) {
    config[key] = value;
    if (value.is_null()) config.erase(key);
  }
  result.spec = spec_of(model_goldens() / model, config, result.tensors);
  return result;
}

// The largest error of all recorded logits, as a share of the range.
double largest_error(const Case& test, const Graph& graph) {
  const RecipeWeights weights(graph, test.spec, test.tensors);
  ExecutorOptions options;
  options.compute = ComputeType::f32;
  options.threads = 1;
  const Executor executor(graph, weights, options);
  double largest = 0;
  for (const Json& sequence : test.golden["sequences"]) {
    const std::uint64_t length = sequence["length"];
    TokenSequences tokens;
    tokens.append(recipe_tokens(length));
    const auto head = executor.forward(tokens);
    for (std::size_t i = 0; i < sequence["positions"].size(); ++i) {
      std::vector<float> row(graph.vocab_size);
      executor.logits(*head, sequence["positions"][i], 0, MatrixView(row.data(), 1, row.size()));
      const Json& expected = sequence["logits"][i];
      const std::size_t step = test.golden["column_step"];
      for (std::size_t k = 0; k < expected.size(); ++k) {
        const double error =
            std::abs(static_cast<double>(row.at(k * step)) - expected[k].get<double>());
        largest =
            std::isnan(error) ? std::numeric_limits<double>::infinity() : std::max(largest, error);
      }
    }
  }
  return largest / test.golden["range"].get<double>();
}

class LogitGolden : public testing::TestWithParam<std::string> {};

TEST_P(LogitGolden, EqualsTransformers) {
  const Case test = load_case(GetParam());
  ASSERT_GT(test.golden["range"].get<double>(), 0.5) << "logits that could hide an error";
  EXPECT_LT(largest_error(test, build_graph(test.spec)), kBound);
}

// What config.json says and GGUF has no key for: a file made of such a model computes something
// else, here as in llama.cpp.
const std::map<std::string, std::string> kNotInGguf = {
    {"mistral", "sliding_window"},
    {"mixtral", "sliding_window"},
    {"qwen2", "sliding_window"},
    {"qwen3", "sliding_window"},
    {"starcoder2", "sliding_window"},
    {"qwen2_moe_normalized", "norm_topk_prob"},
    {"qwen3_moe", "norm_topk_prob"},
    {"gemma2", "query_pre_attn_scalar other than head_dim"},
    {"gemma3", "query_pre_attn_scalar other than head_dim"},
    {"gemma3_old", "query_pre_attn_scalar other than head_dim"},
    {"falcon_one_norm", "rope_theta"},
    {"minicpm_longrope", "original_max_position_embeddings"},
    {"deepseek_v3_yarn", "mscale other than mscale_all_dim"},
};

TEST_P(LogitGolden, IsTheSameWithoutHintsWhereGgufHasAllKeys) {
  Case test = load_case(GetParam());
  test.spec.hints = {};
  const double error = largest_error(test, build_graph(test.spec));
  const auto lost = kNotInGguf.find(GetParam());
  if (lost == kNotInGguf.end()) {
    EXPECT_LT(error, kBound);
  } else {
    EXPECT_GT(error, kBound) << lost->second << " is in the file after all";
  }
}

// What changes one trait of an operation; false when the operation does not have it.
struct Change {
  const char* name;
  std::function<bool(Op&)> apply;
};

template <class Kind>
std::function<bool(Op&)> change(std::function<bool(Kind&)> apply) {
  return [apply](Op& op) {
    auto* kind = std::get_if<Kind>(&op.kind);
    return kind != nullptr && apply(*kind);
  };
}

const std::vector<Change> kChanges = {
    {"other rotary layout", change<RopeOp>([](RopeOp& op) {
       // A head of two rotated columns has one pair, whatever the layout.
       const bool interleaved = op.layout == RopeLayout::interleaved;
       op.layout = interleaved ? RopeLayout::halves : RopeLayout::interleaved;
       return op.frequencies.size() > 1;
     })},
    {"no rotation", change<RopeOp>([](RopeOp& op) {
       std::fill(op.frequencies.begin(), op.frequencies.end(), 0.0f);
       std::fill(op.long_frequencies.begin(), op.long_frequencies.end(), 0.0f);
       return true;
     })},
    {"rotary magnitude of 1", change<RopeOp>([](RopeOp& op) {
       const bool had_one = op.magnitude != 1;
       op.magnitude = op.long_magnitude = 1;
       return had_one;
     })},
    {"no long rotation", change<RopeOp>([](RopeOp& op) {
       const bool had_one = !op.long_frequencies.empty();
       op.long_frequencies.clear();
       return had_one;
     })},
    {"no window", change<AttentionOp>([](AttentionOp& op) {
       const bool had_one = op.window != 0 && op.window < 72;
       op.window = 0;
       return had_one;
     })},
    {"a window one shorter", change<AttentionOp>([](AttentionOp& op) {
       const bool had_one = op.window != 0 && op.window < 72;
       op.window = had_one ? op.window - 1 : 0;
       return had_one;
     })},
    {"other attention scale", change<AttentionOp>([](AttentionOp& op) {
       op.scale *= 1.5f;
       return true;
     })},
    {"no attention cap", change<AttentionOp>([](AttentionOp& op) {
       const bool had_one = op.softcap != 0;
       op.softcap = 0;
       return had_one;
     })},
    {"no slopes", change<AttentionOp>([](AttentionOp& op) {
       const bool had_some = !op.alibi_slopes.empty();
       op.alibi_slopes.clear();
       return had_some;
     })},
    {"other activation", change<ActivationOp>([](ActivationOp& op) {
       const bool tanh_form = op.kind == ActivationKind::gelu_tanh;
       op.kind = tanh_form ? ActivationKind::gelu_erf : ActivationKind::gelu_tanh;
       return true;
     })},
    {"other routing weights", change<RouteOp>([](RouteOp& op) {
       op.normalize = !op.normalize;
       return true;
     })},
    {"no groups of experts", change<RouteOp>([](RouteOp& op) {
       const bool had_some = op.groups > 1;
       op.groups = op.top_groups = 1;
       return had_some;
     })},
    {"no selection bias", change<RouteOp>([](RouteOp& op) {
       const bool had_one = op.selection_bias != kNoId;
       op.selection_bias = kNoId;
       return had_one;
     })},
    {"other norm", change<NormOp>([](NormOp& op) {
       op.kind = op.kind == NormKind::rms ? NormKind::layer : NormKind::rms;
       return true;
     })},
    {"no clamp", change<ClampOp>([](ClampOp& op) {
       op.limit = 1e6f;
       return true;
     })},
    {"other scale", change<ScaleOp>([](ScaleOp& op) {
       op.factor *= 1.5f;
       return true;
     })},
};

TEST_P(LogitGolden, WouldNoticeAChange) {
  const Case test = load_case(GetParam());
  const Graph graph = build_graph(test.spec);
  for (const Change& change : kChanges) {
    Graph changed = graph;
    bool applies = false;
    for (Stage& stage : changed.stages) {
      for (Op& op : stage.ops) applies = change.apply(op) || applies;
    }
    if (!applies) continue;
    EXPECT_GT(largest_error(test, changed), kBound) << change.name;
    if (kSanitized) break;
  }
}

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(goldens())) {
    names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

INSTANTIATE_TEST_SUITE_P(Models, LogitGolden, testing::ValuesIn(golden_names()),
                         [](const auto& test) { return test.param; });

}  // namespace
}  // namespace qwodel
