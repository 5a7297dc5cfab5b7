// verify with a source and diff, of Core ML packages.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "formats/mlpackage/package.h"
#include "qwodel/inspect.h"
#include "qwodel/quantize.h"
#include "targets/coreml/mil_builder.h"
#include "tests/formats/temp_directory.h"
#include "tests/pipeline/tiny_llama.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

const std::string kModel = std::string(QWODEL_SOURCE_DIR) + "/models/stories260K";

QuantizeReport make(const fs::path& output, const std::string& format,
                    const std::string& system = "ios18", const fs::path& model = kModel) {
  QuantizeOptions options;
  options.model = model;
  options.output = output;
  options.targets = {"coreml:" + format};
  options.coreml.minimum_target = system;
  return quantize(options);
}

VerifyReport verify_against(const fs::path& package, const fs::path& model) {
  VerifyOptions options;
  options.artifact = package;
  options.source = model;
  return verify(options);
}

struct Case {
  const char* format;
  const char* system;
};

class ComparedPackages : public testing::TestWithParam<Case> {};

// What verify reads back is what the encoder says it wrote.
TEST_P(ComparedPackages, HaveTheErrorThatTheyWereMadeWith) {
  const TempDirectory directory;
  const fs::path path = directory / "model.mlpackage";
  const QuantizeReport made = make(path, GetParam().format, GetParam().system);
  const VerifyReport seen = verify_against(path, kModel);
  std::map<std::string, double> errors;
  for (const VerifiedTensor& tensor : seen.tensors) {
    if (tensor.nmse) errors[tensor.name] = *tensor.nmse;
  }
  const auto& tensors = made.artifacts.front().tensors;
  EXPECT_EQ(errors.size(), tensors.size());
  for (const TensorReport& tensor : tensors) {
    const auto found = errors.find(mil_identifier(tensor.name));
    ASSERT_NE(found, errors.end()) << tensor.name;
    // Products of codes and scales are halves when they are read.
    EXPECT_NEAR(found->second, *tensor.nmse, 1e-7 + 0.02 * *tensor.nmse) << tensor.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, ComparedPackages,
                         testing::Values(Case{"float16", "ios18"}, Case{"int8_linear", "ios18"},
                                         Case{"int8_symmetric", "ios18"}, Case{"int4", "ios18"},
                                         Case{"int4_block32", "ios18"},
                                         Case{"palette3_g8", "ios18"}, Case{"int6", "ios18"},
                                         Case{"int8_linear", "ios16"},
                                         Case{"int8_symmetric", "ios17"}, Case{"int6", "ios16"},
                                         Case{"palette1", "ios16"}),
                         [](const auto& test) {
                           return std::string(test.param.format) + "_" + test.param.system;
                         });

TEST(VerifyPackage, OtherModelsAreFound) {
  const TempDirectory directory;
  TinyLlama llama;
  llama.hidden = 64;
  llama.layers = 1;
  llama.write(directory / "one");
  llama.layers = 2;
  llama.write(directory / "two");
  llama.layers = 1;
  llama.intermediate = 256;
  llama.write(directory / "wide");
  const fs::path path = directory / "model.mlpackage";
  make(path, "int8_symmetric", "ios18", directory / "one");
  EXPECT_NO_THROW(verify_against(path, directory / "one"));
  expect_error<ValidationError>([&] { verify_against(path, directory / "two"); },
                                "no weight blk.1.");
  expect_error<ValidationError>([&] { verify_against(path, directory / "wide"); },
                                "weight blk_0_ffn_");
}

// A half of the token table that is not finite: neither with nor without a source.
TEST(VerifyPackage, DamagedValuesAreFound) {
  const TempDirectory directory;
  const fs::path path = directory / "model.mlpackage";
  make(path, "float16");
  const fs::path weights = path / package_weights_path();
  std::fstream file(weights, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(128);
  file.write("\x00\x7C", 2);
  file.close();
  VerifyOptions options;
  options.artifact = path;
  try {
    verify(options);
    ADD_FAILURE() << "nothing was found";
  } catch (const ValidationError& error) {
    EXPECT_EQ(error.code(), ErrorCode::verification_failed);
    EXPECT_THAT(error.what(), testing::HasSubstr("finite values"));
  }
  fs::resize_file(weights, 100);
  try {
    verify(options);
    ADD_FAILURE() << "nothing was found";
  } catch (const ValidationError& error) {
    EXPECT_EQ(error.code(), ErrorCode::verification_failed);
    EXPECT_THAT(error.what(), testing::HasSubstr("weight.bin"));
  }
}

TEST(DiffPackages, TheSameAreTheSame) {
  const TempDirectory directory;
  make(directory / "a.mlpackage", "int4");
  make(directory / "b.mlpackage", "int4");
  const DiffReport report = diff(directory / "a.mlpackage", directory / "b.mlpackage");
  EXPECT_GT(report.tensors, 40u);
  EXPECT_EQ(report.same, report.tensors);
  EXPECT_TRUE(report.differences.empty());
  EXPECT_TRUE(report.metadata.empty());
}

// The other package is compressed, so its distance from this one is the error it was made with.
TEST(DiffPackages, EncodingsDifferByTheirError) {
  const TempDirectory directory;
  make(directory / "a.mlpackage", "float16");
  const QuantizeReport made = make(directory / "b.mlpackage", "int8_linear");
  const DiffReport report = diff(directory / "a.mlpackage", directory / "b.mlpackage");
  std::map<std::string, double> errors;
  for (const TensorReport& tensor : made.artifacts.front().tensors) {
    if (tensor.type != "fp16") errors[mil_identifier(tensor.name)] = *tensor.nmse;
  }
  EXPECT_EQ(report.same, report.tensors - errors.size());
  ASSERT_EQ(report.differences.size(), errors.size());
  for (const TensorDifference& difference : report.differences) {
    EXPECT_EQ(difference.what, "type fp16 | int8+fp16+int8");
    ASSERT_TRUE(difference.nmse.has_value());
    // The source has 32 bits, the first package 16.
    EXPECT_NEAR(*difference.nmse, errors.at(difference.name), 0.03 * errors.at(difference.name));
  }
  EXPECT_THAT(report.metadata, testing::Contains("com.qwodel.encoding: float16 | int8_linear"));
}

TEST(DiffPackages, PackagesAndCheckpointsAreNotCompared) {
  const TempDirectory directory;
  make(directory / "a.mlpackage", "float16");
  expect_error<FormatNotSupportedError>([&] { diff(directory / "a.mlpackage", kModel); },
                                        "verify PACKAGE --source MODEL");
}

}  // namespace
}  // namespace qwodel
