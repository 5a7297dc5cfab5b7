// Weights of packages as numbers: small ones by hand, and what a package cannot mean.
#include "targets/coreml/package_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "codecs/bit_stream.h"
#include "core/half.h"
#include "qwodel/error.h"
#include "targets/coreml/mil_builder.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

using Part = MilBuilder::Part;

std::vector<std::byte> halves(const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * 2);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint16_t half = float_to_half(values[i]);
    std::memcpy(bytes.data() + 2 * i, &half, 2);
  }
  return bytes;
}

std::vector<std::byte> packed(const std::vector<int>& codes, unsigned bits) {
  std::vector<std::uint8_t> bytes;
  for (const int code : codes) bytes.push_back(static_cast<std::uint8_t>(code));
  return pack_bits(bytes, bits);
}

// A package of weights and nothing else.
class SmallPackage {
 public:
  explicit SmallPackage(std::size_t version) : mil_(mil_versions()[version]) {}

  mil::Value blob(BlobType blob_type, mil::DataType type, const MilDims& dims,
                  std::vector<std::byte> data) {
    std::uint64_t count = 1;
    for (const std::int64_t extent : dims) count *= static_cast<std::uint64_t>(extent);
    layout_.add(blob_type, count);
    data_.push_back(std::move(data));
    return MilBuilder::blob_value(type, dims, layout_.blobs().back());
  }

  MilBuilder& mil() { return mil_; }
  const Blob& last() const { return layout_.blobs().back(); }

  std::vector<PackageWeight> read() {
    coreml::Model model;
    model.set_specification_version(mil_.specification());
    *model.mutable_ml_program() = mil_.finish();
    write_package_files(directory_.path(), model, 1);
    std::string file(static_cast<std::size_t>(layout_.file_size()), '\0');
    const auto put = [&](std::uint64_t at, std::span<const std::byte> bytes) {
      std::memcpy(file.data() + at, bytes.data(), bytes.size());
    };
    put(0, layout_.header());
    for (std::size_t i = 0; i < data_.size(); ++i) {
      put(layout_.blobs()[i].position, BlobLayout::metadata(layout_.blobs()[i]));
      put(layout_.blobs()[i].data_position(), data_[i]);
    }
    std::filesystem::create_directories((directory_.path() / package_weights_path()).parent_path());
    directory_.write(package_weights_path().string(), file);
    package_.emplace(directory_.path());
    return package_weights(*package_, "package");
  }

 private:
  const TempDirectory directory_;
  MilBuilder mil_;
  BlobLayout layout_;
  std::vector<std::vector<std::byte>> data_;
  std::optional<MlPackage> package_;
};

std::vector<float> all_values(const PackageWeight& weight) {
  std::uint64_t count = 1;
  for (const std::uint64_t extent : weight.shape()) count *= extent;
  std::vector<float> values(static_cast<std::size_t>(count));
  weight.read(0, values);
  // In two parts it is the same.
  std::vector<float> parts(values.size());
  const std::span<float> out = parts;
  weight.read(0, out.first(5));
  weight.read(5, out.subspan(5));
  EXPECT_EQ(parts, values);
  return values;
}

using testing::ElementsAre;

// Codes of 3 bits lie across bytes; each pair of rows has a table.
TEST(PackageWeights, PalettesOfRows) {
  SmallPackage package(2);
  const auto codes = package.blob(BlobType::uint3, mil::UINT3, {4, 3},
                                  packed({0, 1, 2, 7, 6, 5, 3, 4, 0, 1, 1, 7}, 3));
  const auto tables =
      package.blob(BlobType::float16, mil::FLOAT16, {2, 1, 8, 1},
                   halves({-4, -3, -2, -1, 0, 1, 2, 3, 10, 20, 30, 40, 50, 60, 70, 80}));
  package.mil().compressed("constexpr_lut_to_dense", "w", {{"indices", codes}, {"lut", tables}},
                           {4, 3});
  const auto weights = package.read();
  ASSERT_EQ(weights.size(), 1u);
  EXPECT_EQ(weights[0].name(), "w");
  EXPECT_EQ(weights[0].type(), "uint3+fp16");
  EXPECT_EQ(weights[0].bytes(), 5u + 32u);
  EXPECT_THAT(all_values(weights[0]), ElementsAre(-4, -3, -2, 3, 2, 1, 40, 50, 10, 20, 20, 80));
}

// One table, and indices as a stream of bytes: the form of iOS 16.
TEST(PackageWeights, PaletteOfOlderSystems) {
  SmallPackage package(0);
  const auto codes =
      package.blob(BlobType::uint8, mil::UINT8, {3}, packed({0, 1, 2, 3, 3, 2, 1, 0, 0, 3}, 2));
  const auto table =
      package.blob(BlobType::float16, mil::FLOAT16, {4}, halves({-1, 0.5f, 2, 60000}));
  package.mil().compressed("constexpr_lut_to_dense", "w",
                           {{"indices", codes},
                            {"lut", table},
                            {"shape", MilBuilder::integer_value(mil::UINT32, {2, 5})}},
                           {2, 5});
  const auto weights = package.read();
  ASSERT_EQ(weights.size(), 1u);
  EXPECT_EQ(weights[0].type(), "uint2+fp16");
  EXPECT_THAT(all_values(weights[0]),
              ElementsAre(-1, 0.5f, 2, 60000, 60000, 2, 0.5f, -1, -1, 60000));
}

