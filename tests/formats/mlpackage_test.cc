// Core ML packages: the bytes of a weight file, and files that are not what they should be.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "formats/mlpackage/blob_file.h"
#include "formats/mlpackage/package.h"
#include "io/json.h"
#include "qwodel/error.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string little_endian(std::uint64_t value, unsigned bytes) {
  std::string out;
  for (unsigned i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xFF);
  return out;
}

using Contents = std::vector<std::pair<BlobType, std::pair<std::uint64_t, std::string>>>;

// Three blobs: 2 halves, 5 six-bit values (30 bits, 2 unused), 64 bytes.
const Contents& contents() {
  static const Contents kContents = {{BlobType::float16, {2, std::string("\x00\x3C\x00\x40", 4)}},
                                     {BlobType::uint6, {5, "\x12\x34\x56\x08"}},
                                     {BlobType::int8, {64, std::string(64, '\xFF')}}};
  return kContents;
}

std::string file_bytes(const Contents& blobs) {
  BlobLayout layout;
  for (const auto& [type, data] : blobs) layout.add(type, data.first);
  std::string file = text(layout.header());
  for (std::size_t i = 0; i < blobs.size(); ++i) {
    const Blob& blob = layout.blobs()[i];
    file.resize(static_cast<std::size_t>(blob.position), '\0');
    file += text(BlobLayout::metadata(blob)) + blobs[i].second.second;
  }
  EXPECT_EQ(file.size(), layout.file_size());
  return file;
}

// The layout of the format's description, written out by hand.
TEST(BlobFile, HasTheFormatsLayout) {
  const std::string file = file_bytes(contents());
  const auto metadata = [](std::uint32_t type, std::uint64_t size, std::uint64_t data,
                           std::uint64_t unused) {
    return "\xEF\xBE\xAD\xDE" + little_endian(type, 4) + little_endian(size, 8) +
           little_endian(data, 8) + little_endian(unused, 8) + std::string(32, '\0');
  };
  const std::string expected = little_endian(3, 4) + little_endian(2, 4) + std::string(56, '\0') +
                               metadata(1, 4, 128, 0) + std::string("\x00\x3C\x00\x40", 4) +
                               std::string(60, '\0') + metadata(13, 4, 256, 2) +
                               "\x12\x34\x56\x08" + std::string(60, '\0') +
                               metadata(4, 64, 384, 0) + std::string(64, '\xFF');
  EXPECT_EQ(file, expected);
}

TEST(BlobFile, IsReadBack) {
  const TempDirectory directory;
  const BlobFile file(directory.write("weight.bin", file_bytes(contents())));
  ASSERT_EQ(file.blobs().size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) {
    const Blob& blob = file.blobs()[i];
    EXPECT_EQ(blob.type, contents()[i].first);
    EXPECT_EQ(blob.values(), contents()[i].second.first);
    EXPECT_EQ(text(file.data(blob)), contents()[i].second.second);
    EXPECT_EQ(file.find(blob.position), &blob);
  }
  EXPECT_EQ(file.find(128), nullptr);
  EXPECT_EQ(file.find(1 << 20), nullptr);
}

// Each damage: where, which bytes, what the error says.
struct Damage {
  std::size_t at;
  std::string bytes;
  const char* error;
};

TEST(BlobFile, RefusesDamage) {
  const TempDirectory directory;
  const std::string good = file_bytes(contents());
  const Damage damages[] = {
      {0, little_endian(4, 4), "blob metadata"},
      {0, little_endian(0xFFFFFFFF, 4), "blob metadata"},
      {4, little_endian(1, 4), "version 1"},
      {64, little_endian(0, 4), "metadata of a blob"},
      {68, little_endian(99, 4), "type 99"},
      {72, little_endian(3, 8), "whole values"},
      {72, little_endian(~std::uint64_t{0}, 8), "blob data"},
      {80, little_endian(64, 8), "data of blob 0 at 64"},
      {88, little_endian(8, 8), "whole values"},
      {216, little_endian(3, 8), "whole values"},
  };
  for (const Damage& damage : damages) {
    std::string bad = good;
    bad.replace(damage.at, damage.bytes.size(), damage.bytes);
    const auto path = directory.write("bad.bin", bad);
    expect_error<ValidationError>([&] { BlobFile file(path); }, damage.error);
  }
  for (std::size_t size : {std::size_t{0}, std::size_t{63}, std::size_t{100}, good.size() - 1}) {
    const auto path = directory.write("short.bin", good.substr(0, size));
    expect_error<ValidationError>([&] { BlobFile file(path); }, "short.bin");
  }
}

TEST(BlobFile, RefusesSizesThatOverflow) {
  BlobLayout layout;
  expect_error<ValidationError>([&] { layout.add(BlobType::float32, ~std::uint64_t{0}); },
                                "63 bits");
  expect_error<ValidationError>([&] { layout.add(BlobType::uint8, std::uint64_t{1} << 63); },
                                "63 bits");
  EXPECT_EQ(layout.add(BlobType::uint3, 3).unused_bits, 7u);
}

coreml::Model small_model() {
  coreml::Model model;
  model.set_specification_version(9);
  auto& function = (*model.mutable_ml_program()->mutable_functions())["main"];
  model.mutable_ml_program()->set_version(1);
  function.set_opset("CoreML8");
  (*function.mutable_block_specializations())["CoreML8"].add_outputs("logits");
  for (const char* key : {"d", "a", "c", "b"}) {
    (*model.mutable_description()->mutable_metadata()->mutable_user_defined())[key] = key;
  }
  return model;
}

TEST(MlPackage, IsReadBack) {
  const TempDirectory directory;
  write_package_files(directory.path(), small_model(), 1);
  EXPECT_TRUE(is_mlpackage(directory.path()));
  const MlPackage package(directory.path());
  EXPECT_EQ(package.model().specification_version(), 9);
  EXPECT_EQ(package.function().opset(), "CoreML8");
  EXPECT_EQ(package.block().outputs(0), "logits");
  EXPECT_FALSE(package.weights().has_value());
}

TEST(MlPackage, BytesFollowFromTheContent) {
  const coreml::Model model = small_model();
  EXPECT_EQ(serialize_model(model), serialize_model(small_model()));
  EXPECT_EQ(package_manifest(7), package_manifest(7));
  EXPECT_NE(package_manifest(7), package_manifest(8));
  const Json manifest = Json::parse(package_manifest(7));
  const std::string root = manifest["rootModelIdentifier"];
  EXPECT_EQ(root.size(), 36u);
  EXPECT_EQ(manifest["itemInfoEntries"].size(), 2u);
  EXPECT_EQ(manifest["itemInfoEntries"][root]["path"], "com.apple.CoreML/model.mlmodel");
}

TEST(MlPackage, RefusesWhatIsNone) {
  const TempDirectory directory;
  const auto open = [&] { MlPackage package(directory.path()); };
  expect_error<DependencyError>(open, "Manifest.json");
  directory.write("Manifest.json", "{}");
  expect_error<ValidationError>(open, "no root model");
  directory.write("Manifest.json", R"({"rootModelIdentifier": "a",
      "itemInfoEntries": {"a": {"path": "../../etc/passwd"}}})");
  expect_error<ValidationError>(open, "inside the package");
  write_package_files(directory.path(), small_model(), 1);
  const auto model = package_model_path().string();
  directory.write(model, "\xFF\xFF\xFF");
  expect_error<ValidationError>(open, "no protobuf message");
  directory.write(model, "");
  expect_error<FormatNotSupportedError>(open, "another kind of model");
}

}  // namespace
}  // namespace qwodel
