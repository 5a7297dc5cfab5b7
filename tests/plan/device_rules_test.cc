// What is said of a package before it is made for a processor of Apple's.
#include "plan/device_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "qwodel/error.h"
#include "qwodel/quantize.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<std::string> findings(const char* device, const PackageFacts& facts) {
  std::vector<std::string> all;
  for (const Finding& finding :
       check_rules(parse_runtime(device), {.backend = "coreml", .package = &facts})) {
    EXPECT_FALSE(finding.refused);
    EXPECT_FALSE(finding.source.empty());
    EXPECT_FALSE(finding.remedy.empty());
    all.push_back(to_text(finding));
  }
  return all;
}

PackageFacts good() {
  return {.any_length = false,
          .state_widths = {64, 64},
          .bytes = 900'000'000,
          .weights = {{.name = "blk.0.ffn_up.weight", .type = "palette4-g16", .table_rows = 16},
                      {.name = "blk.0.ffn_down.weight", .type = "int8"}}};
}

TEST(DeviceRules, TheNeuralEngineWantsItsForms) {
  EXPECT_THAT(findings("ane", good()), IsEmpty());
  PackageFacts facts = good();
  facts.state_widths = {64, 80};
  EXPECT_THAT(findings("ane", facts), Contains(HasSubstr("states 64, 80 wide")));
  EXPECT_THAT(findings("ane", facts), Contains(HasSubstr("--form stateless")));
  EXPECT_THAT(findings("gpu", facts), IsEmpty());
  facts = good();
  facts.weights[1] = {.name = "w", .type = "int4-b32", .block = 32};
  EXPECT_THAT(findings("ane", facts),
              Contains(HasSubstr("1 of 2 weights such as w: found int4-b32")));
  EXPECT_THAT(findings("cpu", facts), IsEmpty());
  facts = good();
  facts.weights[0].table_rows = 2;
  EXPECT_THAT(findings("ane", facts), Contains(HasSubstr("tables of 4 rows or more")));
  facts = good();
  facts.any_length = true;
  EXPECT_THAT(findings("ane", facts), Contains(HasSubstr("--sequence-length")));
  facts = good();
  facts.bytes = 1'000'000'001;
  EXPECT_THAT(findings("ane", facts), Contains(HasSubstr("less than 1 GB")));
}

TEST(DeviceRules, DecodersWantStates) {
  PackageFacts facts = good();
  facts.state_widths = {};
  for (const char* device : {"gpu", "cpu"}) {
    EXPECT_THAT(findings(device, facts), Contains(HasSubstr("--form stateful"))) << device;
  }
  facts.is_encoder = true;
  for (const char* device : {"gpu", "cpu", "ane"}) {
    EXPECT_THAT(findings(device, facts), IsEmpty()) << device;
  }
}

// The whole way: options, plan, warnings. Heads of the shipped model are 8 wide.
TEST(DeviceRules, PlansAreChecked) {
  const TempDirectory directory;
  QuantizeOptions options;
  options.model = std::string(QWODEL_SOURCE_DIR) + "/models/stories260K";
  options.output = directory / "model.mlpackage";
  options.targets = {"coreml:int4_block32"};
  options.runtimes = {"ane"};
  std::vector<std::string> warnings;
  options.warning = [&](std::string_view text) { warnings.emplace_back(text); };
  plan(options);
  EXPECT_THAT(warnings, Contains(HasSubstr("states 8, 8 wide")));
  EXPECT_THAT(warnings, Contains(HasSubstr("found int4-b32")));
  warnings.clear();
  options.targets = {"coreml:int4"};
  options.coreml.form = "stateless";
  options.coreml.sequence_lengths = {64, 128};
  plan(options);
  EXPECT_THAT(warnings, IsEmpty());
  options.runtimes = {"gpu"};
  plan(options);
  EXPECT_THAT(warnings, Contains(HasSubstr("--form stateful")));
}

TEST(DeviceRules, OtherArtifactsAndRuntimesAreRefused) {
  const TempDirectory directory;
  QuantizeOptions options;
  options.model = std::string(QWODEL_SOURCE_DIR) + "/models/stories260K";
  options.output = directory / "out";
  options.targets = {"gguf:Q8_0"};
  options.runtimes = {"ane"};
  expect_error<FormatNotSupportedError>([&] { plan(options); }, "a .mlpackage");
  options.targets = {"coreml:int8_linear"};
  for (const char* runtime : {"vllm", "sglang", "lmdeploy", "transformers", "llama.cpp"}) {
    options.runtimes = {runtime};
    expect_error<FormatNotSupportedError>([&] { plan(options); }, "a Core ML package");
  }
}

}  // namespace
}  // namespace qwodel
