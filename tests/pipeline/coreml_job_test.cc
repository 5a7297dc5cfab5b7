// Core ML packages through the whole job: calibrated methods, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "calibrate/statistics.h"
#include "formats/mlpackage/package.h"
#include "methods/second_moments.h"
#include "pipeline/source_model.h"
#include "qwodel/calibrate.h"
#include "qwodel/inspect.h"
#include "qwodel/quantize.h"
#include "targets/coreml/mil_builder.h"
#include "targets/coreml/package_weights.h"
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

std::set<std::string> files_in(const fs::path& directory) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory)) {
    names.insert(entry.path().filename().string());
  }
  return names;
}

QuantizeOptions options(const fs::path& output, const std::string& format,
                        const std::string& method) {
  QuantizeOptions result;
  result.model = kModel;
  result.output = output;
  result.targets = {"coreml:" + format};
  result.method = method;
  return result;
}

// One for all tests: a pass over the built-in text.
const fs::path& statistics() {
  static const TempDirectory directory;
  static const fs::path path = [] {
    CalibrateOptions calibration;
    calibration.run.model = kModel;
    calibration.calibration = {.text = "builtin", .samples = 32, .seq_len = 128};
    calibration.output = directory / "stories.qstats";
    calibration.gram = true;
    calibrate(calibration);
    return calibration.output;
  }();
  return path;
}

// tr(E G E^T): the squared error of the products with the inputs of the calibration text.
double product_error(const std::vector<float>& errors, const SecondMoments& moments) {
  const std::size_t width = moments.width();
  double total = 0;
  for (std::size_t row = 0; row < errors.size() / width; ++row) {
    const float* e = errors.data() + row * width;
    for (std::size_t i = 0; i < width; ++i) {
      double sum = 0;
      for (std::size_t j = 0; j < width; ++j) {
        sum += static_cast<double>(moments.gram[i * width + j]) * e[j];
      }
      total += sum * e[i];
    }
  }
  return total;
}

// Of all weights that are not rotated (rows of rotated ones lie in another order), over the squared
// products themselves.
double error_of(const fs::path& path) {
  const MlPackage package(path);
  const auto weights = package_weights(package, path.string());
  const SourceModel source(kModel, {});
  const StatisticsFile file(statistics());
  double error = 0;
  double signal = 0;
  for (std::size_t i = 0; i < source.spec.tensors.size(); ++i) {
    const std::string& name = source.spec.tensors[i].name;
    const auto input = file.find(name);
    if (!input || name.find("attn_q") != name.npos || name.find("attn_k") != name.npos) continue;
    const auto weight = std::ranges::find(weights, mil_identifier(name), &PackageWeight::name);
    const auto width = static_cast<std::size_t>(file.inputs()[*input].width);
    const SecondMoments moments = second_moments(file.read(*input, true), 0, width);
    std::vector<float> original(
        static_cast<std::size_t>(element_count(source.spec.tensors[i].shape)));
    std::vector<float> errors(original.size());
    source.readers[i].read(0, original);
    weight->read(0, errors);
    for (std::size_t j = 0; j < errors.size(); ++j) errors[j] -= original[j];
    error += product_error(errors, moments);
    signal += product_error(original, moments);
  }
  return error / signal;
}

struct Case {
  const char* format;
  double importance;  // at most so much of the error without calibration
  double gptq;
};

class CalibratedPackages : public testing::TestWithParam<Case> {};

TEST_P(CalibratedPackages, HaveLessErrorAndTheSameBytesForAnyThreads) {
  const TempDirectory directory;
  std::map<std::string, double> errors;
  std::map<std::string, std::set<std::string>> methods;
  for (const std::string method : {"rtn", "", "gptq"}) {
    QuantizeOptions one = options(directory / (method + "1.mlpackage"), GetParam().format, method);
    if (method != "rtn") one.statistics = statistics();
    one.threads = 1;
    const QuantizeReport report = quantize(one);
    for (const TensorReport& tensor : report.artifacts.front().tensors) {
      methods[method].insert(tensor.method);
    }
    QuantizeOptions two = one;
    two.output = directory / (method + "2.mlpackage");
    two.threads = 2;
    quantize(two);
    EXPECT_EQ(all_bytes(one.output), all_bytes(two.output)) << method;
    quantize([&] {
      QuantizeOptions again = two;
      again.force = true;
      return again;
    }());
    EXPECT_EQ(all_bytes(one.output), all_bytes(two.output)) << method << " again";
    errors[method] = error_of(one.output);
    VerifyOptions check;
    check.artifact = one.output;
    check.source = kModel;
    EXPECT_NO_THROW(verify(check));
  }
  const double importance = errors[""] / errors["rtn"];
  const double gptq = errors["gptq"] / errors["rtn"];
  EXPECT_LT(importance, GetParam().importance);
  EXPECT_GT(importance, GetParam().importance * 0.9);
  EXPECT_LT(gptq, GetParam().gptq);
  EXPECT_GT(gptq, GetParam().gptq * 0.9);
  EXPECT_THAT(methods["gptq"], testing::Contains("gptq"));
  EXPECT_THAT(methods[""], testing::Contains(testing::EndsWith("+importance")));
}

INSTANTIATE_TEST_SUITE_P(Formats, CalibratedPackages,
                         testing::Values(Case{"int4_block32", 0.58, 0.42},
                                         Case{"int4", 0.73, 0.46}),
                         [](const auto& test) { return std::string(test.param.format); });

