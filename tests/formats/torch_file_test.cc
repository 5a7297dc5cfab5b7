// Torch files that hold anything but tensors, or are damaged: one line each, nothing executed.
// What good files decode to is tested in tests/sources/golden_test.cc.
#include "formats/torch_file.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

const fs::path kBad = fs::path(QWODEL_SOURCE_DIR) / "tests/golden/sources/torch-bad";

template <class E>
void expect_refused(const std::string& name, std::string_view part) {
  expect_error<E>([&] { read_torch_file(MappedFile(kBad / name)); }, part);
}

TEST(TorchFile, CodeIsNamedAndNeverRun) {
  const fs::path made = "/tmp/qwodel_pickle_was_executed";
  fs::remove(made);
  expect_refused<FormatNotSupportedError>("code.bin", "posix.mkdir");
  EXPECT_FALSE(fs::exists(made));
  expect_refused<FormatNotSupportedError>("module.bin", "torch.nn.modules");
  expect_refused<FormatNotSupportedError>("sparse.bin", "_rebuild_sparse_tensor");
  expect_refused<FormatNotSupportedError>("complex.bin", "ComplexFloatStorage");
}

TEST(TorchFile, OtherContents) {
  expect_refused<FormatNotSupportedError>("legacy.bin", "before version 1.6");
  expect_refused<FormatNotSupportedError>("number.bin", "\"a\": found no tensor");
  expect_refused<FormatNotSupportedError>("list.bin", "another object");
  expect_refused<FormatNotSupportedError>("big_endian.bin", "big-endian");
}

TEST(TorchFile, Bombs) {
  expect_refused<FormatNotSupportedError>("compressed.bin", "compression method 8");
  expect_refused<ValidationError>("expanded.bin", "repeat their storage");
}

TEST(TorchFile, StoragesThatAreNotThere) {
  expect_refused<ValidationError>("no_storage.bin", "data/0");
  expect_refused<ValidationError>("short_storage.bin", "2 F32 values");
}

std::string good_file() {
  std::ifstream file(
      fs::path(QWODEL_SOURCE_DIR) / "tests/golden/sources/torch-state-dict/pytorch_model.bin",
      std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(TorchFile, EveryTruncation) {
  const std::string bytes = good_file();
  ASSERT_GT(bytes.size(), 1000u);
  const TempDirectory folder;
  for (std::size_t size = 0; size < bytes.size(); size += size < 32 ? 1 : 41) {
    const auto path = folder.write("cut.bin", std::string_view(bytes).substr(0, size));
    EXPECT_THROW(read_torch_file(MappedFile(path)), ValidationError) << size;
  }
}

// Flipped bits are found or harmless; what is read stays inside the file either way.
TEST(TorchFile, EveryFlippedByte) {
  const std::string good = good_file();
  const TempDirectory folder;
  for (std::size_t i = 0; i < good.size(); i += 11) {
    std::string bytes = good;
    bytes[i] = static_cast<char>(bytes[i] ^ (1 << (i % 8)));
    const MappedFile file(folder.write("flipped.bin", bytes));
    try {
      const TorchFile read = read_torch_file(file);
      for (const TensorInfo& tensor : read.tensors) {
        EXPECT_EQ(tensor.bytes.size(), bytes_of(tensor.type, element_count(tensor.shape)));
      }
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace qwodel
