// Statistics of a whole model: right, the same bytes for any threads and after an interruption,
// mergeable, and refused when damaged or of another model.
#include "qwodel/calibrate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <functional>

#include "calibrate/importance_matrix.h"
#include "calibrate/statistics.h"
#include "io/json.h"
#include "qwodel/inspect.h"
#include "qwodel/quantize.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

const std::filesystem::path kSource = QWODEL_SOURCE_DIR;
const std::filesystem::path kModel = kSource / "models/stories260K";
const std::filesystem::path kText = kSource / "tests/data/alice.txt";

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

CalibrateOptions options_for(const std::filesystem::path& output) {
  CalibrateOptions options;
  options.run.model = kModel;
  options.run.compute = "f32";
  options.run.threads = 2;
  options.calibration = {.text = kText.string(), .samples = 40, .seq_len = 128};
  options.output = output;
  return options;
}

TEST(Calibrate, ImportanceIsThatOfHooksInDoublePrecision) {
  const TempDirectory directory;
  ImatrixOptions options;
  options.run.model = kModel;
  options.run.compute = "f32";
  options.text = kText;
  options.context = 128;
  options.output = directory / "imatrix.gguf";
  EXPECT_EQ(make_imatrix(options).entries, 35u);
  options.output = directory / "imatrix.dat";
  make_imatrix(options);
  const ImportanceMatrix gguf = read_importance_matrix(directory / "imatrix.gguf");
  const ImportanceMatrix dat = read_importance_matrix(directory / "imatrix.dat");
  EXPECT_EQ(gguf.chunks, 36u);
  EXPECT_EQ(dat.chunks, 36u);
  EXPECT_EQ(gguf.datasets, std::vector<std::string>{kText.string()});
  EXPECT_EQ(gguf.datasets, dat.datasets);
  const Json golden = read_json(kSource / "tests/golden/evaluation.json");
  std::size_t compared = 0;
  for (const auto& [name, expected] : golden.at("importance").items()) {
    const std::vector<float>& found = gguf.entries.at(name);
    const std::vector<float>& older = dat.entries.at(name);
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i, ++compared) {
      const double value = expected[i].get<double>();
      ASSERT_NEAR(static_cast<double>(found[i]), value, 1e-5 * value) << name << " " << i;
      ASSERT_NEAR(static_cast<double>(older[i]), value, 1e-5 * value) << name << " " << i;
    }
  }
  EXPECT_EQ(compared, 6u * 64 + 172);
}

TEST(Calibrate, StatisticsAgreeWithEachOther) {
  const TempDirectory directory;
  const CalibrateReport report = calibrate(options_for(directory / "a.qstats"));
  EXPECT_EQ(report.sequences, 36u);
  const StatisticsFile file(directory / "a.qstats");
  EXPECT_EQ(file.header().model_hash, report.model_hash);
  EXPECT_EQ(file.header().texts[0].hash, report.text_hash);
  EXPECT_EQ(file.inputs().size(), 21u);
  EXPECT_EQ(file.find("blk.1.attn_v.weight"), file.find("blk.1.attn_q.weight"));
  EXPECT_EQ(file.find("blk.9.attn_v.weight"), std::nullopt);
  for (std::size_t i = 0; i < file.inputs().size(); ++i) {
    const InputSums sums = file.read(i, true);
    ASSERT_EQ(sums.counts, std::vector<std::uint64_t>{report.tokens});
    const auto tokens = static_cast<double>(report.tokens);
    for (std::size_t j = 0; j < sums.sum_abs.size(); ++j) {
      const double square = sums.sum_squares[j];
      ASSERT_NEAR(static_cast<double>(sums.gram[triangle(j) + j]), square, 2e-6 * square);
      ASSERT_LE(sums.sum_abs[j] * sums.sum_abs[j], tokens * square * (1 + 1e-6));  // Cauchy
      const auto max = static_cast<double>(sums.max_abs[j]);
      ASSERT_LE(square, max * sums.sum_abs[j] * (1 + 1e-6));
      ASSERT_GE(square * (1 + 1e-6), max * max);
    }
  }
}

