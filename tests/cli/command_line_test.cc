// The contract of the command line: verbs, JSON, exit codes, both forms of quantize.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "io/json.h"
#include "tests/cli/program.h"
#include "tests/formats/temp_directory.h"
#include "tests/pipeline/tiny_llama.h"
#include "tests/sanitized.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

const std::string kModel = QWODEL_SOURCE_DIR "/models/stories260K";

class CommandLine : public testing::Test {
 protected:
  ProgramResult run(const std::string& arguments) {
    return run_program(scratch_.path(), arguments);
  }
  Json run_json(const std::string& arguments, int status = 0) {
    const ProgramResult result = run(arguments + " --json");
    EXPECT_EQ(result.status, status) << result.err;
    return parse_json(result.out, "stdout");
  }
  std::string path(const std::string& name) const { return (scratch_ / name).string(); }

  TempDirectory scratch_;
};

TEST_F(CommandLine, QuantizeWritesOneFileAndReportsIt) {
  const Json report = run_json("quantize " + kModel + " --to gguf:Q4_K_M -o " + path("a.gguf"));
  const Json& artifact = report["artifacts"][0];
  EXPECT_EQ(artifact["path"], path("a.gguf"));
  EXPECT_EQ(artifact["bytes"], fs::file_size(scratch_ / "a.gguf"));
  EXPECT_GT(artifact["bits_per_weight"].get<double>(), 4.0);
  EXPECT_LT(artifact["bits_per_weight"].get<double>(), 16.0);
  EXPECT_EQ(artifact["tensors"].size(), 47u);
  for (const char* key : {"name", "type", "bytes", "method", "reason", "nmse"}) {
    EXPECT_TRUE(artifact["tensors"][0].contains(key)) << key;
  }
  EXPECT_GT(report["peak_memory_bytes"].get<std::uint64_t>(), 0u);
  EXPECT_TRUE(report.contains("seconds"));
}

TEST_F(CommandLine, AMemoryCapIsForEveryRunOfAModel) {
  const std::string text =
      " --ctx 128 --chunks 8 --text " QWODEL_SOURCE_DIR "/tests/data/alice.txt";
  const double whole = run_json("eval " + kModel + text)["perplexity"].get<double>();
  const double capped =
      run_json("eval " + kModel + text + " --max-memory 500K")["perplexity"].get<double>();
  EXPECT_GT(whole, 1);
  EXPECT_NEAR(capped, whole, 1e-5 * whole);
  const std::string calibrate = "calibrate " + kModel + " --samples 8 --seq-len 128 -o ";
  EXPECT_EQ(run(calibrate + path("a.qstats") + " --max-memory 500K").status, 0);
  EXPECT_EQ(run(calibrate + path("b.qstats") + " --max-memory much").status, 2);
}

TEST_F(CommandLine, TheOlderFormIsTheSameThing) {
  ASSERT_EQ(run("quantize -b gguf -f q4_k_m -m " + kModel + " -o " + path("dir")).status, 0);
  ASSERT_EQ(run("quantize " + kModel + " --to gguf:Q4_K_M -o " + path("b.gguf")).status, 0);
  fs::path written;
  for (const auto& entry : fs::directory_iterator(scratch_ / "dir")) written = entry.path();
  EXPECT_EQ(written.extension(), ".gguf");
  EXPECT_EQ(read_text(written), read_text(scratch_ / "b.gguf"));
}

// Both are resident memory of a process of its own.
TEST_F(CommandLine, PlanForetellsTheMemoryOfTheRun) {
  if (kSanitized) GTEST_SKIP() << "sanitizers need memory of their own";
  TinyLlama model;
  model.hidden = 1024;
  model.intermediate = 2048;
  model.write(scratch_ / "model");
  double one_thread = 0;
  for (const char* threads : {"1", "8"}) {
    const std::string arguments =
        path("model") + " --to gguf:Q4_K_M --force -o " + path("a.gguf") + " --threads " + threads;
    const Json plan = run_json("plan " + arguments);
    const Json done = run_json("quantize " + arguments);
    const auto forecast = plan["peak_memory_bytes"].get<double>();
    const auto peak = done["peak_memory_bytes"].get<double>();
    EXPECT_LT(peak, 1.15 * forecast) << threads << " threads";
    EXPECT_GT(peak, 0.7 * forecast) << threads << " threads";
    EXPECT_GT(plan["seconds"].get<double>(), 0);
    EXPECT_GT(forecast, 1.3 * one_thread) << "eight threads have eight times the buffers";
    one_thread = forecast;
  }
  const std::string table = run("plan " + path("model") + " --to gguf:Q4_K_M").out;
  EXPECT_NE(table.find("forecast: "), std::string::npos) << table;
}

