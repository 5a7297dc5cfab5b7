#include "codecs/iq1_codebook.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace qwodel {
namespace {

constexpr std::size_t kListUnit = 16;      // lists are padded to whole vectors
constexpr unsigned kNearestDistances = 3;  // a list holds the points at the 3 least distances

using Distances = std::array<std::uint8_t, kIq1Points>;

// squares[place][level][number]: squared difference between `level` and the point's level there.
using SquareTable = std::array<std::array<Distances, 3>, 8>;

std::vector<SquareTable> make_squares() {
  std::vector<SquareTable> squares(1);  // on the heap: 48 kB
  for (std::size_t place = 0; place < 8; ++place) {
    for (int level = 0; level < 3; ++level) {
      for (std::size_t number = 0; number < kIq1Points; ++number) {
        const int difference = level - (kIq1PointTable[number] >> 2 * place & 3);
        squares[0][place][static_cast<std::size_t>(level)][number] =
            static_cast<std::uint8_t>(difference * difference);
      }
    }
  }
  return squares;
}

Distances distances_from(unsigned index, const SquareTable& squares) {
  Distances total{};
  for (std::size_t place = 0; place < 8; ++place, index /= 3) {
    const Distances& part = squares[place][index % 3];
    for (std::size_t i = 0; i < kIq1Points; ++i) {
      total[i] = static_cast<std::uint8_t>(total[i] + part[i]);
    }
  }
  return total;
}

// Appends the points at the least distances, by distance, then by number.
TernaryEntry append_list(const Distances& distances, std::vector<std::uint16_t>& neighbours) {
  TernaryEntry entry{};
  const std::size_t first = neighbours.size();
  unsigned found = 0;
  for (unsigned distance = 1; found < kNearestDistances; ++distance) {
    const std::size_t before = neighbours.size();
    for (std::size_t i = 0; i < kIq1Points; ++i) {
      if (distances[i] != distance) continue;
      if (neighbours.size() == first) entry.point = static_cast<std::uint16_t>(i);
      neighbours.push_back(kIq1PointTable[i]);
    }
    if (neighbours.size() != before) ++found;
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
      const Distances distances = distances_from(index, squares[0]);
      const auto exact = std::find(distances.begin(), distances.end(), 0);
      if (exact == distances.end()) {
        entries[index] = append_list(distances, neighbours);
      } else {
        entries[index].point = static_cast<std::uint16_t>(exact - distances.begin());
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
  const TernaryCodebook& book = iq1_codebook();
  unsigned point = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    const float level = scale > 0.0f ? std::rint(values[i] / scale - shift) + 1.0f : 1.0f;
    point |= static_cast<unsigned>(std::clamp(level, 0.0f, 2.0f)) << 2 * i;
  }
  const TernaryEntry& entry = book.entries[ternary_index(static_cast<std::uint16_t>(point))];
  if (entry.length == 0) return entry.point;
  const auto distance = [&](std::uint16_t candidate) {
    float sum = 0.0f;
    for (std::size_t i = 0; i < 8; ++i) {
      const float level = static_cast<float>(candidate >> 2 * i & 3) - 1.0f + shift;
      const float difference = scale * level - values[i];
      sum += difference * difference;
    }
    return sum;
  };
  const std::uint16_t* const list = book.neighbours + entry.neighbours;
  const std::uint16_t* const best = std::min_element(
      list, list + entry.length, [&](auto a, auto b) { return distance(a) < distance(b); });
  return book.entries[ternary_index(*best)].point;
}

}  // namespace qwodel
