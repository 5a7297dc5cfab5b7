// The job: same bytes for any number of threads and any kernel target, shards, cancellation, errors
// that leave nothing behind. (Named Pipeline so that the ThreadSanitizer run finds it.)
#include "qwodel/quantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "formats/checkpoint.h"
#include "io/mapped_file.h"
#include "kernels/dispatch.h"
#include "qwodel/inspect.h"
#include "tests/formats/temp_directory.h"
#include "tests/pipeline/tiny_llama.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

std::string bytes_of_file(const fs::path& path) {
  const MappedFile file(path);
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

std::size_t files_in(const fs::path& directory) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

VerifyReport verified(const fs::path& artifact, const fs::path& source = {}) {
  VerifyOptions options;
  options.artifact = artifact;
  options.source = source;
  return verify(options);
}

class Pipeline : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(scratch_ / "out");
    model_.write(scratch_ / "model");
  }

  QuantizeOptions options(const std::string& type) const {
    QuantizeOptions result;
    result.model = scratch_ / "model";
    result.targets = {"gguf:" + type};
    result.output = scratch_ / "out" / "model.gguf";
    return result;
  }

  TempDirectory scratch_;
  TinyLlama model_;
};

TEST_F(Pipeline, BytesDoNotDependOnThreadsOrKernels) {
  std::string expected;
  for (const std::string& target : kernel_targets()) {
    use_kernel_target(target);
    for (const int threads : {1, 2, 5}) {
      QuantizeOptions o = options("Q4_K_M");
      o.threads = threads;
      o.force = true;
      quantize(o);
      const std::string bytes = bytes_of_file(o.output);
      if (expected.empty()) expected = bytes;
      EXPECT_TRUE(bytes == expected) << target << " with " << threads << " threads";
    }
  }
  use_kernel_target("");
  QuantizeOptions small = options("Q4_K_M");
  small.force = true;
  small.max_memory = 40'000;  // tiles of a row or two
  quantize(small);
  EXPECT_TRUE(bytes_of_file(small.output) == expected);
}

TEST_F(Pipeline, ReportsWhatThePlanPromised) {
  const QuantizeReport planned = plan(options("Q5_K_M"));
  EXPECT_EQ(files_in(scratch_ / "out"), 0u);
  const QuantizeReport done = quantize(options("Q5_K_M"));
  ASSERT_EQ(planned.artifacts.size(), 1u);
  EXPECT_EQ(planned.artifacts[0].bytes, done.artifacts[0].bytes);
  EXPECT_EQ(done.artifacts[0].bytes, fs::file_size(done.artifacts[0].path));
  for (std::size_t i = 0; i < done.artifacts[0].tensors.size(); ++i) {
    const TensorReport& tensor = done.artifacts[0].tensors[i];
    EXPECT_EQ(tensor.type, planned.artifacts[0].tensors[i].type);
    ASSERT_TRUE(tensor.nmse) << tensor.name;
    if (tensor.type == "F32") {
      EXPECT_EQ(*tensor.nmse, 0.0) << tensor.name;
    }
    // Uniform weights at 5 to 6 bits: between a tenth of a part per thousand and five.
    if (tensor.type == "Q5_K" || tensor.type == "Q6_K") {
      EXPECT_GT(*tensor.nmse, 5e-5) << tensor.name;
      EXPECT_LT(*tensor.nmse, 5e-3) << tensor.name;
    }
  }
}

TEST_F(Pipeline, ShardsHoldTheSameTensors) {
  quantize(options("Q8_0"));
  QuantizeOptions o = options("Q8_0");
  o.output = scratch_ / "out" / "sharded.gguf";
  o.max_shard_size = 300'000;
  const QuantizeReport report = quantize(o);
  EXPECT_EQ(report.artifacts[0].path.filename().string().substr(0, 14), "sharded-00001-");
  EXPECT_GT(files_in(scratch_ / "out"), 3u);
  const DiffReport difference = diff(scratch_ / "out" / "model.gguf", report.artifacts[0].path);
  EXPECT_TRUE(difference.differences.empty());
  EXPECT_TRUE(difference.metadata.empty()) << difference.metadata.front();
  EXPECT_EQ(difference.same, difference.tensors);
}

