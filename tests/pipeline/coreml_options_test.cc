// What a user asks of a Core ML package, against the model.
#include "pipeline/coreml_options.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "qwodel/error.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

// Numbers of the GGUF key {arch}.pooling_type (llama.h, enum llama_pooling_type).
constexpr std::uint64_t kMean = 1;
constexpr std::uint64_t kCls = 2;
constexpr std::uint64_t kLast = 3;

Graph encoder() {
  Graph graph;
  graph.is_encoder = true;
  graph.context_length = 512;
  return graph;
}

Graph decoder(std::uint64_t context_length) {
  Graph graph;
  graph.context_length = context_length;
  return graph;
}

template <typename Edit>
CoremlOptions options(const Graph& graph, Edit edit, std::optional<std::uint64_t> pooling = {}) {
  CoremlPackageOptions asked;
  edit(asked);
  return coreml_options(asked, graph, pooling);
}

Pooling pooling(const std::string& asked, std::optional<std::uint64_t> of_checkpoint) {
  return options(encoder(), [&](auto& o) { o.pooling = asked; }, of_checkpoint).pooling;
}

TEST(CoremlOptions, PoolAsAskedOrAsTheCheckpointSays) {
  EXPECT_EQ(pooling("none", kMean), Pooling::none);
  EXPECT_EQ(pooling("mean", kCls), Pooling::mean);
  EXPECT_EQ(pooling("cls", kMean), Pooling::first);
  EXPECT_EQ(pooling("model", kMean), Pooling::mean);
  EXPECT_EQ(pooling("model", kCls), Pooling::first);
}

// Error itself is a usage error here: what cannot be is a FormatNotSupportedError.
TEST(CoremlOptions, RefusePoolingsWithoutAForm) {
  expect_error<FormatNotSupportedError>([] { pooling("model", kLast); }, "another pooling");
  expect_error<FormatNotSupportedError>([] { pooling("model", std::nullopt); },
                                        "no pooling in modules.json");
  expect_error<Error>([] { pooling("max", kMean); }, "none, mean, cls or model");
  expect_error<Error>([] { options(decoder(512), [](auto& o) { o.pooling = "mean"; }); },
                      "mean for a decoder");
}

TEST(CoremlOptions, KeepStatesWhereTheSystemHasThemAndTheModelHasKeys) {
  const auto asked_nothing = [](auto&) {};
  const auto stateful = [](auto& o) { o.form = "stateful"; };
  EXPECT_TRUE(options(decoder(512), asked_nothing).stateful);
  EXPECT_TRUE(options(decoder(512), stateful).stateful);
  EXPECT_FALSE(options(decoder(512), [](auto& o) { o.minimum_target = "ios17"; }).stateful);
  EXPECT_FALSE(options(decoder(512), [](auto& o) { o.sequence_lengths = {16}; }).stateful);
  EXPECT_FALSE(options(encoder(), asked_nothing).stateful);
  expect_error<Error>([&] { options(encoder(), stateful); }, "stateful for an encoder");
  const auto before_states = [](auto& o) {
    o.form = "stateful";
    o.minimum_target = "ios17";
  };
  expect_error<FormatNotSupportedError>([&] { options(decoder(512), before_states); }, "ios18");
}

TEST(CoremlOptions, TakeAContextWithinTheModels) {
  const auto context = [](std::uint64_t asked, std::uint64_t limit) {
    return options(decoder(limit), [&](auto& o) { o.context_length = asked; }).context_length;
  };
  EXPECT_EQ(context(0, 512), 512);
  EXPECT_EQ(context(0, 8192), 2048);
  EXPECT_EQ(context(8192, 8192), 8192);
  expect_error<FormatNotSupportedError>([&] { context(8193, 8192); }, "at most 8192");
}

TEST(CoremlOptions, EndTablesWithTheLongestCall) {
  const auto calls = [](std::vector<std::uint64_t> lengths) {
    return [lengths](auto& o) { o.sequence_lengths = lengths; };
  };
  EXPECT_EQ(options(decoder(512), calls({16, 128, 64})).context_length, 128);
  expect_error<FormatNotSupportedError>([&] { options(decoder(512), calls({513})); },
                                        "at most 512");
  const auto beyond_the_context = [](auto& o) {
    o.context_length = 64;
    o.sequence_lengths = {128};
  };
  expect_error<Error>([&] { options(decoder(512), beyond_the_context); }, "--context-length");
  const auto of_two_inputs = [](auto& o) {
    o.minimum_target = "ios17";
    o.sequence_lengths = {16, 32};
  };
  expect_error<FormatNotSupportedError>([&] { options(encoder(), of_two_inputs); },
                                        "2 lengths of two inputs");
}

}  // namespace
}  // namespace qwodel
