// Core ML packages of small models: what is in them, that it follows from the input alone, and what
// is refused. That Apple's own reader takes them is what tools/oracle/compare_coreml.py shows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/half.h"
#include "formats/checkpoint.h"
#include "formats/mlpackage/package.h"
#include "qwodel/inspect.h"
#include "qwodel/quantize.h"
#include "sources/weights.h"
#include "targets/coreml/lint.h"
#include "tests/formats/temp_directory.h"
#include "tests/pipeline/tiny_llama.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

const std::string kModel = std::string(QWODEL_SOURCE_DIR) + "/models/stories260K";

std::string bytes_of(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

std::string all_bytes(const fs::path& package) {
  return bytes_of(package / "Manifest.json") + bytes_of(package / package_model_path()) +
         bytes_of(package / package_weights_path());
}

QuantizeOptions options(const fs::path& output, const std::string& format) {
  QuantizeOptions result;
  result.model = kModel;
  result.output = output;
  result.targets = {"coreml:" + format};
  return result;
}

const mil::Operation* find_operation(const MlPackage& package, const std::string& name) {
  for (const mil::Operation& op : package.block().operations()) {
    if (op.outputs_size() > 0 && op.outputs(0).name() == name) return &op;
  }
  return nullptr;
}

// The halves of a constant of the weight file.
std::vector<std::uint16_t> halves_of(const MlPackage& package, const std::string& name) {
  const mil::Operation* op = find_operation(package, name);
  if (op == nullptr || !op->attributes().contains("val")) return {};
  const auto offset = op->attributes().at("val").blob_file_value().offset();
  const auto bytes = package.weights()->data(*package.weights()->find(offset));
  std::vector<std::uint16_t> halves(bytes.size() / 2);
  std::memcpy(halves.data(), bytes.data(), bytes.size());
  return halves;
}

std::vector<std::uint16_t> as_halves(const Weights& weights, const char* name) {
  const WeightTensor& tensor = *weights.find(name);
  std::vector<float> values(element_count(tensor.shape()));
  tensor.read(0, values);
  std::vector<std::uint16_t> halves;
  for (const float value : values) halves.push_back(float_to_half(value));
  return halves;
}

std::size_t count_operations(const MlPackage& package, const std::string& type) {
  std::size_t count = 0;
  for (const mil::Operation& op : package.block().operations()) count += op.type() == type ? 1 : 0;
  return count;
}

class CoremlPackages : public testing::TestWithParam<const char*> {
 protected:
  const TempDirectory directory_;
};

TEST_P(CoremlPackages, AreWhatCoreMlLoadsAndTheSameForAnyThreads) {
  QuantizeOptions one = options(directory_ / "one.mlpackage", GetParam());
  one.threads = 1;
  const QuantizeReport report = quantize(one);
  QuantizeOptions two = options(directory_ / "two.mlpackage", GetParam());
  two.threads = 2;
  quantize(two);
  EXPECT_EQ(all_bytes(one.output), all_bytes(two.output));
  const MlPackage package(one.output);
  EXPECT_TRUE(lint_package(package).empty());
  VerifyOptions check;
  check.artifact = one.output;
  EXPECT_EQ(verify(check).bytes, report.artifacts.front().bytes);
  const Inspection seen = inspect(one.output);
  EXPECT_EQ(seen.format, "mlpackage");
  EXPECT_EQ(seen.architecture, "llama");
  for (const TensorReport& tensor : report.artifacts.front().tensors) {
    ASSERT_TRUE(tensor.nmse.has_value());
    // Two values at their means are never worse than zeros; four are much better.
    EXPECT_LT(*tensor.nmse, tensor.type.starts_with("palette1") ? 1.0 : 0.4)
        << tensor.name << " " << tensor.type;
  }
}

INSTANTIATE_TEST_SUITE_P(Encodings, CoremlPackages,
                         testing::Values("float16", "int8_linear", "int8_symmetric", "int4", "int6",
                                         "int4_block32", "palette1_g4", "palette2", "palette3_g8",
                                         "palette8"),
                         [](const auto& test) { return std::string(test.param); });

// Rows of queries and keys are as the checkpoint has them, however the graph holds them.
TEST(CoremlPackage, HasTheCheckpointsValues) {
  const TempDirectory directory;
  const fs::path path = directory / "model.mlpackage";
  quantize(options(path, "float16"));
  const MlPackage package(path);
  const auto checkpoint = open_checkpoint(kModel);
  const Weights weights(*checkpoint);
  const std::pair<const char*, const char*> names[] = {
      {"token_embd_weight", "model.embed_tokens.weight"},
      {"blk_0_attn_q_weight", "model.layers.0.self_attn.q_proj.weight"},
      {"blk_4_attn_k_weight", "model.layers.4.self_attn.k_proj.weight"},
      {"blk_2_ffn_down_weight", "model.layers.2.mlp.down_proj.weight"},
      {"output_norm_weight", "model.norm.weight"}};
  for (const auto& [ours, theirs] : names) {
    const auto expected = as_halves(weights, theirs);
    EXPECT_EQ(halves_of(package, ours), expected) << ours;
  }
  EXPECT_TRUE(fs::exists(directory / "model-tokenizer/tokenizer.model"));
  EXPECT_TRUE(fs::exists(directory / "model-tokenizer/config.json"));
}

TEST(CoremlPackage, KeepsKeysAndValuesInStates) {
  const TempDirectory directory;
  QuantizeOptions request = options(directory / "model.mlpackage", "int8_symmetric");
  request.coreml.context_length = 128;
  quantize(request);
  const MlPackage package(request.output);
  EXPECT_EQ(package.model().specification_version(), 9);
  const auto& states = package.model().description().state();
  ASSERT_EQ(states.size(), 2);
  EXPECT_EQ(states[0].name(), "keyCache");
  const auto& shape = states[0].type().state_type().array_type().shape();
  EXPECT_THAT(std::vector<std::int64_t>(shape.begin(), shape.end()),
              testing::ElementsAre(5, 1, 4, 128, 8));
  EXPECT_EQ(count_operations(package, "write_state"), 10u);
  // Five matrices of each layer and the embedding; keys and values have 2048 weights, too few.
  EXPECT_EQ(count_operations(package, "scaled_dot_product_attention"), 5u);
  EXPECT_EQ(count_operations(package, "constexpr_blockwise_shift_scale"), 26u);
}

TEST(CoremlPackage, UsesWhatOlderSystemsHave) {
  const TempDirectory directory;
  QuantizeOptions request = options(directory / "model.mlpackage", "int8_symmetric");
  request.coreml.minimum_target = "ios16";
  request.coreml.sequence_lengths = {64};
  request.coreml.last_logits_only = true;
  quantize(request);
  const MlPackage package(request.output);
  EXPECT_EQ(package.model().specification_version(), 7);
  EXPECT_TRUE(package.model().description().state().empty());
  EXPECT_EQ(count_operations(package, "scaled_dot_product_attention"), 0u);
  EXPECT_EQ(count_operations(package, "softmax"), 5u);
  EXPECT_EQ(count_operations(package, "constexpr_affine_dequantize"), 26u);
  const auto& logits = package.model().description().output(0).type().multi_array_type().shape();
  EXPECT_THAT(std::vector<std::int64_t>(logits.begin(), logits.end()),
              testing::ElementsAre(1, 1, 512));
}

using Choose = void (*)(CoremlPackageOptions&);

struct Refused {
  const char* format;
  Choose choose;
  const char* error;
};

TEST(CoremlPackage, RefusesWhatHasNoForm) {
  const TempDirectory directory;
  const Choose ios16 = [](CoremlPackageOptions& o) { o.minimum_target = "ios16"; };
  const Choose ios17 = [](CoremlPackageOptions& o) { o.minimum_target = "ios17"; };
  const Refused refused[] = {
      {"float16", [](CoremlPackageOptions& o) { o.minimum_target = "ios15"; },
       "ios16, ios17, ios18"},
      {"float16",
       [](CoremlPackageOptions& o) {
         o.minimum_target = "ios17";
         o.form = "stateful";
       },
       "the first system with states"},
      {"float16", [](CoremlPackageOptions& o) { o.context_length = 1000; }, "at most 512"},
      {"float16", [](CoremlPackageOptions& o) { o.sequence_lengths = {64, 513}; }, "at most 512"},
      {"int4", ios17, "palette4-g16"},
      {"int4_block32", ios16, "int4-b32"},
      {"palette3", ios16, "palette3"}};
  for (const Refused& row : refused) {
    QuantizeOptions request = options(directory / "model.mlpackage", row.format);
    row.choose(request.coreml);
    expect_error<FormatNotSupportedError>([&] { plan(request); }, row.error);
    expect_error<FormatNotSupportedError>([&] { quantize(request); }, row.error);
    EXPECT_FALSE(fs::exists(request.output));
  }
  QuantizeOptions request = options(directory / "model.mlpackage", "float16");
  request.coreml.granularity = "per_tensor";
  expect_error<Error>([&] { plan(request); }, "none for float16");
  request.coreml.granularity.clear();
  request.coreml.form = "sideways";
  expect_error<Error>([&] { plan(request); }, "--form");
}

TEST(CoremlPackage, RefusesWeightsBeyondHalfPrecision) {
  const TempDirectory directory;
  TinyLlama llama;
  llama.edit = [](const std::string& name, std::vector<float>& values) {
    if (name == "model.layers.1.mlp.up_proj.weight") values[1000] = -70000;
  };
  llama.write(directory / "model");
  QuantizeOptions request = options(directory / "model.mlpackage", "int8_linear");
  request.model = directory / "model";
  expect_error<FormatNotSupportedError>([&] { quantize(request); }, "blk.1.ffn_up.weight");
  EXPECT_FALSE(fs::exists(request.output));
}

using Damage = void (*)(coreml::Model&);

mil::Block& block_of(coreml::Model& model) {
  auto& function = (*model.mutable_ml_program()->mutable_functions())["main"];
  return (*function.mutable_block_specializations())["CoreML8"];
}

mil::Operation& operation_of(coreml::Model& model, const std::string& type) {
  for (mil::Operation& op : *block_of(model).mutable_operations()) {
    if (op.type() == type) return op;
  }
  throw std::runtime_error("no operation " + type);
}

TEST(CoremlLint, FindsWhatCoreMlRefuses) {
  const TempDirectory directory;
  const fs::path path = directory / "model.mlpackage";
  quantize(options(path, "float16"));
  const coreml::Model good = MlPackage(path).model();
  const std::pair<const char*, Damage> damages[] = {
      {"specification version", [](coreml::Model& m) { m.set_specification_version(12); }},
      {"operations of CoreML8", [](coreml::Model& m) { m.set_specification_version(8); }},
      {"no operation that makes it", [](coreml::Model& m) { block_of(m).set_outputs(0, "x"); }},
      {"a constant", [](coreml::Model& m) { block_of(m).set_outputs(0, "token_embd_weight"); }},
      {"a second time",
       [](coreml::Model& m) { operation_of(m, "silu").mutable_outputs(0)->set_name("inputIds"); }},
      {"letters, digits",
       [](coreml::Model& m) { operation_of(m, "silu").mutable_outputs(0)->set_name("a-b"); }},
      {"no name attribute", [](coreml::Model& m) { operation_of(m, "silu").clear_attributes(); }},
      {"bound to",
       [](coreml::Model& m) {
         (*operation_of(m, "silu").mutable_inputs())["x"].mutable_arguments(0)->set_name("later");
       }},
      {"its rank",
       [](coreml::Model& m) {
         operation_of(m, "silu")
             .mutable_outputs(0)
             ->mutable_type()
             ->mutable_tensor_type()
             ->set_rank(2);
       }},
      {"a flexible shape",
       [](coreml::Model& m) {
         m.mutable_description()
             ->mutable_state(0)
             ->mutable_type()
             ->mutable_state_type()
             ->mutable_array_type()
             ->mutable_shape_range();
       }},
      {"others than the program takes",
       [](coreml::Model& m) { m.mutable_description()->mutable_state(0)->set_name("cache"); }},
      {"others than the program gives",
       [](coreml::Model& m) { m.mutable_description()->mutable_output(0)->set_name("y"); }},
      {"the default extent",
       [](coreml::Model& m) {
         m.mutable_description()
             ->mutable_input(0)
             ->mutable_type()
             ->mutable_multi_array_type()
             ->set_shape(1, 4096);
       }},
      {"weights at 1",
       [](coreml::Model& m) {
         for (mil::Operation& op : *block_of(m).mutable_operations()) {
           if (op.type() != "const") continue;
           mil::Value& value = (*op.mutable_attributes())["val"];
           if (!value.has_blob_file_value()) continue;
           value.mutable_blob_file_value()->set_offset(1);
           return;
         }
       }},
  };
  for (const auto& [found, damage] : damages) {
    coreml::Model bad = good;
    damage(bad);
    write_package_files(path, bad, 1);
    VerifyOptions check;
    check.artifact = path;
    const auto findings = lint_package(MlPackage(path));
    const std::string_view part = found;
    const bool seen = std::ranges::any_of(findings, [part](const LintFinding& finding) {
      return (finding.found + ", " + finding.expected).find(part) != std::string::npos;
    });
    EXPECT_TRUE(seen) << found;
    expect_error<ValidationError>([&] { verify(check); }, "Core ML would refuse it");
  }
}

}  // namespace
}  // namespace qwodel
