#include "codecs/iq1_codebook.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

namespace qwodel {
namespace {

constexpr std::size_t kListUnit = 16;      // lists are padded to whole vectors
constexpr unsigned kNearestDistances = 3;  // a list holds the points at the 3 least distances

// One byte per point, eight to the word: sums of eight squares up to 4 do not carry over.
using Distances = std::array<std::uint64_t, kIq1Points / 8>;

// squares[place][level]: squared difference between `level` and each point's level there.
using SquareTable = std::array<std::array<Distances, 3>, 8>;

std::vector<SquareTable> make_squares() {
  std::vector<SquareTable> squares(1);  // on the heap: 48 kB
  std::array<std::uint8_t, kIq1Points> bytes;
  for (std::size_t place = 0; place < 8; ++place) {
    for (int level = 0; level < 3; ++level) {
      for (std::size_t number = 0; number < kIq1Points; ++number) {
        const int difference = level - (kIq1PointTable[number] >> 2 * place & 3);
        bytes[number] = static_cast<std::uint8_t>(difference * difference);
      }
      std::memcpy(squares[0][place][static_cast<std::size_t>(level)].data(), bytes.data(),
                  bytes.size());
    }
  }
  return squares;
}

Distances distances_from(unsigned index, const SquareTable& squares) {
  Distances total{};
  for (std::size_t place = 0; place < 8; ++place, index /= 3) {
    const Distances& part = squares[place][index % 3];
    for (std::size_t i = 0; i < total.size(); ++i) total[i] += part[i];
  }
  return total;
}

// Whatever the group, the three least distances are among 0 ... 4.
constexpr unsigned kFarthest = 4;

// Numbers of the points at each distance up to kFarthest, ascending.
struct NearPoints {
  std::array<std::array<std::uint16_t, kIq1Points>, kFarthest + 1> numbers;
  std::array<std::size_t, kFarthest + 1> counts{};

  explicit NearPoints(const Distances& distances) {
    for (std::size_t word = 0; word < distances.size(); ++word) {
      // Most distances are larger: skip eight bytes if none is below 5 (they are all below 128).
      const std::uint64_t eight = distances[word];
      if (((eight - (kFarthest + 1) * 0x0101010101010101u) & 0x8080808080808080u) == 0) continue;
      std::array<std::uint8_t, 8> bytes;
      std::memcpy(bytes.data(), &eight, 8);
      for (std::size_t j = 0; j < 8; ++j) {
        if (bytes[j] > kFarthest) continue;
        numbers[bytes[j]][counts[bytes[j]]++] = static_cast<std::uint16_t>(8 * word + j);
      }
    }
  }
};

// Appends the points at the least distances, by distance, then by number.
TernaryEntry append_list(const NearPoints& near, std::vector<std::uint16_t>& neighbours) {
  TernaryEntry entry{};
  const std::size_t first = neighbours.size();
  unsigned found = 0;
  for (unsigned distance = 1; distance <= kFarthest && found < kNearestDistances; ++distance) {
    if (near.counts[distance] == 0) continue;
    if (found++ == 0) entry.point = near.numbers[distance][0];
    for (std::size_t i = 0; i < near.counts[distance]; ++i) {
      neighbours.push_back(kIq1PointTable[near.numbers[distance][i]]);
    }
  }
  while ((neighbours.size() - first) % kListUnit != 0) neighbours.push_back(neighbours.back());
  entry.neighbours = static_cast<std::uint32_t>(first);
  entry.length = static_cast<std::uint16_t>(neighbours.size() - first);
  return entry;
}

struct Lists {
  std::vector<TernaryEntry> entries = std::vector<TernaryEntry>(kTernaryIndices);
  std::vector<std::uint16_t> neighbours;
  TernaryCodebook view{};

  Lists() {
    const std::vector<SquareTable> squares = make_squares();
    for (unsigned index = 0; index < kTernaryIndices; ++index) {
      const NearPoints near(distances_from(index, squares[0]));
      if (near.counts[0] == 0) {
        entries[index] = append_list(near, neighbours);
      } else {
        entries[index].point = near.numbers[0][0];
      }
    }
    view = {entries.data(), neighbours.data(), kIq1PointTable.data()};
  }
};

}  // namespace

const TernaryCodebook& iq1_codebook() {
  static const Lists lists;
  return lists.view;
}

std::uint16_t nearest_iq1_point(const float* values, float scale, float shift) {
  // Squared distances of the four levels in the lower and in the upper byte of a point.
  std::array<std::array<float, 256>, 2> distance{};
  for (std::size_t half = 0; half < 2; ++half) {
    for (unsigned levels = 0; levels < 256; ++levels) {
      for (unsigned i = 0; i < 4; ++i) {
        const float level = static_cast<float>(levels >> 2 * i & 3) - 1.0f + shift;
        const float difference = scale * level - values[4 * half + i];
        distance[half][levels] += difference * difference;
      }
    }
  }
  const auto total = [&](std::uint16_t point) {
    return distance[0][point & 255u] + distance[1][point >> 8];
  };
  const auto* const best = std::min_element(kIq1PointTable.begin(), kIq1PointTable.end(),
                                            [&](auto a, auto b) { return total(a) < total(b); });
  return static_cast<std::uint16_t>(best - kIq1PointTable.begin());
}

}  // namespace qwodel