TEST(Calibrate, SameBytesForAnyThreadsAndAfterInterruptions) {
  const TempDirectory directory;
  CalibrateOptions options = options_for(directory / "whole.qstats");
  calibrate(options);
  const std::string whole = bytes_of(options.output);
  options.output = directory / "one.qstats";
  options.run.threads = 1;
  calibrate(options);
  EXPECT_EQ(bytes_of(options.output), whole);
  options.output = directory / "spooled.qstats";
  options.gram_memory = 0;
  calibrate(options);
  EXPECT_EQ(bytes_of(options.output), whole);
  // Stops in the middle of every run until one comes to the end.
  options.output = directory / "resumed.qstats";
  options.keep_seconds = 0;
  options.resume = true;
  options.run.threads = 2;
  int interruptions = 0;
  while (!std::filesystem::exists(options.output) && interruptions < 20) {
    CancelToken cancel;
    std::string first_stage;
    options.run.cancel = &cancel;
    options.run.progress = [&](const Progress& progress) {
      if (first_stage.empty()) first_stage = progress.stage;
      if (progress.stage != first_stage) cancel.cancel();
    };
    try {
      const CalibrateReport report = calibrate(options);
      EXPECT_GT(report.resumed_stages, 0u);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::interrupted);
      ++interruptions;
    }
  }
  EXPECT_EQ(bytes_of(options.output), whole);
  EXPECT_FALSE(std::filesystem::exists(directory / ".resumed.qstats.work"));
}

TEST(Calibrate, WorkOfAnotherRunIsNotTakenUp) {
  const TempDirectory directory;
  CalibrateOptions options = options_for(directory / "a.qstats");
  options.keep_seconds = 0;
  CancelToken cancel;
  cancel.cancel();
  std::filesystem::create_directories(directory / ".a.qstats.work");
  directory.write(".a.qstats.work/journal.json", "{\"finished_stage\": 2}");
  directory.write(".a.qstats.work/statistics", "something else");
  options.resume = true;
  EXPECT_THROW(calibrate(options), ValidationError);
  directory.write(".a.qstats.work/journal.json", "{\"finished_stage\": -1}");
  EXPECT_THROW(calibrate(options), ValidationError);
  options.resume = false;
  calibrate(options);
  EXPECT_THROW(calibrate(options), DependencyError);  // it exists now
}

TEST(Calibrate, FilesOfDifferentTextsMerge) {
  const TempDirectory directory;
  const std::filesystem::path a = directory / "a.qstats";
  const std::filesystem::path b = directory / "b.qstats";
  CalibrateOptions options = options_for(a);
  calibrate(options);
  options.output = b;
  options.calibration = {.text = "builtin", .samples = 10, .seq_len = 128};
  calibrate(options);
  const std::vector<std::filesystem::path> both = {a, b};
  const std::vector<std::filesystem::path> reversed = {b, a};
  merge_calibrations(both, directory / "ab.qstats", false);
  merge_calibrations(reversed, directory / "ba.qstats", false);
  const StatisticsFile files[] = {StatisticsFile(a), StatisticsFile(b),
                                  StatisticsFile(directory / "ab.qstats"),
                                  StatisticsFile(directory / "ba.qstats")};
  EXPECT_EQ(files[2].header().texts.size(), 2u);
  for (std::size_t i = 0; i < files[0].inputs().size(); ++i) {
    const InputSums x = files[0].read(i, true);
    const InputSums y = files[1].read(i, true);
    const InputSums xy = files[2].read(i, true);
    const InputSums yx = files[3].read(i, true);
    ASSERT_EQ(xy.counts[0], x.counts[0] + y.counts[0]);
    ASSERT_EQ(xy.gram, yx.gram);
    ASSERT_EQ(xy.sum_abs, yx.sum_abs);
    for (std::size_t j = 0; j < x.sum_squares.size(); ++j) {
      ASSERT_EQ(xy.sum_squares[j], x.sum_squares[j] + y.sum_squares[j]);
      ASSERT_EQ(xy.max_abs[j], std::max(x.max_abs[j], y.max_abs[j]));
    }
    ASSERT_EQ(xy.gram[1],
              static_cast<float>(static_cast<double>(x.gram[1]) + static_cast<double>(y.gram[1])));
  }
  const std::vector<std::filesystem::path> twice = {a, a};
  EXPECT_THROW(merge_calibrations(twice, directory / "aa.qstats", false), ValidationError);
}

