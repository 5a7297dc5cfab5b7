#include "methods/awq.h"

#include <gtest/gtest.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace qwodel {
namespace {

constexpr std::size_t kCols = 128;
constexpr GroupIntScheme kScheme{.bits = 4, .group_size = 64, .symmetric = false};

struct Layer {
  std::vector<float> weights, gram, mean_abs;

  AwqGroup group() const {
    return {.weights = {{ConstMatrixView(weights.data(), weights.size() / kCols, kCols), kScheme}},
            .gram = {gram.data(), kCols, kCols},
            .mean_abs = mean_abs};
  }
};

// Inputs of `loud` standard deviation in every sixteenth channel, 1 elsewhere, independent.
Layer make_layer(std::size_t rows, float loud, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  Layer layer;
  layer.weights.resize(rows * kCols);
  for (float& weight : layer.weights) weight = normal(generator);
  layer.gram.assign(kCols * kCols, 0.0f);
  layer.mean_abs.resize(kCols);
  for (std::size_t c = 0; c < kCols; ++c) {
    const float deviation = c % 16 == 5 ? loud : 1.0f;
    layer.gram[c * kCols + c] = deviation * deviation;
    layer.mean_abs[c] = deviation * std::sqrt(2.0f / 3.14159265f);
  }
  return layer;
}

TEST(Awq, LoudChannelsGetLargerScales) {
  const Layer layer = make_layer(96, 30.0f, 1);
  const AwqScales found = search_awq_scales(layer.group(), {});
  EXPECT_LT(found.loss_after, 0.7 * found.loss_before);
  EXPECT_GT(found.loss_after, 0.01 * found.loss_before);
  EXPECT_GT(found.scales[5], 2 * found.scales[6]);
  const auto [low, high] = std::ranges::minmax(found.scales);
  EXPECT_NEAR(low * high, 1.0f, 1e-4f);
}

TEST(Awq, EqualChannelsKeepTheirScales) {
  const Layer layer = make_layer(96, 1.0f, 2);
  const AwqScales found = search_awq_scales(layer.group(), {.duo = false});
  EXPECT_EQ(found.scales, std::vector<float>(kCols, 1.0f));
  EXPECT_EQ(found.loss_after, found.loss_before);
  EXPECT_GT(found.loss_before, 0);
}

TEST(Awq, TheLossIsTheErrorOfTheOutputs) {
  // With independent inputs it is the weights' squared error weighed by the inputs' squares.
  const Layer layer = make_layer(64, 3.0f, 3);
  const AwqScales found =
      search_awq_scales(layer.group(), {.ratios = 1, .duo = false, .rounding = AwqRounding::range});
  GroupIntMatrix matrix(kScheme, 64, kCols);
  const ConstMatrixView view(layer.weights.data(), 64, kCols);
  fit_rows(view, {}, search_of(kScheme, false), 0, matrix);
  round_rows(view, 0, matrix);
  double expected = 0;
  std::vector<float> row(kCols);
  for (std::size_t r = 0; r < 64; ++r) {
    matrix.decode(r, row);
    for (std::size_t c = 0; c < kCols; ++c) {
      const auto error = static_cast<double>(row[c] - layer.weights[r * kCols + c]);
      expected += error * error * static_cast<double>(layer.gram[c * kCols + c]);
    }
  }
  EXPECT_NEAR(found.loss_before, expected, 1e-5 * expected);
}

// With the error of the outputs as the block's loss, as with that error itself.
TEST(Awq, ABlocksLossChoosesAmongTheBest) {
  const Layer layer = make_layer(96, 30.0f, 8);
  const AwqScales by_outputs = search_awq_scales(layer.group(), {});
  std::size_t asked = 0;
  AwqOptions options;
  options.block_loss = [&](const std::vector<std::vector<float>>& weights) {
    ++asked;
    double sum = 0;
    for (std::size_t i = 0; i < layer.weights.size(); ++i) {
      const auto error = static_cast<double>(weights.at(0).at(i) - layer.weights[i]);
      sum += error * error * static_cast<double>(layer.gram[(i % kCols) * (kCols + 1)]);
    }
    return sum;
  };
  const AwqScales by_block = search_awq_scales(layer.group(), options);
  EXPECT_EQ(by_block.scales, by_outputs.scales);
  EXPECT_NEAR(by_block.loss_before, by_outputs.loss_before, 1e-5 * by_outputs.loss_before);
  EXPECT_NEAR(by_block.loss_after, by_outputs.loss_after, 1e-5 * by_outputs.loss_after);
  EXPECT_LT(by_block.loss_after, 0.7 * by_block.loss_before);
  EXPECT_GE(asked, 5u);
  EXPECT_LE(asked, 7u);  // no scales, the best four, half steps
}

TEST(Awq, ABlockThatIsBestWithoutScalesGetsNone) {
  const Layer layer = make_layer(96, 30.0f, 8);
  double loss = 0;
  AwqOptions options;
  options.block_loss = [&](const auto&) { return loss += 1; };
  const AwqScales found = search_awq_scales(layer.group(), options);
  EXPECT_EQ(found.scales, std::vector<float>(kCols, 1.0f));
  EXPECT_EQ(found.loss_after, 1);
}

TEST(Awq, ABlockThatSeesNothingLeavesItToTheOutputs) {
  const Layer layer = make_layer(96, 30.0f, 8);
  AwqOptions options;
  options.block_loss = [](const auto&) { return 0.0; };
  const AwqScales found = search_awq_scales(layer.group(), options);
  EXPECT_EQ(found.scales, search_awq_scales(layer.group(), {}).scales);
  EXPECT_LT(found.loss_after, found.loss_before);
}

TEST(Awq, TiedChannelsHaveOneScale) {
  const Layer layer = make_layer(96, 30.0f, 4);
  AwqGroup group = layer.group();
  std::vector<std::uint32_t> channel(kCols);
  for (std::size_t c = 0; c < kCols; ++c) channel[c] = static_cast<std::uint32_t>(c % 32);
  group.channel = channel;
  const AwqScales found = search_awq_scales(group, {});
  EXPECT_LT(found.loss_after, found.loss_before);
  for (std::size_t c = 32; c < kCols; ++c) EXPECT_EQ(found.scales[c], found.scales[c - 32]);
}

TEST(Awq, SilentChannelsAreHarmless) {
  Layer layer = make_layer(96, 10.0f, 5);
  layer.gram[0] = 0.0f;
  layer.mean_abs[0] = 0.0f;
  const AwqScales found = search_awq_scales(layer.group(), {});
  for (const float scale : found.scales) EXPECT_TRUE(std::isfinite(scale) && scale > 0.0f);
}

// A sample stands for many rows: here it, every eighth row, is all there is to know.
TEST(Awq, ASampleFindsWhatAllRowsFind) {
  constexpr std::size_t kRows = 256;
  const Layer layer = make_layer(kRows, 12.0f, 7);
  constexpr std::size_t kCopies = 8;
  Layer repeated = layer;
  repeated.weights.clear();
  for (std::size_t row = 0; row < kRows; ++row) {
    for (std::size_t copy = 0; copy < kCopies; ++copy) {
      const auto first = layer.weights.begin() + static_cast<std::ptrdiff_t>(row * kCols);
      repeated.weights.insert(repeated.weights.end(), first, first + kCols);
    }
  }
  const AwqScales all = search_awq_scales(layer.group(), {});
  const AwqScales sampled = search_awq_scales(repeated.group(), {});
  EXPECT_EQ(sampled.ratio, all.ratio);
  EXPECT_EQ(sampled.duo, all.duo);
  for (std::size_t c = 0; c < kCols; ++c) {
    EXPECT_NEAR(sampled.scales[c], all.scales[c], 1e-5f * all.scales[c]);
  }
  EXPECT_NEAR(sampled.loss_after, 8 * all.loss_after, 1e-5 * sampled.loss_after);
  EXPECT_LT(all.loss_after, 0.9 * all.loss_before);
}

TEST(Awq, ScalesDoNotDependOnThreads) {
  const Layer layer = make_layer(1300, 12.0f, 6);
  std::vector<AwqScales> found(2);
  for (int i = 0; i < 2; ++i) {
    tbb::task_arena arena(1 + 2 * i);
    arena.execute(
        [&] { found[static_cast<std::size_t>(i)] = search_awq_scales(layer.group(), {}); });
  }
  EXPECT_EQ(found[0].scales, found[1].scales);
  EXPECT_EQ(found[0].loss_after, found[1].loss_after);
}

}  // namespace
}  // namespace qwodel
