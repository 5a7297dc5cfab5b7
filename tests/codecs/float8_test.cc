// Rounding to 8-bit floats, compared with torch (tools/golden/make_float8_goldens.py).
#include "codecs/float8.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <xxhash.h>

#include <cmath>
#include <filesystem>
#include <vector>

#include "codecs/group_int.h"
#include "io/json.h"

namespace qwodel {
namespace {

TEST(Float8, RoundsEveryHalfAsTorchDoes) {
  const Json golden =
      read_json(std::filesystem::path(QWODEL_SOURCE_DIR) / "tests/golden/float8.json");
  std::vector<std::uint8_t> codes;
  for (std::uint32_t half = 0; half < 65536; ++half) {
    const float value = half_to_float(static_cast<std::uint16_t>(half));
    if (!std::isnan(value)) codes.push_back(float_to_float8_e4m3(value));
  }
  ASSERT_EQ(codes.size(), golden["count"].get<std::size_t>());
  EXPECT_EQ(fmt::format("{:016x}", XXH3_64bits(codes.data(), codes.size())), golden["xxh3_64"]);
}

TEST(Float8, EveryCodeIsItsOwnNearest) {
  for (unsigned code = 0; code < 256; ++code) {
    const float value = float8_e4m3_to_float(static_cast<std::uint8_t>(code));
    if (std::isnan(value)) continue;
    EXPECT_EQ(float_to_float8_e4m3(value), code);
  }
}

TEST(Float8, MatricesAreWithinHalfAStep) {
  const GroupIntScheme scheme{.bits = 8,
                              .group_size = 0,
                              .symmetric = true,
                              .scale_format = ScaleFormat::bfloat16,
                              .codes = CodeKind::float8};
  std::vector<float> values(4 * 64);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = i / 64 == 2 ? 0.0f : std::sin(static_cast<float>(i)) * 3.0f;
  }
  GroupIntMatrix matrix(scheme, 4, 64);
  const ConstMatrixView view(values.data(), 4, 64);
  fit_rows(view, {}, search_of(scheme, false), 0, matrix);
  round_rows(view, 0, matrix);
  std::vector<float> decoded(64);
  for (std::size_t row = 0; row < 4; ++row) {
    matrix.decode(row, decoded);
    for (std::size_t i = 0; i < 64; ++i) {
      const float x = values[row * 64 + i];
      // Three bits after the leading one; the largest value may lose what its scale loses.
      const float bound = std::max(std::fabs(x) / 16.0f, matrix.scales[row] * 0x1p-10f);
      EXPECT_LE(std::fabs(decoded[i] - x), bound) << row << " " << i;
    }
  }
}

}  // namespace
}  // namespace qwodel