TEST(Calibrate, QuantizingWithATextIsQuantizingWithItsStatistics) {
  const TempDirectory directory;
  CalibrateOptions calibration = options_for(directory / "a.qstats");
  calibration.gram = false;
  calibrate(calibration);
  ImatrixOptions imatrix;
  imatrix.statistics = calibration.output;
  imatrix.output = directory / "imatrix.gguf";
  make_imatrix(imatrix);
  const auto quantize_with = [&](const char* name,
                                 const std::function<void(QuantizeOptions&)>& set) {
    QuantizeOptions options;
    options.model = kModel;
    options.targets = {"gguf:IQ4_NL"};
    options.output = directory / name;
    set(options);
    quantize(options);
    return options.output;
  };
  const auto plain = quantize_with("plain.gguf", [](QuantizeOptions&) {});
  const auto by_text = quantize_with("text.gguf", [&](QuantizeOptions& options) {
    options.calibration = calibration.calibration;
    options.compute = "f32";
  });
  const auto by_file = quantize_with(
      "file.gguf", [&](QuantizeOptions& options) { options.statistics = calibration.output; });
  const auto by_imatrix = quantize_with(
      "imatrix_made.gguf", [&](QuantizeOptions& options) { options.imatrix = imatrix.output; });
  EXPECT_TRUE(diff(by_text, by_file).differences.empty());
  EXPECT_TRUE(diff(by_text, by_imatrix).differences.empty());
  EXPECT_FALSE(diff(by_text, plain).differences.empty());
}

TEST(Calibrate, StatisticsOfAnotherModelAreRefused) {
  const TempDirectory directory;
  CalibrateOptions calibration = options_for(directory / "a.qstats");
  calibrate(calibration);
  QuantizeOptions other;
  other.model = kModel;
  other.targets = {"gguf:Q8_0"};
  other.output = directory / "q8.gguf";
  quantize(other);
  QuantizeOptions options;
  options.model = other.output;
  options.targets = {"gguf:Q4_0"};
  options.output = directory / "q4.gguf";
  options.statistics = calibration.output;
  try {
    quantize(options);
    FAIL() << "statistics of the checkpoint taken for its Q8_0";
  } catch (const ValidationError& error) {
    EXPECT_NE(std::string(error.what()).find("a.qstats: found statistics of stories260K"),
              std::string::npos)
        << error.what();
  }
}

TEST(Calibrate, DamagedStatisticsAreRefused) {
  const TempDirectory directory;
  CalibrateOptions options = options_for(directory / "a.qstats");
  calibrate(options);
  const std::string good = bytes_of(options.output);
  const auto refused = [&](const std::string& bytes) {
    EXPECT_THROW(StatisticsFile(directory.write("bad.qstats", bytes)), ValidationError);
  };
  for (std::size_t size = 0; size < good.size(); size += good.size() / 23) {
    refused(good.substr(0, size));
  }
  std::string negative = good;  // the sign of every number of the data
  for (std::size_t i = good.size() / 2; i < good.size(); ++i) {
    negative[i] = static_cast<char>(negative[i] | '\x80');
  }
  refused(negative);
  const std::size_t version = good.find("statistics.version") + 18 + 4;
  std::string newer = good;
  newer[version] = 9;
  refused(newer);
  std::string widths = good;
  widths.replace(good.find("statistics.widths") + 17 + 16, 8, "\xff\xff\xff\xff\xff\xff\xff\xff");
  refused(widths);
  EXPECT_THROW(StatisticsFile{kModel}, Error);
}

// A copy of the model with one value of a tensor replaced by NaN.
void damage(const std::filesystem::path& copy, const std::string& tensor) {
  std::filesystem::copy(kModel, copy);
  std::string bytes = bytes_of(copy / "model.safetensors");
  std::uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof(header));
  const Json json = parse_json(bytes.substr(8, header), "header");
  const auto at = 8 + header + json.at(tensor).at("data_offsets")[0].get<std::uint64_t>();
  bytes.replace(at, 4, "\xff\xff\xff\xff");  // NaN in f32, and two in the 16-bit types
  std::ofstream(copy / "model.safetensors", std::ios::binary) << bytes;
}

TEST(Calibrate, ActivationsThatAreNotFiniteNameTheirLayer) {
  const TempDirectory directory;
  damage(directory / "nan", "model.layers.3.mlp.up_proj.weight");
  CalibrateOptions options = options_for(directory / "a.qstats");
  options.run.model = directory / "nan";
  try {
    calibrate(options);
    FAIL() << "no error";
  } catch (const ValidationError& error) {
    EXPECT_NE(std::string(error.what()).find("layer 3"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace qwodel
