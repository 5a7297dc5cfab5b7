// The neighbour lists of IQ1_S and IQ1_M hold what a search over all points finds.
#include "codecs/iq1_codebook.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <vector>

namespace qwodel {
namespace {

int level(unsigned point, std::size_t place) { return static_cast<int>(point >> 2 * place & 3u); }

int squared_distance(unsigned a, unsigned b) {
  int sum = 0;
  for (std::size_t i = 0; i < 8; ++i)
    sum += (level(a, i) - level(b, i)) * (level(a, i) - level(b, i));
  return sum;
}

// Every group of eight levels, two bits each.
std::vector<std::uint16_t> all_groups() {
  std::vector<std::uint16_t> groups;
  for (unsigned point = 0; point < 0x10000u; ++point) {
    bool ternary = true;
    for (std::size_t i = 0; i < 8; ++i) ternary = ternary && level(point, i) < 3;
    if (ternary) groups.push_back(static_cast<std::uint16_t>(point));
  }
  return groups;
}

TEST(Iq1Codebook, PointsAreDistinctTernaryGroups) {
  const std::set<std::uint16_t> points(kIq1PointTable.begin(), kIq1PointTable.end());
  EXPECT_EQ(points.size(), kIq1Points);
  for (const std::uint16_t point : points) {
    for (std::size_t i = 0; i < 8; ++i) ASSERT_LT(level(point, i), 3);
  }
}

TEST(Iq1Codebook, TernaryIndexNumbersTheGroups) {
  std::set<unsigned> indices;
  for (const std::uint16_t group : all_groups()) indices.insert(ternary_index(group));
  EXPECT_EQ(indices.size(), kTernaryIndices);
  EXPECT_EQ(*indices.rbegin(), kTernaryIndices - 1);
}

// The points at the three least distances, nearest first, in the order of their numbers.
std::vector<std::uint16_t> expected_list(std::uint16_t group) {
  std::set<int> distances;
  for (const std::uint16_t point : kIq1PointTable) distances.insert(squared_distance(group, point));
  const int farthest = *std::next(distances.begin(), 2);
  std::vector<std::uint16_t> list;
  for (const std::uint16_t point : kIq1PointTable) {
    if (squared_distance(group, point) <= farthest) list.push_back(point);
  }
  std::stable_sort(list.begin(), list.end(), [&](auto a, auto b) {
    return squared_distance(group, a) < squared_distance(group, b);
  });
  return list;
}

TEST(Iq1Codebook, ListsHoldTheNearestPoints) {
  const TernaryCodebook& book = iq1_codebook();
  std::size_t exact = 0;
  const std::vector<std::uint16_t> groups = all_groups();
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const TernaryEntry& entry = book.entries[ternary_index(groups[i])];
    if (entry.length == 0) {
      ASSERT_EQ(kIq1PointTable[entry.point], groups[i]);
      ++exact;
      continue;
    }
    if (i % 17 != 0) continue;  // a sample: the expected lists are slow to make
    const std::vector<std::uint16_t> expected = expected_list(groups[i]);
    std::vector<std::uint16_t> list(book.neighbours + entry.neighbours,
                                    book.neighbours + entry.neighbours + entry.length);
    ASSERT_EQ(list.size() % 16, 0u);
    ASSERT_LT(list.size() - expected.size(), 16u);
    ASSERT_TRUE(std::all_of(list.begin() + static_cast<std::ptrdiff_t>(expected.size()), list.end(),
                            [&](auto point) { return point == expected.back(); }));
    list.resize(expected.size());
    ASSERT_EQ(list, expected);
    ASSERT_EQ(kIq1PointTable[entry.point], expected.front());
  }
  EXPECT_EQ(exact, kIq1Points);
}

double distance(const float* values, std::uint16_t number, float scale, float shift) {
  double sum = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    const double decoded = scale * (level(kIq1PointTable[number], i) - 1.0 + shift);
    sum += (decoded - values[i]) * (decoded - values[i]);
  }
  return sum;
}

// The list is a short cut: the best of it is the best of all points, or nearly.
TEST(Iq1Codebook, NearestPointIsCloseToTheBestOfAll) {
  std::mt19937 random(3);
  std::normal_distribution<float> gaussian;
  double found = 0;
  double best = 0;
  for (int trial = 0; trial < 500; ++trial) {
    float values[8];
    for (float& value : values) value = gaussian(random);
    const float shift = trial % 2 == 0 ? kIq1Shift : -kIq1Shift;
    found += distance(values, nearest_iq1_point(values, 1.2f, shift), 1.2f, shift);
    double least = distance(values, 0, 1.2f, shift);
    for (std::uint16_t number = 1; number < kIq1Points; ++number) {
      least = std::min(least, distance(values, number, 1.2f, shift));
    }
    best += least;
  }
  EXPECT_GE(found, best * (1 - 1e-9));
  EXPECT_LE(found, best * 1.001);
}

}  // namespace
}  // namespace qwodel