// Of a run that calibrates, the model's part is foretold, too.
TEST_F(CommandLine, PlanForetellsTheMemoryOfACalibratedRun) {
  if (kSanitized) GTEST_SKIP() << "shadow memory is not the program's";
  TinyLlama model;
  model.hidden = 512;
  model.intermediate = 1024;
  model.layers = 4;
  model.write(scratch_ / "model");
  // Enough text for all samples.
  for (int i = 0; i < 16; ++i) {
    std::ofstream(scratch_ / "long.txt", std::ios::app)
        << std::ifstream(QWODEL_SOURCE_DIR "/tests/data/alice.txt").rdbuf();
  }
  const std::string text = " --calibration " + path("long.txt") + " --seq-len 256";
  const std::string command =
      path("model") + " --to gptq:4bit-g128 --samples 64 --threads 2" + text;
  const Json plan = run_json("plan " + command);
  const Json done = run_json("quantize " + command + " -o " + path("out"));
  const auto forecast = plan["peak_memory_bytes"].get<double>();
  const auto peak = done["peak_memory_bytes"].get<double>();
  EXPECT_LT(peak, 1.5 * forecast);
  EXPECT_GT(peak, 0.5 * forecast);
  const Json awq = run_json("plan " + path("model") + " --to awq:g128 --samples 64" + text);
  const Json rtn = run_json("plan " + path("model") + " --to awq:g128 --method rtn");
  const auto rounded = rtn["peak_memory_bytes"].get<double>();
  EXPECT_GT(awq["peak_memory_bytes"].get<double>(), 1.5 * rounded);
  EXPECT_LT(rounded, 0.5 * forecast);
}

TEST_F(CommandLine, ACalibratedRunSaysFirstWhatItWillTake) {
  TinyLlama().write(scratch_ / "model");
  const ProgramResult result =
      run("quantize " + path("model") +
          " --to awq:g64,gguf:Q4_0 --method awq --samples 4 --seq-len 64 -o " + path("out"));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.err.substr(0, 14), "plan: awq:AWQ ") << result.err;
  const std::string line = result.err.substr(0, result.err.find('\n'));
  EXPECT_THAT(line, testing::HasSubstr(", gguf:Q4_0 "));
  EXPECT_THAT(line, testing::HasSubstr(" of memory, "));
  EXPECT_THAT(line, testing::HasSubstr(" of disk, "));
}

TEST_F(CommandLine, PlanWritesNothing) {
  const Json report = run_json("plan " + kModel + " --to gguf:Q8_0 -o " + path("c.gguf"));
  EXPECT_GT(report["artifacts"][0]["bytes"].get<std::uint64_t>(), 300000u);
  EXPECT_FALSE(fs::exists(scratch_ / "c.gguf"));
  EXPECT_EQ(run("quantize " + kModel + " --to gguf:Q8_0 --dry-run").status, 0);
}

TEST_F(CommandLine, InspectVerifyAndDiff) {
  ASSERT_EQ(run("quantize " + kModel + " --to gguf:Q8_0 -o " + path("d.gguf")).status, 0);
  ASSERT_EQ(run("quantize " + kModel + " --to gguf:Q4_0 -o " + path("e.gguf")).status, 0);
  const Json inspection = run_json("inspect " + path("d.gguf"));
  EXPECT_EQ(inspection["architecture"], "llama");
  EXPECT_EQ(inspection["metadata"]["general.file_type"], "7");
  EXPECT_EQ(inspection["tensors"].size(), 47u);
  const Json verified = run_json("verify " + path("d.gguf") + " --source " + kModel);
  EXPECT_EQ(verified["verified"], true);
  for (const Json& tensor : verified["tensors"]) {
    EXPECT_LT(tensor["nmse"].get<double>(), 1e-3) << tensor["name"];
  }
  EXPECT_EQ(run("diff " + path("d.gguf") + " " + path("d.gguf")).status, 0);
  const Json difference = run_json("diff " + path("d.gguf") + " " + path("e.gguf"), 1);
  EXPECT_EQ(difference["same"], false);
  EXPECT_GT(difference["differences"].size(), 0u);
  EXPECT_EQ(run("diff " + kModel + " " + path("d.gguf")).status, 1);
}

