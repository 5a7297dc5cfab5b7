// The words of AWQ, GPTQ and pack-quantized files. Expected words were made by running AutoAWQ's,
// AutoGPTQ's and compressed-tensors' packers on the same codes.
#include "targets/linear_format.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "core/half.h"
#include "io/json.h"
#include "qwodel/error.h"
#include "targets/target.h"

namespace qwodel {
namespace {

std::vector<std::uint32_t> words_of_bytes(const std::vector<std::byte>& bytes, std::size_t first,
                                          std::size_t count) {
  std::vector<std::uint32_t> words(count);
  std::memcpy(words.data(), bytes.data() + first * 4, count * 4);
  return words;
}

// code(row, col) everywhere, one scale, zero points as given.
template <class Code>
GroupIntMatrix matrix_of(GroupIntScheme scheme, std::uint64_t rows, std::uint64_t cols, Code code,
                         std::uint8_t zero) {
  GroupIntMatrix matrix(scheme, rows, cols);
  for (std::uint64_t r = 0; r < rows; ++r) {
    for (std::uint64_t c = 0; c < cols; ++c) {
      matrix.codes[r * cols + c] = static_cast<std::uint8_t>(code(r, c));
    }
  }
  std::ranges::fill(matrix.scales, 1.0f);
  std::ranges::fill(matrix.zeros, zero);
  return matrix;
}

std::vector<std::byte> pack(const LinearFormat& format, const GroupIntMatrix& matrix) {
  std::uint64_t bytes = 0;
  for (const auto& entry : format.entries("m", matrix.scheme, matrix.rows, matrix.cols)) {
    bytes += byte_size(entry);
  }
  // One byte more than entries() promises: pack() must leave it alone.
  std::vector<std::byte> out(bytes + 1, std::byte{0xa5});
  format.pack(matrix, std::span(out).first(bytes));
  EXPECT_EQ(out.back(), std::byte{0xa5});
  out.pop_back();
  return out;
}

TEST(AwqFormat, PacksEightRowsIntoAWordInItsOrder) {
  const auto matrix = matrix_of(
      {.bits = 4, .group_size = 32, .symmetric = false}, 8, 32, [](auto r, auto) { return r; }, 8);
  const auto bytes = pack(awq_format(), matrix);
  EXPECT_EQ(words_of_bytes(bytes, 0, 32), std::vector<std::uint32_t>(32, 0x75316420u));
  EXPECT_EQ(words_of_bytes(bytes, 32, 1), std::vector<std::uint32_t>{0x88888888u});
  ASSERT_EQ(bytes.size(), 32 * 4 + 4 + 8 * 2u);
}

TEST(AwqFormat, TransposesScales) {
  GroupIntMatrix matrix({.bits = 4, .group_size = 32, .symmetric = false}, 8, 64);
  for (std::size_t i = 0; i < 16; ++i) matrix.scales[i] = static_cast<float>(i);
  const auto bytes = pack(awq_format(), matrix);
  std::vector<std::uint16_t> halves(16);
  std::memcpy(halves.data(), bytes.data() + (64 + 2) * 4, 32);
  for (std::size_t group = 0; group < 2; ++group) {
    for (std::size_t row = 0; row < 8; ++row) {
      EXPECT_EQ(half_to_float(halves[group * 8 + row]), static_cast<float>(row * 2 + group));
    }
  }
}

struct GptqCase {
  unsigned bits;
  std::vector<std::uint32_t> codes;  // of i % min(2^bits, 8) along in
  std::vector<std::uint32_t> zeros;  // of a symmetric file, version 1
};

class GptqWords : public testing::TestWithParam<GptqCase> {};

TEST_P(GptqWords, AreThoseOfAutoGptq) {
  const GptqCase& expected = GetParam();
  const unsigned top = expected.bits == 2 ? 4 : expected.bits == 8 ? 4 : 8;
  const auto matrix = matrix_of(
      {.bits = expected.bits, .group_size = 32, .symmetric = true}, 32, 32,
      [&](auto, auto c) { return c % top; }, static_cast<std::uint8_t>(1u << (expected.bits - 1)));
  const auto bytes = pack(gptq_format(), matrix);
  for (std::size_t word = 0; word < expected.codes.size(); ++word) {
    EXPECT_EQ(words_of_bytes(bytes, word * 32, 32),
              std::vector<std::uint32_t>(32, expected.codes[word]))
        << word;
  }
  EXPECT_EQ(words_of_bytes(bytes, expected.bits * 32, expected.zeros.size()), expected.zeros);
}

INSTANTIATE_TEST_SUITE_P(Widths, GptqWords,
                         testing::Values(GptqCase{2, {0xe4e4e4e4}, {0x55555555}},
                                         GptqCase{3,
                                                  {0x88fac688, 0xc688fac6, 0xfac688fa},
                                                  {0xdb6db6db, 0xb6db6db6, 0x6db6db6d}},
                                         GptqCase{4, {0x76543210}, {0x77777777}},
                                         GptqCase{8, {0x03020100}, {0x7f7f7f7f}}));

TEST(GptqFormat, AsymmetricFilesAreVersionTwo) {
  const GroupIntScheme scheme{.bits = 4, .group_size = 32, .symmetric = false};
  const auto matrix = matrix_of(scheme, 8, 32, [](auto, auto) { return 0; }, 8);
  const auto bytes = pack(gptq_format(), matrix);
  EXPECT_EQ(words_of_bytes(bytes, 4 * 8, 1), std::vector<std::uint32_t>{0x88888888u});
  const Json config = gptq_format().quantization_config({.scheme = scheme});
  EXPECT_EQ(config["checkpoint_format"], "gptq_v2");
  EXPECT_EQ(config["sym"], false);
}

// optimum's own search, run with 2.3: it finds the blocks of a class that calls them layers or h,
// and is told of others. Published BLOOM checkpoints leave "transformer." out, the model does not.
TEST(GptqFormat, NamesBlocksThatReadersDoNotFind) {
  const std::pair<const char*, const char*> cases[] = {
      {"model.layers.0.mlp.up_proj", nullptr},
      {"transformer.h.0.mlp.dense", nullptr},
      {"h.0.mlp.dense", nullptr},
      {"transformer.blocks.0.ffn.up_proj", "transformer.blocks"},
      {"depth.0.mlp", "depth"}};
  for (const auto& [module, blocks] : cases) {
    LinearArtifact artifact;
    artifact.linears = {{module, artifact.scheme}};
    const Json config = gptq_format().quantization_config(artifact);
    const Json wanted = blocks == nullptr ? Json() : Json(blocks);
    EXPECT_EQ(config.value("block_name_to_quantize", Json()), wanted) << module;
  }
}

TEST(GptqFormat, SaysWhichGroupAColumnIsOf) {
  GroupIntMatrix matrix({.bits = 4, .group_size = 32, .symmetric = true}, 8, 64);
  std::ranges::fill(matrix.zeros, std::uint8_t{8});
  const auto index = [&] {
    const auto bytes = pack(gptq_format(), matrix);
    return words_of_bytes({bytes.end() - 64 * 4, bytes.end()}, 0, 64);
  };
  EXPECT_EQ(index()[31], 0u);
  EXPECT_EQ(index()[32], 1u);
  for (std::uint32_t i = 0; i < 64; ++i) matrix.group_index.push_back(1 - i % 2);
  EXPECT_EQ(index(), matrix.group_index);
  const Json config =
      gptq_format().quantization_config({.scheme = matrix.scheme, .desc_act = true});
  EXPECT_EQ(config["desc_act"], true);
  EXPECT_EQ(config["static_groups"], false);
}

TEST(PackQuantized, EqualsGptqsWordsTransposed) {
  const GroupIntScheme scheme{.bits = 4, .group_size = 32, .symmetric = true};
  const auto matrix = matrix_of(scheme, 16, 64, [](auto r, auto c) { return (3 * r + c) % 16; }, 8);
  const auto gptq = words_of_bytes(pack(gptq_format(), matrix), 0, 16 * 8);
  const auto packed = words_of_bytes(pack(compressed_tensors_format(), matrix), 0, 16 * 8);
  for (std::size_t row = 0; row < 16; ++row) {
    for (std::size_t word = 0; word < 8; ++word) {
      EXPECT_EQ(packed[row * 8 + word], gptq[word * 16 + row]);
    }
  }
}

TEST(LinearFormats, RefuseShapesThatDoNotFit) {
  const GroupIntScheme scheme{.bits = 4, .group_size = 128, .symmetric = false};
  for (const char* backend : {"awq", "gptq", "ct"}) {
    EXPECT_THROW(linear_format(backend).entries("m", scheme, 64, 100), FormatNotSupportedError);
  }
  EXPECT_THROW(awq_format().entries("m", scheme, 63, 128), FormatNotSupportedError);
  EXPECT_THROW(awq_format().check({.bits = 3}), FormatNotSupportedError);
  EXPECT_THROW(gptq_format().check({.bits = 5}), FormatNotSupportedError);
  EXPECT_THROW(compressed_tensors_format().check({.bits = 3, .symmetric = false}),
               FormatNotSupportedError);
}

TEST(LinearFormats, PackFillsItsEntriesAndNothingMore) {
  for (const char* name : {"awq:g32", "gptq:2bit-g32", "gptq:3bit-g32", "gptq:8bit-g64",
                           "gptq:4bit-g32-asym", "ct:W4A16-g32", "ct:W3A16-g32", "ct:W5A16-g64",
                           "ct:W4A16_ASYM-g32", "ct:W8A16", "ct:W8A16_ASYM"}) {
    const Target target = parse_target(name);
    GroupIntMatrix matrix(*target.linears, 32, 192);
    const auto top = static_cast<std::uint8_t>((1u << matrix.scheme.bits) - 1);
    std::ranges::fill(matrix.codes, top);
    std::ranges::fill(matrix.scales, 1.0f);
    std::ranges::fill(matrix.zeros, top);
    const auto bytes = pack(linear_format(target.backend), matrix);
    const auto codes = 32 * 192 * matrix.scheme.bits / 8;
    for (std::size_t i = 0; i < codes; ++i) ASSERT_EQ(bytes[i], std::byte{0xff}) << name << i;
    EXPECT_GT(bytes.size(), codes) << name;
  }
}

}  // namespace
}  // namespace qwodel
