#include "sources/replaceable_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>

#include "pipeline/running_model.h"

namespace qwodel {
namespace {

TEST(ReplaceableWeights, EveryViewOfAReplacedTensorChanges) {
  RunOptions options;
  options.model = std::filesystem::path(QWODEL_SOURCE_DIR) / "models" / "stories260K";
  const RunningModel model(options);
  ReplaceableWeights weights(model.graph, model.source.spec, *model.source.weights);
  const auto& sources = model.source.spec.sources;
  // Its rows are permuted on the way to the graph.
  constexpr std::string_view kName = "model.layers.1.self_attn.q_proj.weight";
  const auto source =
      static_cast<std::uint32_t>(std::ranges::find(sources, kName) - sources.begin());
  ASSERT_LT(source, sources.size());
  const auto all_values = [&](const GraphWeights& from) {
    std::vector<std::vector<float>> values;
    for (WeightId w = 0; w < model.graph.weights.size(); ++w) {
      std::uint64_t count = 1;
      for (const std::uint64_t extent : model.graph.weights[w].shape) count *= extent;
      from.read(w, 0, values.emplace_back(static_cast<std::size_t>(count)));
    }
    return values;
  };
  const auto before = all_values(model.weights);
  EXPECT_EQ(all_values(weights), before);

  const WeightTensor& stored = *model.source.weights->find(kName);
  weights.replace(source, [&](std::uint64_t first, std::span<float> out) {
    stored.read(first, out);
    for (float& value : out) value *= 2;
  });
  const auto changed = all_values(weights);
  for (WeightId w = 0; w < before.size(); ++w) {
    if (model.graph.weights[w].name != "blk.1.attn_q.weight") {
      EXPECT_EQ(changed[w], before[w]);
      continue;
    }
    for (std::size_t i = 0; i < before[w].size(); ++i) {
      ASSERT_EQ(changed[w][i], 2 * before[w][i]);
    }
  }
  weights.replace(source, {});
  EXPECT_EQ(all_values(weights), before);
}

}  // namespace
}  // namespace qwodel
