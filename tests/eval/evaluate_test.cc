// Perplexity and divergence of a whole model are those of llama.cpp and of transformers in double
// precision (tools/golden/make_evaluation_goldens.py); bad input is told in one line.
#include "qwodel/evaluate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "io/json.h"
#include "qwodel/quantize.h"
#include "tests/cli/program.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

const std::filesystem::path kSource = QWODEL_SOURCE_DIR;
const std::filesystem::path kModel = kSource / "models/stories260K";
const std::filesystem::path kText = kSource / "tests/data/alice.txt";

const Json& golden() {
  static const Json document = read_json(kSource / "tests/golden/evaluation.json");
  return document;
}

double golden_number(const char* key) { return golden().at(key).get<double>(); }

EvaluateOptions options_for(const std::filesystem::path& model, const std::string& compute) {
  EvaluateOptions options;
  options.run.model = model;
  options.run.compute = compute;
  options.run.threads = 2;
  options.text = kText;
  options.context = 128;
  return options;
}

std::filesystem::path quantized(const TempDirectory& directory, const std::string& type) {
  QuantizeOptions options;
  options.model = kModel;
  options.targets = {"gguf:" + type};
  options.output = directory / (type + ".gguf");
  quantize(options);
  return options.output;
}

TEST(Evaluate, PerplexityIsThatOfTheReferences) {
  const EvaluateReport report = evaluate(options_for(kModel, "f32"));
  EXPECT_EQ(report.chunks, golden().at("chunks"));
  EXPECT_EQ(report.tokens, golden().at("tokens"));
  EXPECT_NEAR(report.perplexity.value / golden_number("perplexity"), 1, 1e-6);
  EXPECT_NEAR(report.perplexity_error / golden_number("perplexity_error"), 1, 1e-5);
  EXPECT_NEAR(report.perplexity.value / golden_number("perplexity_llama_cpp"), 1, 1e-4);
  EXPECT_FALSE(report.divergence.has_value());
  EXPECT_FALSE(report.stopped_early);
}

TEST(Evaluate, Bfloat16ProductsChangeLittle) {
  const EvaluateReport report = evaluate(options_for(kModel, "bf16"));
  EXPECT_EQ(report.compute, "bf16");
  EXPECT_NEAR(report.perplexity.value / golden_number("perplexity"), 1, 3e-3);
}

TEST(Evaluate, DivergenceIsThatOfDecodedWeightsInDoublePrecision) {
  const TempDirectory directory;
  for (const auto& item : golden().at("quantized").items()) {
    const std::string type = item.key();
    const Json& expected = item.value();
    EvaluateOptions options = options_for(quantized(directory, type), "f32");
    options.against = kModel;
    const EvaluateReport report = evaluate(options);
    ASSERT_TRUE(report.divergence.has_value());
    const DivergenceReport& d = *report.divergence;
    const auto near = [&](double found, const char* key, double relative) {
      EXPECT_NEAR(found / expected.at(key).get<double>(), 1, relative) << type << " " << key;
    };
    near(report.perplexity.value, "perplexity", 1e-5);
    near(d.mean.value, "mean", 1e-4);
    near(d.percentiles[5].second.value, "median", 1e-3);
    near(d.percentiles[9].second.value, "p99", 1e-3);
    near(d.max, "max", 1e-3);
    near(d.same_top.value, "same_top", 1e-3);
    EXPECT_LT(d.mean.low, d.mean.value);
    EXPECT_GT(d.mean.high, d.mean.value);
    EXPECT_NEAR(d.reference_perplexity / golden_number("perplexity"), 1, 1e-6);
    EXPECT_NEAR(d.perplexity_ratio.value * d.reference_perplexity, report.perplexity.value, 1e-9);
  }
}

TEST(Evaluate, StoredLogProbabilitiesGiveNearlyTheSame) {
  const TempDirectory directory;
  EvaluateOptions save = options_for(kModel, "f32");
  save.save_base = directory / "base.kld";
  evaluate(save);
  EvaluateOptions options = options_for(quantized(directory, "Q4_0"), "f32");
  options.text.clear();
  options.base = save.save_base;
  const EvaluateReport report = evaluate(options);
  const Json& expected = golden().at("quantized").at("Q4_0");
  EXPECT_NEAR(report.perplexity.value / expected.at("perplexity").get<double>(), 1, 1e-5);
  EXPECT_NEAR(report.divergence->mean.value / expected.at("mean").get<double>(), 1, 2e-3);
  // Tokens more than 16 nats below the likeliest are stored as likelier than they are.
  const double ratio = report.divergence->reference_perplexity / golden_number("perplexity");
  EXPECT_LT(ratio, 1 + 1e-4);
  EXPECT_GT(ratio, 1 - 3e-3);
}

TEST(Evaluate, StopsWhenItIsPreciseEnough) {
  EvaluateOptions options = options_for(kModel, "f32");
  options.context = 512;
  const EvaluateReport all = evaluate(options);
  EXPECT_EQ(all.chunks, 9u);
  options.precision = 0.5;
  const EvaluateReport some = evaluate(options);
  EXPECT_TRUE(some.stopped_early);
  EXPECT_EQ(some.chunks, 8u);
  options.precision = 1e-6;
  EXPECT_EQ(evaluate(options).perplexity.value, all.perplexity.value);
}

TEST(Evaluate, BadInputIsToldInOneLine) {
  const TempDirectory directory;
  const std::string model = kModel.string();
  const auto text = [&](const char* name, const std::string& content) {
    return directory.write(name, content).string();
  };
  struct Case {
    std::string arguments;
    int code;
    std::string message;
  };
  const std::vector<Case> cases = {
      {"eval " + model, 2, "--text"},
      {"eval " + model + " --text " + text("short.txt", "Once upon a time"), 1, "one chunk of 512"},
      {"eval " + model + " --text " + text("empty.txt", "\n"), 1, "no text"},
      {"eval " + model + " --text " + text("large.ids", "1 2 99999"), 1, "token id 99999"},
      {"eval " + model + " --text " + text("bad.ids", "1 two"), 1, "\"two\""},
      {"eval " + model + " --text " + kText.string() + " --compute f8", 2, "--compute"},
      {"eval " + model + " --base " + text("bad.kld", "_logits_"), 1, "bad.kld"},
      {"imatrix " + model + " -o " + (directory / "i.gguf").string(), 2, "--text"},
      {"calibrate " + model, 2, "-o"},
  };
  for (const Case& c : cases) {
    const ProgramResult run = run_program(directory.path(), c.arguments);
    EXPECT_EQ(run.status, c.code) << c.arguments;
    EXPECT_NE(run.err.find(c.message), std::string::npos) << run.err;
    EXPECT_EQ(std::count(run.err.begin(), run.err.end(), '\n'), 1) << run.err;
  }
}

}  // namespace
}  // namespace qwodel
