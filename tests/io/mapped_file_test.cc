// Mapping files, and everything that is no readable file.
#include "io/mapped_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

std::string text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

TEST(MappedFile, HoldsTheBytes) {
  const TempDirectory folder;
  const std::string content = std::string(10'000, 'a') + "end";
  MappedFile file(folder.write("x", content));
  EXPECT_EQ(text_of(file), content);
  EXPECT_EQ(file.path(), folder / "x");
  MappedFile moved(std::move(file));
  EXPECT_EQ(text_of(moved), content);
  MappedFile other(folder.write("y", "y"));
  other = std::move(moved);
  EXPECT_EQ(text_of(other), content);
}

TEST(MappedFile, EmptyFile) {
  const TempDirectory folder;
  const MappedFile file(folder.write("x", ""));
  EXPECT_TRUE(file.bytes().empty());
  read_ahead(file.bytes());
  drop_pages(file.bytes());
}

TEST(MappedFile, DroppedPagesAreReadAgain) {
  const TempDirectory folder;
  std::string content(100'000, 'b');
  content[50'000] = 'c';
  const MappedFile file(folder.write("x", content));
  read_ahead(file.bytes().subspan(5, 60'000));
  EXPECT_EQ(text_of(file), content);
  drop_pages(file.bytes().subspan(1, 99'000));
  EXPECT_EQ(text_of(file), content);
}

TEST(MappedFile, WhatIsNoFile) {
  const TempDirectory folder;
  const auto open = [](const std::filesystem::path& path) {
    return [path] { MappedFile file(path); };
  };
  expect_error<DependencyError>(open(folder / "gone"), "check the path");
  expect_error<DependencyError>(open(folder.path()), "Is a directory");
  expect_error<DependencyError>(open("/dev/null"), "Invalid argument");
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  expect_error<DependencyError>(open(folder / "pipe"), "Invalid argument");
  std::filesystem::create_symlink("loop", folder / "loop");
  expect_error<DependencyError>(open(folder / "loop"), "symbolic links");
  expect_error<DependencyError>(open(folder.write("x", "") / "y"), "Not a directory");
}

// Root reads everything, so the test is somebody else for a moment.
TEST(MappedFile, UnreadableFile) {
  const TempDirectory folder;
  const auto path = folder.write("x", "x");
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  const uid_t self = ::geteuid();
  constexpr uid_t kNobody = 65534;
  const uid_t other = self == 0 ? kNobody : self;
  ASSERT_EQ(::seteuid(other), 0);
  expect_error<DependencyError>([&] { MappedFile file(path); }, "permissions");
  ASSERT_EQ(::seteuid(self), 0);
}

}  // namespace
}  // namespace qwodel
