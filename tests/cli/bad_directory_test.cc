// Bad input for AWQ, GPTQ and compressed-tensors directories, through the program: one clear line,
// the right status, nothing at the output path and nothing beside it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "io/json.h"
#include "tests/cli/program.h"
#include "tests/formats/temp_directory.h"
#include "tests/pipeline/tiny_llama.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

class BadDirectory : public testing::Test {
 protected:
  void SetUp() override { fs::create_directory(scratch_ / "out"); }

  ProgramResult run(const std::string& arguments, const std::string& before = "",
                    const std::string& model = "model") const {
    return run_program(scratch_.path(),
                       "quantize " + (scratch_ / model).string() + " -o " +
                           (scratch_ / "out/a").string() + " " + arguments,
                       before);
  }

  void expect_refused(const ProgramResult& result, int status, const std::string& said) const {
    EXPECT_EQ(result.status, status) << result.err;
    EXPECT_EQ(result.last_error_line().substr(0, 8), "qwodel: ") << result.err;
    EXPECT_THAT(result.last_error_line(), testing::HasSubstr(said));
    EXPECT_TRUE(fs::is_empty(scratch_ / "out"));
  }

  TempDirectory scratch_;
};

TEST_F(BadDirectory, GroupsThatDoNotDivideTheInputs) {
  TinyLlama model;
  model.hidden = 96;
  model.intermediate = 96;
  model.write(scratch_ / "model");
  for (const char* target : {"awq", "gptq:4bit-g64", "ct:W4A16"}) {
    const ProgramResult result = run(std::string("--method rtn --to ") + target);
    expect_refused(result, 3, "in_features 96");
    EXPECT_THAT(result.last_error_line(), testing::HasSubstr("model.layers.0."));
    EXPECT_THAT(result.last_error_line(), testing::HasSubstr("smaller group size, such as g32"));
  }
  EXPECT_EQ(run("--method rtn --to awq:g32").status, 0);
}

TEST_F(BadDirectory, GroupsOfWhichNoneDividesTheInputs) {
  TinyLlama model;
  model.hidden = 80;
  model.intermediate = 80;
  model.write(scratch_ / "model");
  const ProgramResult result = run("--method rtn --to awq:g32");
  expect_refused(result, 3, "in_features 80");
  EXPECT_THAT(result.last_error_line(), testing::HasSubstr("choose another, such as gguf"));
}

TEST_F(BadDirectory, BitsThatAFormatDoesNotHave) {
  TinyLlama().write(scratch_ / "model");
  expect_refused(run("--to gptq:5bit"), 2, "5bit");
  expect_refused(run("--to awq:8bit"), 2, "8bit");
  expect_refused(run("--to ct:W9A16"), 2, "W9A16");
  expect_refused(run("--to gptq:4bit-g48"), 2, "4bit-g48");
  expect_refused(run("--method rtn --to ct:W3A16_ASYM"), 3, "3 bits, asymmetric");
  const ProgramResult json = run("--json --method rtn --to ct:W3A16_ASYM");
  EXPECT_EQ(parse_json(json.out, "stdout")["error"]["code"], 3);
}

TEST_F(BadDirectory, TextsShorterThanASample) {
  TinyLlama().write(scratch_ / "model");
  const std::string text = (scratch_ / "short.txt").string();
  std::ofstream(text) << "Once upon a time";
  for (const char* target : {"awq:g32", "gptq:4bit-g32", "ct:W4A16-g32 --method awq+gptq"}) {
    expect_refused(run(std::string("--calibration ") + text + " --to " + target), 1, "short.txt");
  }
  std::ofstream(text, std::ios::trunc).close();
  expect_refused(run("--to gptq:4bit-g32 --calibration " + text), 1, "short.txt");
  expect_refused(run("--to gptq:4bit-g32 --calibration " + text + "x"), 1, "short.txtx");
}

TEST_F(BadDirectory, CheckpointsThatAreQuantizedAlready) {
  TinyLlama().write(scratch_ / "model");
  ASSERT_EQ(run("--method rtn --to gptq:4bit-g32").status, 0);
  fs::rename(scratch_ / "out/a", scratch_ / "first");
  for (const char* target : {"awq:g64", "gptq:8bit-g32", "ct:W4A16"}) {
    const ProgramResult result = run(std::string("--to ") + target, "", "first");
    expect_refused(result, 3, "quantized already, 4 bits symmetric in groups of 32");
    EXPECT_THAT(result.last_error_line(), testing::HasSubstr("--method"));
  }
  // Asked for by name it is done, and warned of.
  const ProgramResult twice = run("--method rtn --to awq:g64", "", "first");
  EXPECT_EQ(twice.status, 0) << twice.err;
  EXPECT_THAT(twice.err, testing::HasSubstr("second time"));
}

// The last shard has the attention's matrices, which stay as they are, and no room; what stands
// before it has enough.
TEST_F(BadDirectory, ADiskThatIsFullAtTheLastShard) {
  TinyLlama model;
  model.layers = 1;
  model.intermediate = 704;
  model.write(scratch_ / "model");
  const std::string arguments =
      "--to ct:W4A16-g32 --method rtn --tensor-type self_attn=none --max-shard-size 1060000";
  const ProgramResult full = run(arguments, "ulimit -f 1900;");
  expect_refused(full, 4, "model-00002-of-00002.safetensors");
  ASSERT_EQ(run(arguments).status, 0);
  const auto first = fs::file_size(scratch_ / "out/a/model-00001-of-00002.safetensors");
  const auto last = fs::file_size(scratch_ / "out/a/model-00002-of-00002.safetensors");
  EXPECT_LT(first, 1900 * 512u);
  EXPECT_GT(last, 1900 * 512u);
}

}  // namespace
}  // namespace qwodel