// The text is run first, and its statistics are gone afterwards.
TEST(CoremlJob, IsCalibratedOnATextOfItsOwn) {
  const TempDirectory directory;
  const auto run = [&](const std::string& name, int threads) {
    QuantizeOptions request = options(directory / name, "int4", "gptq");
    request.calibration = {.text = "builtin", .samples = 16, .seq_len = 128};
    request.threads = threads;
    quantize(request);
    return all_bytes(request.output);
  };
  const std::string bytes = run("a.mlpackage", 1);
  EXPECT_EQ(run("b.mlpackage", 2), bytes);
  EXPECT_THAT(files_in(directory.path()),
              testing::ElementsAre("a-tokenizer", "a.mlpackage", "b-tokenizer", "b.mlpackage"));
}

// The range of hidden states is looked at where there is a text.
TEST(CoremlJob, WarnsOfHiddenStatesBeyondHalfPrecision) {
  const TempDirectory directory;
  TinyLlama llama;
  llama.hidden = 64;
  const auto warnings_of = [&](const std::string& name) {
    llama.write(directory / name);
    QuantizeOptions request = options(directory / (name + ".mlpackage"), "int8_symmetric", "");
    request.model = directory / name;
    request.calibration = {.text = "builtin", .samples = 1, .seq_len = 64};
    std::string warnings;
    request.warning = [&](std::string_view text) { warnings += std::string(text) + "\n"; };
    quantize(request);
    return warnings;
  };
  EXPECT_THAT(warnings_of("small"), testing::Not(testing::HasSubstr("half precision")));
  llama.edit = [](const std::string& name, std::vector<float>& values) {
    const bool up = name == "model.layers.1.mlp.up_proj.weight";
    if (!up && name != "model.layers.1.mlp.down_proj.weight") return;
    for (float& value : values) value *= up ? 1e5f : 1e6f;
  };
  EXPECT_THAT(warnings_of("large"), testing::HasSubstr("layer 1 gives hidden states up to"));
}

using Choose = void (*)(QuantizeOptions&);

struct Refused {
  const char* error;
  ErrorCode code;
  Choose choose;
};

void expect_refused(const Refused& row, const fs::path& model) {
  const TempDirectory directory;
  QuantizeOptions request = options(directory / "model.mlpackage", "float16", "");
  request.model = model;
  row.choose(request);
  try {
    quantize(request);
    ADD_FAILURE() << "no error; expected one with \"" << row.error << '"';
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), row.code) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr(row.error));
    EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos);
  }
  EXPECT_THAT(files_in(directory.path()), testing::IsEmpty()) << row.error;
}

TEST(CoremlJob, LeavesNothingOfWhatItRefuses) {
  constexpr auto kNo = ErrorCode::not_supported;
  const Refused rows[] = {
      {"--minimum-target: found ios12", kNo, [](auto& o) { o.coreml.minimum_target = "ios12"; }},
      {"palette6-g16", kNo,
       [](auto& o) {
         o.targets = {"coreml:palette6_g16"};
         o.coreml.minimum_target = "ios16";
       }},
      {"int4-b32", kNo,
       [](auto& o) {
         o.targets = {"coreml:int4_block32"};
         o.coreml.minimum_target = "ios17";
       }},
      {"at most 512", kNo, [](auto& o) { o.coreml.context_length = 513; }},
      {"found int5", ErrorCode::usage, [](auto& o) { o.targets = {"coreml:int5"}; }},
      {"--method", ErrorCode::usage, [](auto& o) { o.method = "repack"; }},
      {"--granularity", ErrorCode::usage, [](auto& o) { o.coreml.granularity = "per_block:32"; }},
      {"--sequence-length", ErrorCode::usage, [](auto& o) { o.coreml.sequence_lengths = {0}; }},
      {"found statistics of stories260K", ErrorCode::failed,
       [](auto& o) {
         o.method = "gptq";
         o.statistics = statistics();
       }},
  };
  const TempDirectory directory;
  TinyLlama llama;
  llama.hidden = 64;
  llama.layers = 1;
  llama.write(directory / "model");
  for (const Refused& row : rows) expect_refused(row, directory / "model");
}

TEST(CoremlJob, SaysWhyExpertsAreRefused) {
  const TempDirectory directory;
  TinyLlama mixtral;
  mixtral.hidden = 64;
  mixtral.layers = 1;
  mixtral.experts = 2;
  mixtral.write(directory / "model");
  expect_refused({"layer 0: found experts that are chosen for each token", ErrorCode::not_supported,
                  [](auto&) {}},
                 directory / "model");
}

// Found before, while or after something was written: at the path there is nothing.
TEST(CoremlJob, LeavesNothingOfWeightsBeyondHalfPrecision) {
  const TempDirectory directory;
  TinyLlama llama;
  llama.hidden = 64;
  llama.edit = [](const std::string& name, std::vector<float>& values) {
    if (name == "model.layers.1.mlp.down_proj.weight") values[77] = 65520;
  };
  llama.write(directory / "model");
  for (const char* format : {"float16", "int8_linear", "int4", "int6"}) {
    static std::string target;
    target = std::string("coreml:") + format;
    expect_refused({"tensor blk.1.ffn_down.weight: found the value 65520", ErrorCode::not_supported,
                    [](auto& o) { o.targets = {target}; }},
                   directory / "model");
  }
}

}  // namespace
}  // namespace qwodel