TEST_F(Pipeline, SeveralTargetsGetTheEcosystemsNames) {
  QuantizeOptions o = options("Q8_0,gguf:Q2_K");
  o.output = scratch_ / "out";
  const QuantizeReport report = quantize(o);
  ASSERT_EQ(report.artifacts.size(), 2u);
  EXPECT_THAT(report.artifacts[0].path.filename().string(), testing::EndsWith("-Q8_0.gguf"));
  EXPECT_THAT(report.artifacts[1].path.filename().string(), testing::EndsWith("-Q2_K.gguf"));
  for (const ArtifactReport& artifact : report.artifacts) {
    EXPECT_EQ(verified(artifact.path, o.model).tensors.size(), artifact.tensors.size());
  }
}

TEST_F(Pipeline, CancellationLeavesNothing) {
  CancelToken cancel;
  cancel.cancel();
  QuantizeOptions o = options("Q4_K_M");
  o.cancel = &cancel;
  try {
    quantize(o);
    ADD_FAILURE() << "not interrupted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::interrupted);
  }
  EXPECT_EQ(files_in(scratch_ / "out"), 0u);
}

TEST_F(Pipeline, ProgressReachesItsTotal) {
  QuantizeOptions o = options("Q4_0");
  std::map<std::string, std::pair<std::uint64_t, std::uint64_t>> finished;
  o.progress = [&](const Progress& p) {
    EXPECT_LE(p.done_bytes, p.total_bytes);
    if (p.stage_finished) finished[std::string(p.stage)] = {p.done_bytes, p.total_bytes};
  };
  quantize(o);
  ASSERT_EQ(finished.size(), 2u);
  EXPECT_EQ(finished["quantize"].first, finished["quantize"].second);
  EXPECT_EQ(finished["verify"].first, finished["verify"].second);
  EXPECT_GT(finished["verify"].first, 0u);
}

TEST_F(Pipeline, WeightsThatAreNotFiniteAreNamed) {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    model_.edit = [bad](const std::string& name, std::vector<float>& values) {
      if (name == "model.layers.1.mlp.up_proj.weight") values[300] = bad;
    };
    model_.write(scratch_ / "model");
    for (const char* type : {"Q4_K_M", "F32", "F16"}) {
      expect_error<QuantizationError>([&] { quantize(options(type)); }, "blk.1.ffn_up.weight");
      EXPECT_EQ(files_in(scratch_ / "out"), 0u);
    }
  }
}

TEST_F(Pipeline, HalfOverflowIsAnErrorAndBfloat16TheRemedy) {
  model_.edit = [](const std::string& name, std::vector<float>& values) {
    if (name == "model.layers.0.mlp.up_proj.weight") values[0] = 1e6f;
  };
  model_.write(scratch_ / "model");
  expect_error<QuantizationError>([&] { quantize(options("F16")); }, "BF16");
  expect_error<QuantizationError>([&] { quantize(options("Q8_0")); }, "--outtype bf16");
  EXPECT_EQ(files_in(scratch_ / "out"), 0u);
  QuantizeOptions o = options("Q8_0");
  o.outtype = "bf16";
  EXPECT_NO_THROW(quantize(o));
}

TEST_F(Pipeline, ExistingOutputIsRefusedWithoutForce) {
  quantize(options("Q8_0"));
  const std::string before = bytes_of_file(options("Q8_0").output);
  expect_error<DependencyError>([&] { quantize(options("Q4_0")); }, "--force");
  EXPECT_TRUE(bytes_of_file(options("Q8_0").output) == before);
}

TEST_F(Pipeline, RequantizingWarns) {
  quantize(options("Q8_0"));
  QuantizeOptions o = options("Q4_0");
  o.model = scratch_ / "out" / "model.gguf";
  o.output = scratch_ / "out" / "again.gguf";
  std::vector<std::string> warnings;
  o.warning = [&](std::string_view message) { warnings.emplace_back(message); };
  quantize(o);
  EXPECT_THAT(warnings, testing::Contains(testing::HasSubstr("quantized already")));
}

