// The Gram matrix is X^T X, whatever the size, and the same for any number of threads.
#include "calibrate/gram_sum.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "calibrate/part_grams.h"
#include "calibrate/statistics.h"
#include "core/half.h"
#include "qwodel/error.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

std::vector<float> random_rows(std::size_t count) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 1);
  std::vector<float> values(count);
  for (float& x : values) x = normal(random);
  return values;
}

std::vector<float> gram_of(ConstMatrixView rows, ComputeType compute, int threads) {
  GramSum sum(rows.cols, compute);
  const TaskThreads tasks(threads);
  sum.add(rows, tasks);
  std::vector<float> packed(triangle(rows.cols));
  sum.store(packed);
  return packed;
}

TEST(GramSum, IsTheProductOfTheRowsWithThemselves) {
  // More than one run of rows, rows that are padded, tiles cut off at the edge.
  constexpr std::size_t kRows = GramSum::kRows + 333;
  constexpr std::size_t kCols = 300;
  const std::vector<float> values = random_rows(kRows * 310);
  const ConstMatrixView rows(values.data(), kRows, kCols, 310);
  for (const ComputeType compute : {ComputeType::f32, ComputeType::bf16}) {
    const std::vector<float> packed = gram_of(rows, compute, 1);
    EXPECT_EQ(packed, gram_of(rows, compute, 2));
    for (std::size_t i = 0; i < kCols; i += 7) {
      for (std::size_t j = 0; j <= i; j += (i == 294 ? 1 : 13)) {
        double expected = 0;
        for (std::size_t r = 0; r < kRows; ++r) {
          const auto rounded = [&](float x) {
            return static_cast<double>(
                compute == ComputeType::bf16 ? bfloat16_to_float(float_to_bfloat16(x)) : x);
          };
          expected += rounded(rows.row(r)[i]) * rounded(rows.row(r)[j]);
        }
        // Off the diagonal the terms' root of summed squares is about sqrt(rows).
        ASSERT_NEAR(packed[triangle(i) + j], expected, 2e-6 * std::abs(expected) + 1e-3)
            << i << " " << j;
      }
    }
  }
}

// The matrices of three parts, the second without rows, in the order in which they are handed out.
std::vector<float> part_grams_of(ConstMatrixView rows, ComputeType compute, std::uint64_t memory,
                                 bool spooled, const std::filesystem::path& scratch,
                                 std::size_t* pieces) {
  const TaskThreads threads(2);
  PartGrams grams(rows.cols, 3, compute, memory, scratch);
  EXPECT_EQ(grams.is_spooled(), spooled);
  grams.add(2, rows.row_range(0, rows.rows - 100), threads);
  grams.add(0, rows.row_range(100, 77), threads);
  grams.add(2, rows.row_range(rows.rows - 100, 100), threads);
  std::vector<float> all;
  *pieces = 0;
  grams.finish(memory, threads, [&](std::uint64_t first, std::span<const float> values) {
    EXPECT_EQ(first, all.size());
    all.insert(all.end(), values.begin(), values.end());
    ++*pieces;
  });
  return all;
}

TEST(PartGrams, AreTheSameWhateverTheMemory) {
  const TempDirectory directory;
  constexpr std::size_t kRows = GramSum::kRows + 333;
  constexpr std::size_t kCols = 600;  // three rows of tiles
  const std::vector<float> values = random_rows(kRows * kCols);
  const ConstMatrixView rows(values.data(), kRows, kCols);
  const std::uint64_t one = GramSum::bytes(kCols, 0, kCols);
  EXPECT_EQ(one, (256u * 256 + 256 * 512 + 88 * 600) * sizeof(double));
  for (const ComputeType compute : {ComputeType::f32, ComputeType::bf16}) {
    std::size_t pieces = 0;
    const auto want = part_grams_of(rows, compute, 3 * one, false, "/nowhere", &pieces);
    EXPECT_EQ(pieces, 3u);
    ASSERT_EQ(want.size(), 3 * triangle(kCols));
    EXPECT_EQ(want, part_grams_of(rows, compute, one, true, directory.path(), &pieces));
    EXPECT_EQ(pieces, 3u);
    EXPECT_EQ(want, part_grams_of(rows, compute, one - 1, true, directory.path(), &pieces));
    EXPECT_EQ(pieces, 6u);
    EXPECT_EQ(want, part_grams_of(rows, compute, 0, true, directory.path(), &pieces));
    EXPECT_EQ(pieces, 9u);
    EXPECT_TRUE(std::all_of(want.begin() + triangle(kCols), want.begin() + 2 * triangle(kCols),
                            [](float x) { return x == 0; }));
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(PartGrams, SayWhereTheScratchFileCannotBe) {
  try {
    PartGrams(600, 3, ComputeType::f32, 0, "/nowhere");
    FAIL() << "no error";
  } catch (const DependencyError& error) {
    EXPECT_NE(std::string(error.what()).find("/nowhere"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace qwodel
