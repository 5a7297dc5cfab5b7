// Codebooks and the fit / snap / pack view of IQ2 and IQ3 against their definitions by brute force.
#include "codecs/codebook.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <set>
#include <utility>
#include <vector>

#include "codecs/codec.h"
#include "codecs/iq_points.h"
#include "tests/codecs/codec_inputs.h"

namespace qwodel {
namespace {

struct Case {
  TensorType type;
  std::span<const std::uint16_t> points;
  unsigned width;
  unsigned bits;
  unsigned distances;  // in a list
  std::vector<std::uint8_t> levels;
  bool even_signs;
};

const std::vector<std::uint8_t> kThree = {8, 25, 43};

const std::vector<Case>& cases() {
  static const std::vector<Case> list = {
      {TensorType::iq2_xxs, kIq2XxsPoints, 8, 2, 2, kThree, true},
      {TensorType::iq2_xs, kIq2XsPoints, 8, 2, 2, kThree, true},
      {TensorType::iq2_s, kIq2SPoints, 8, 2, 1, kThree, false},
      {TensorType::iq3_xxs, kIq3XxsPoints, 4, 3, 2, {4, 12, 20, 28, 36, 44, 52, 62}, true},
      {TensorType::iq3_s, kIq3SPoints, 4, 3, 3, {1, 3, 5, 7, 9, 11, 13, 15}, false},
  };
  return list;
}

class CodebookCase : public testing::TestWithParam<Case> {
 protected:
  unsigned level(unsigned point, unsigned place) const {
    return point >> GetParam().bits * place & ((1u << GetParam().bits) - 1);
  }
};

INSTANTIATE_TEST_SUITE_P(Codecs, CodebookCase, testing::ValuesIn(cases()), [](const auto& suite) {
  return std::string(qwodel::info(suite.param.type).name);
});

// All points at the least distances from the levels, by distance, then by number.
TEST_P(CodebookCase, ListsAreSortedByDistanceThenNumber) {
  const Case& c = GetParam();
  const Codebook codebook(c.points, c.width, c.distances);
  SplitMix random(5);
  for (int trial = 0; trial < 300; ++trial) {
    unsigned levels = 0;
    for (unsigned i = 0; i < c.width; ++i) {
      const auto count = static_cast<std::uint32_t>(c.levels.size());
      levels |= random.below(count) << c.bits * i;
    }
    std::vector<std::pair<int, unsigned>> order;
    for (unsigned number = 0; number < c.points.size(); ++number) {
      int distance = 0;
      for (unsigned i = 0; i < c.width; ++i) {
        const int step =
            static_cast<int>(level(levels, i)) - static_cast<int>(level(c.points[number], i));
        distance += step * step;
      }
      order.emplace_back(distance, number);
    }
    std::sort(order.begin(), order.end());
    const CodebookView view = codebook.view();
    const CodebookEntry& entry =
        view.entries[codebook_slot(c.width, static_cast<std::uint16_t>(levels))];
    EXPECT_EQ(entry.number, order[0].second);
    if (order[0].first == 0) {
      EXPECT_EQ(entry.length, 0);
      continue;
    }
    std::set<int> seen;
    std::size_t length = 0;
    for (const auto& [distance, number] : order) {
      seen.insert(distance);
      if (seen.size() > c.distances) break;
      ASSERT_LT(length, entry.length);
      EXPECT_EQ(view.lists[entry.list + length++], c.points[number]);
    }
    EXPECT_EQ(entry.length, (length + kListUnit - 1) / kListUnit * kListUnit);
  }
}

class SnapCase : public CodebookCase {
 protected:
  // The least squared distance of a group to anything the encoding can hold under a scale.
  double least_distance(std::span<const float> values, double scale) const {
    const Case& c = GetParam();
    double least = std::numeric_limits<double>::infinity();
    for (unsigned signs = 0; signs < 1u << values.size(); ++signs) {
      if (c.even_signs && std::popcount(signs) % 2 != 0) continue;
      double sum = 0.0;
      for (std::size_t first = 0; first < values.size(); first += c.width) {
        double nearest = std::numeric_limits<double>::infinity();
        for (const std::uint16_t point : c.points) {
          double distance = 0.0;
          for (unsigned i = 0; i < c.width; ++i) {
            const double magnitude = scale * c.levels[level(point, i)];
            const bool negative = (signs >> (first + i) & 1u) != 0;
            const double difference = (negative ? -magnitude : magnitude) - values[first + i];
            distance += difference * difference;
          }
          nearest = std::min(nearest, distance);
        }
        sum += nearest;
      }
      least = std::min(least, sum);
    }
    return least;
  }
};

INSTANTIATE_TEST_SUITE_P(Codecs, SnapCase, testing::ValuesIn(cases()), [](const auto& suite) {
  return std::string(qwodel::info(suite.param.type).name);
});

TEST_P(SnapCase, SnapsToTheNearestAndPacksWhatItSaid) {
  const Case& c = GetParam();
  const Codec& codec = *find_codec(c.type);
  const std::vector<float> rows = make_rows("heavy_tail");
  const std::span<const float> block(rows.data(), 256);
  const auto grid = codec.make_grid();
  grid->fit(block, {});
  const std::size_t width = grid->snap_width();
  ASSERT_EQ(width, c.even_signs ? 8 : c.width);
  std::vector<float> decoded(256);
  for (std::size_t first = 0; first < 256; first += width) {
    // Zeros are nearest to the lowest levels, a power of two times the scale.
    const std::vector<float> zeros(width);
    grid->snap(first, zeros, std::span(decoded).subspan(first, width));
    const double scale = std::fabs(decoded[first]) / c.levels[0];
    const auto values = block.subspan(first, width);
    grid->snap(first, values, std::span(decoded).subspan(first, width));
    double distance = 0.0;
    for (std::size_t i = 0; i < width; ++i) {
      distance += std::pow(static_cast<double>(decoded[first + i]) - values[i], 2);
    }
    if (first % 40 == 0) {
      const double least = least_distance(values, scale);
      EXPECT_LE(distance, least * (1 + 1e-5)) << "at " << first;
      EXPECT_GE(distance, least * (1 - 1e-5)) << "at " << first;
    }
  }
  std::vector<std::byte> bytes(info(c.type).block_bytes);
  grid->pack(bytes);
  std::vector<float> unpacked(256);
  codec.decode(bytes.data(), 256, unpacked.data());
  EXPECT_EQ(unpacked, decoded);
}

// What the encoder wrote is no nearer, under the same scales, than the nearest.
TEST_P(SnapCase, TheEncodersChoicesAreNoNearer) {
  const Case& c = GetParam();
  const Codec& codec = *find_codec(c.type);
  const std::vector<float> rows = make_rows("gaussian");
  const std::vector<float> ones(256, 1.0f);
  std::vector<std::byte> bytes(info(c.type).block_bytes);
  codec.encode(rows.data(), 1, 256, ones.data(), bytes.data());
  std::vector<float> encoded(256), decoded(256);
  codec.decode(bytes.data(), 256, encoded.data());
  const auto grid = codec.make_grid();
  grid->fit(std::span(rows).first(256), ones);
  double encoder = 0.0, snapped = 0.0;
  const std::size_t width = grid->snap_width();
  for (std::size_t first = 0; first < 256; first += width) {
    grid->snap(first, std::span(rows).subspan(first, width),
               std::span(decoded).subspan(first, width));
    double both[2] = {0.0, 0.0};
    for (std::size_t i = first; i < first + width; ++i) {
      both[0] += std::pow(static_cast<double>(encoded[i]) - rows[i], 2);
      both[1] += std::pow(static_cast<double>(decoded[i]) - rows[i], 2);
    }
    EXPECT_LE(both[1], both[0] * (1 + 1e-5)) << "at " << first;
    encoder += both[0];
    snapped += both[1];
  }
  // The encoder weighs differently, but it is not far off either.
  EXPECT_GE(snapped, 0.8 * encoder);
}

}  // namespace
}  // namespace qwodel