// Products are halves: 3 * half(0.1) is not twice rounded.
TEST(PackageWeights, IntegersWithScalesOfBlocks) {
  SmallPackage package(2);
  const auto codes = package.blob(BlobType::int4, mil::INT4, {2, 6},
                                  packed({-8, 7, 0, 1, 2, 3, -1, -2, -3, 4, 5, 6}, 4));
  const auto scales =
      package.blob(BlobType::float16, mil::FLOAT16, {2, 2}, halves({0.1f, 2, 0.25f, 1000}));
  const auto offsets = package.blob(BlobType::int4, mil::INT4, {2, 2}, packed({0, 1, -2, 0}, 4));
  package.mil().compressed("constexpr_blockwise_shift_scale", "w",
                           {{"data", codes}, {"scale", scales}, {"offset", offsets}}, {2, 6});
  const auto weights = package.read();
  ASSERT_EQ(weights.size(), 1u);
  EXPECT_EQ(weights[0].type(), "int4+fp16+int4");
  const auto half = [](float value) { return half_to_float(float_to_half(value)); };
  const float tenth = half(0.1f);
  EXPECT_THAT(all_values(weights[0]), ElementsAre(half(-8 * tenth), half(7 * tenth), 0, 0, 2, 4,
                                                  0.25f, 0, -0.25f, 4000, 5000, 6000));
}

TEST(PackageWeights, AffineAlongAnAxis) {
  SmallPackage package(0);
  const auto codes = package.blob(BlobType::int8, mil::INT8, {5, 2},
                                  packed({-128, 127, 0, 1, 2, 3, -1, -2, 5, 6}, 8));
  const auto scales = package.blob(BlobType::float16, mil::FLOAT16, {2}, halves({0.5f, 2}));
  const auto zeros = package.blob(BlobType::int8, mil::INT8, {2}, packed({-128, 7}, 8));
  package.mil().compressed("constexpr_affine_dequantize", "w",
                           {{"quantized_data", codes},
                            {"scale", scales},
                            {"zero_point", zeros},
                            {"axis", MilBuilder::integer_value(mil::INT32, {1})}},
                           {5, 2});
  const auto weights = package.read();
  ASSERT_EQ(weights.size(), 1u);
  EXPECT_THAT(all_values(weights[0]), ElementsAre(0, 240, 64, -12, 65, -8, 63.5f, -18, 66.5f, -2));
}

struct Damage {
  const char* found;
  std::function<void(SmallPackage&)> make;
};

void add_palette(SmallPackage& package, BlobType codes, mil::DataType type, const MilDims& lut,
                 const MilDims& result) {
  std::size_t entries = 1;
  for (const std::int64_t extent : lut) entries *= static_cast<std::size_t>(extent);
  const auto indices = package.blob(codes, type, {4, 4}, std::vector<std::byte>(16));
  const auto tables =
      package.blob(BlobType::float16, mil::FLOAT16, lut, halves(std::vector<float>(entries)));
  package.mil().compressed("constexpr_lut_to_dense", "w", {{"indices", indices}, {"lut", tables}},
                           result);
}

TEST(PackageWeights, PartsThatDoNotFitAreRefused) {
  const Damage damages[] = {
      {"16 entries for uint3",
       [](auto& p) { add_palette(p, BlobType::uint3, mil::UINT3, {2, 1, 16, 1}, {4, 4}); }},
      {"parts [3, 1]",
       [](auto& p) { add_palette(p, BlobType::uint2, mil::UINT2, {3, 1, 4, 1}, {4, 4}); }},
      {"tables [2, 1, 4, 2]",
       [](auto& p) { add_palette(p, BlobType::uint2, mil::UINT2, {2, 1, 4, 2}, {4, 4}); }},
      {"tables [2, 4]",
       [](auto& p) { add_palette(p, BlobType::uint2, mil::UINT2, {2, 4}, {4, 4}); }},
      {"3 entries", [](auto& p) { add_palette(p, BlobType::uint2, mil::UINT2, {3}, {4, 4}); }},
      {"values [4, 4]",
       [](auto& p) { add_palette(p, BlobType::uint2, mil::UINT2, {1, 1, 4, 1}, {2, 8}); }},
      {"no scale",
       [](auto& p) {
         const auto codes = p.blob(BlobType::int8, mil::INT8, {4, 4}, std::vector<std::byte>(16));
         p.mil().compressed("constexpr_blockwise_shift_scale", "w", {{"data", codes}}, {4, 4});
       }},
      {"bytes of data",
       [](auto& p) {
         const auto codes = p.blob(BlobType::int8, mil::INT8, {4, 3}, std::vector<std::byte>(12));
         const auto wrong = MilBuilder::blob_value(mil::INT8, {4, 4}, p.last());
         p.mil().compressed("constexpr_blockwise_shift_scale", "w",
                            {{"data", wrong}, {"scale", codes}}, {4, 4});
       }},
      {"no blob of int8 at 7", [](auto& p) {
         Blob nowhere = Blob{.type = BlobType::int8, .bytes = 16, .position = 7};
         const auto codes = MilBuilder::blob_value(mil::INT8, {4, 4}, nowhere);
         p.mil().compressed("constexpr_blockwise_shift_scale", "w", {{"data", codes}}, {4, 4});
       }}};
  for (const Damage& damage : damages) {
    SmallPackage package(2);
    damage.make(package);
    expect_error<ValidationError>([&] { package.read(); }, damage.found);
  }
}

TEST(PackageWeights, OtherEncodingsAreRefused) {
  SmallPackage package(2);
  const auto mask = package.blob(BlobType::uint1, mil::UINT1, {4, 4}, std::vector<std::byte>(2));
  package.mil().compressed("constexpr_sparse_to_dense", "w", {{"mask", mask}}, {4, 4});
  expect_error<FormatNotSupportedError>([&] { package.read(); }, "constexpr_sparse_to_dense");
}

}  // namespace
}  // namespace qwodel