TEST_F(CommandLine, ListsAndGuide) {
  EXPECT_THAT(run("list-formats -b gguf").out, testing::HasSubstr("Q4_K_M"));
  EXPECT_THAT(run("list-backends").out, testing::HasSubstr("gguf"));
  EXPECT_EQ(run("list-formats -b nothing").status, 3);
  EXPECT_EQ(run("check").status, 0);
  const Json guide = run_json("recommend " + kModel + " --device cpu --memory 8G");
  EXPECT_EQ(guide["target"], "gguf:Q8_0");
  EXPECT_EQ(guide["available"], true);
  EXPECT_EQ(run_json("recommend " + kModel + " --device nvidia")["available"], true);
  EXPECT_EQ(run_json("recommend " + kModel + " --device iphone")["available"], false);
  EXPECT_EQ(run("recommend " + kModel + " --device toaster").status, 2);
}

TEST_F(CommandLine, HelpShowsAnExampleFirst) {
  EXPECT_THAT(run("--help").out, testing::HasSubstr("Example: qwodel quantize"));
  EXPECT_THAT(run("quantize --help").out, testing::HasSubstr("Example: qwodel quantize"));
}

struct Refusal {
  std::string arguments;
  int status;
};

TEST_F(CommandLine, RefusesWithTheRightStatusAndOneLine) {
  const std::string to = "quantize " + kModel + " -o " + path("x.gguf") + " --to ";
  const std::vector<Refusal> refusals = {
      {"", 2},
      {"frobnicate", 2},
      {"quantize " + kModel + " --to gguf:Q4_K_M", 2},
      {to + "gguf:Q9_Z", 2},
      {to + "nothing:Q4_0", 2},
      {to + "awq", 3},
      {to + "coreml:int4 --minimum-target ios15", 3},
      {to + "coreml:int4 --minimum-target ios17", 3},
      {to + "coreml:float16 --context-length 100000", 3},
      {to + "gguf:Q4_K_M --tensor-type nonsense", 2},
      {to + "gguf:Q4_K_M --output-tensor-type Q9", 2},
      {to + "gguf:Q4_K_M --outtype q8_0", 2},
      {to + "gguf:Q4_K_M --max-shard-size many", 2},
      {to + "gguf:Q4_K_M --threads -3", 2},
      {to + "gguf:Q4_K_M --max-memory 1K", 4},
      {to + "gguf:Q4_K_M --method rtn", 3},
      {"quantize /nowhere --to gguf:Q4_0 -o " + path("x.gguf"), 1},
      {"inspect /nowhere", 1},
      {to + "gguf:Q4_0 --imatrix " + kModel + "/config.json", 1},
      {"verify " + kModel + "/tokenizer.model", 3},
  };
  for (const Refusal& refusal : refusals) {
    const ProgramResult result = run(refusal.arguments);
    EXPECT_EQ(result.status, refusal.status) << refusal.arguments << "\n" << result.err;
    EXPECT_EQ(result.last_error_line().substr(0, 8), "qwodel: ") << refusal.arguments;
    EXPECT_FALSE(fs::exists(scratch_ / "x.gguf")) << refusal.arguments;
  }
  const Json document = run_json(to + "gguf:Q9_Z", 2);
  EXPECT_EQ(document["error"]["code"], 2);
  EXPECT_THAT(document["error"]["message"].get<std::string>(), testing::HasSubstr("Q9_Z"));
  EXPECT_TRUE(document["error"].contains("remedy"));
}

}  // namespace
}  // namespace qwodel
