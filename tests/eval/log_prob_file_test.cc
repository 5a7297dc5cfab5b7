// llama.cpp's file of log-probabilities: read back what was written, and damaged files refused.
#include "eval/log_prob_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <random>

#include "qwodel/error.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

const LogProbShape kShape{.context = 8, .vocab_size = 301, .chunks = 2};

std::vector<float> logits_of(std::uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 6.0f);
  std::vector<float> logits(kShape.vocab_size);
  for (float& x : logits) x = normal(random);
  return logits;
}

std::filesystem::path write_file(const TempDirectory& directory) {
  const auto path = directory.path() / "base.kld";
  std::vector<std::uint32_t> tokens;
  for (std::uint32_t i = 0; i < 16; ++i) tokens.push_back(i * 17);
  LogProbWriter writer(path, kShape, tokens, false);
  for (std::uint32_t row = 0; row < 6; ++row) writer.write(row, logits_of(row));
  writer.commit();
  return path;
}

TEST(LogProbFile, HoldsLogProbabilitiesToItsSixteenBits) {
  const TempDirectory directory;
  const LogProbReader reader(write_file(directory));
  EXPECT_EQ(std::filesystem::file_size(directory.path() / "base.kld"), 20u + 16 * 4 + 6 * 306 * 2);
  EXPECT_EQ(reader.tokens()[15], 255u);
  std::vector<float> values(2 * 200);
  reader.read(4, 101, {values.data(), 2, 200});
  for (std::size_t row = 0; row < 2; ++row) {
    const std::vector<float> logits = logits_of(static_cast<std::uint32_t>(4 + row));
    double sum = 0;
    for (const float x : logits) sum += std::exp(static_cast<double>(x));
    const double max = *std::max_element(logits.begin(), logits.end());
    for (std::size_t j = 0; j < 200; ++j) {
      const double cut = std::max(static_cast<double>(logits[101 + j]), max - 16);
      EXPECT_NEAR(values[row * 200 + j], cut - std::log(sum), 16.0 / 65535);
    }
  }
}

TEST(LogProbFile, EqualLogitsHaveNoScale) {
  const std::vector<float> logits(4, 2.5f);
  std::vector<std::uint16_t> row(8, 7);
  encode_log_probs(logits, row);
  float minimum = 0;
  std::memcpy(&minimum, row.data() + 2, sizeof(float));
  EXPECT_NEAR(minimum, -std::log(4.0), 1e-6);
  EXPECT_EQ(row[5], 0);
  std::vector<float> bad = logits;
  bad[2] = std::numeric_limits<float>::infinity();
  EXPECT_THROW(encode_log_probs(bad, row), ValidationError);
}

TEST(LogProbFile, DamagedFilesAreRefused) {
  const TempDirectory directory;
  const auto path = write_file(directory);
  std::ifstream in(path, std::ios::binary);
  const std::string good((std::istreambuf_iterator<char>(in)), {});
  const auto refused = [&](std::string bytes) {
    std::ofstream(directory.path() / "bad", std::ios::binary) << bytes;
    EXPECT_THROW(LogProbReader(directory.path() / "bad"), ValidationError);
  };
  for (const std::size_t size : {0u, 7u, 19u, 60u, 500u}) refused(good.substr(0, size));
  refused(good + "x");
  for (const std::size_t field : {8u, 12u, 16u, 20u}) {  // sizes and a token, all too large
    std::string bytes = good;
    bytes.replace(field, 4, "\xff\xff\xff\x7f");
    refused(bytes);
  }
  std::string zero = good;
  zero.replace(12, 4, std::string(4, '\0'));
  refused(zero);
}

}  // namespace
}  // namespace qwodel