TEST_F(Pipeline, VerifyFindsADamagedArtifact) {
  const ArtifactReport artifact = quantize(options("Q8_0")).artifacts[0];
  std::string bytes = bytes_of_file(artifact.path);
  bytes.resize(bytes.size() - 40);
  scratch_.write("out/truncated.gguf", bytes);
  try {
    verified(scratch_ / "out" / "truncated.gguf");
    ADD_FAILURE() << "a truncated file was found sound";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::verification_failed);
  }
}

// Of several artifacts, those that are finished stay when the run resumes.
TEST_F(Pipeline, AResumedRunLeavesFinishedArtifacts) {
  QuantizeOptions several = options("Q8_0");
  several.targets = {"gguf:Q8_0", "gguf:Q4_0"};
  several.output = scratch_ / "out";
  const QuantizeReport first = quantize(several);
  const fs::path kept = first.artifacts[0].path;
  const fs::path lost = first.artifacts[1].path;
  const std::string bytes = bytes_of_file(lost);
  fs::remove(lost);
  std::ofstream(kept, std::ios::binary) << "as it is";
  EXPECT_THROW(quantize(several), DependencyError);
  EXPECT_FALSE(fs::exists(lost));
  several.resume = true;
  std::vector<std::string> warnings;
  several.warning = [&](std::string_view text) { warnings.emplace_back(text); };
  quantize(several);
  EXPECT_EQ(bytes_of_file(kept), "as it is");
  EXPECT_EQ(bytes_of_file(lost), bytes);
  EXPECT_THAT(warnings, testing::Contains(testing::HasSubstr("stays as it is")));
  EXPECT_EQ(files_in(scratch_ / "out"), 2u);
}

// What is finished was made with the options of then.
TEST_F(Pipeline, AResumedRunRefusesOtherOptions) {
  QuantizeOptions several = options("Q8_0");
  several.targets = {"gguf:Q8_0", "gguf:Q4_0"};
  several.output = scratch_ / "out" / "all";
  const std::uint64_t total = quantize(several).artifacts.size();
  ASSERT_EQ(total, 2u);
  EXPECT_EQ(files_in(scratch_ / "out"), 1u);  // no record of a run that is over
  several.output = scratch_ / "out" / "some";
  CancelToken cancel;
  several.cancel = &cancel;
  several.progress = [&](const Progress& progress) {
    if (progress.stage == "verify" && progress.stage_finished) cancel.cancel();
  };
  EXPECT_THROW(quantize(several), Error);
  ASSERT_EQ(files_in(several.output), 1u);
  several.cancel = nullptr;
  several.progress = {};
  several.resume = true;
  several.pure = true;
  expect_error<DependencyError>([&] { quantize(several); }, "pure true");
  EXPECT_EQ(files_in(several.output), 1u);
  several.pure = false;
  quantize(several);
  EXPECT_EQ(files_in(several.output), 2u);
  EXPECT_EQ(files_in(scratch_ / "out"), 2u);
}

// As shells complete the name of a directory: "out/" is "out".
TEST_F(Pipeline, ASlashAfterTheOutputChangesNothing) {
  QuantizeOptions directory = options("Q8_0");
  directory.targets = {"ct:W4A16"};
  directory.method = "rtn";
  directory.output = scratch_ / "out" / "artifact/";
  quantize(directory);
  EXPECT_TRUE(fs::exists(scratch_ / "out" / "artifact" / "model.safetensors"));
  QuantizeOptions package = options("Q8_0");
  package.targets = {"coreml:int4"};
  package.output = scratch_ / "out" / "model.mlpackage/";
  quantize(package);
  EXPECT_TRUE(fs::exists(scratch_ / "out" / "model.mlpackage" / "Manifest.json"));
}

}  // namespace
}  // namespace qwodel
