// A file appears whole or not at all, and never over another one unasked.
#include "io/atomic_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <thread>
#include <vector>

#include "tests/formats/temp_directory.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

std::string content_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::span<const std::byte> bytes_of_text(std::string_view text) {
  return std::as_bytes(std::span(text));
}

std::size_t files_in(const fs::path& folder) {
  return static_cast<std::size_t>(
      std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

// Every test runs with a nameless file (where the file system of the temporary folder has them),
// with a sibling and with one that may be kept.
class AtomicFileTest : public testing::TestWithParam<Staging> {};

std::string name_of(const testing::TestParamInfo<Staging>& test) {
  constexpr std::array<const char*, 3> kNames = {"nameless", "sibling", "kept"};
  return kNames[static_cast<std::size_t>(test.param)];
}

INSTANTIATE_TEST_SUITE_P(Stagings, AtomicFileTest,
                         testing::Values(Staging::nameless, Staging::sibling, Staging::kept),
                         name_of);

TEST_P(AtomicFileTest, AppearsOnCommitOnly) {
  const TempDirectory folder;
  AtomicFile file(folder / "x", 6, false, GetParam());
  file.write_at(3, bytes_of_text("def"));
  file.write_at(0, bytes_of_text("abc"));
  file.start_writeback(0, 6);
  EXPECT_FALSE(fs::exists(folder / "x"));
  EXPECT_EQ(files_in(folder.path()), file.staging() == Staging::sibling ? 1u : 0u);
  EXPECT_EQ(file.size(), 6u);
  std::array<std::byte, 4> part{};
  file.read_at(2, part);
  EXPECT_EQ(std::memcmp(part.data(), "cdef", 4), 0);
  expect_error<DependencyError>([&] { file.read_at(3, part); }, "end of the file");
  file.commit();
  EXPECT_EQ(content_of(folder / "x"), "abcdef");
  EXPECT_EQ(files_in(folder.path()), 1u);
}

TEST_P(AtomicFileTest, LeavesNothingWithoutCommit) {
  const TempDirectory folder;
  {
    AtomicFile file(folder / "x", 100, false, GetParam());
    file.write_at(0, bytes_of_text("abc"));
  }
  EXPECT_EQ(files_in(folder.path()), 0u);
}

TEST_P(AtomicFileTest, ReplacesOnlyWhenAsked) {
  const TempDirectory folder;
  folder.write("x", "old");
  expect_error<DependencyError>([&] { AtomicFile(folder / "x", 1, false); }, "existing");
  EXPECT_EQ(content_of(folder / "x"), "old");
  {
    AtomicFile file(folder / "x", 3, true, GetParam());
    file.write_at(0, bytes_of_text("new"));
    EXPECT_EQ(content_of(folder / "x"), "old");
    file.commit();
  }
  EXPECT_EQ(content_of(folder / "x"), "new");
  EXPECT_EQ(files_in(folder.path()), 1u);
  fs::create_symlink("gone", folder / "link");
  expect_error<DependencyError>([&] { refuse_existing(folder / "link", false); }, "existing");
  EXPECT_NO_THROW(refuse_existing(folder / "link", true));
  EXPECT_NO_THROW(refuse_existing(folder / "free", false));
}

TEST_P(AtomicFileTest, AFileThatCameMeanwhileStays) {
  const TempDirectory folder;
  AtomicFile file(folder / "x", 1, false, GetParam());
  folder.write("x", "other");
  expect_error<DependencyError>([&] { file.commit(); }, "existing");
  EXPECT_EQ(content_of(folder / "x"), "other");
}

TEST_P(AtomicFileTest, ThreadsWriteTheirParts) {
  const TempDirectory folder;
  AtomicFile file(folder / "x", 8000, false, GetParam());
  std::vector<std::thread> threads;
  for (std::uint64_t i = 0; i < 8; ++i) {
    threads.emplace_back([&file, i] {
      const std::string part(1000, static_cast<char>('a' + i));
      file.write_at(i * 1000, bytes_of_text(part));
    });
  }
  for (std::thread& thread : threads) thread.join();
  file.commit();
  const std::string content = content_of(folder / "x");
  ASSERT_EQ(content.size(), 8000u);
  for (std::size_t i = 0; i < content.size(); ++i) {
    ASSERT_EQ(content[i], static_cast<char>('a' + i / 1000));
  }
}

TEST_P(AtomicFileTest, PlacesThatCannotBeWritten) {
  const TempDirectory folder;
  expect_error<DependencyError>([&] { AtomicFile(folder / "gone" / "x", 1, false); },
                                "No such file");
  expect_error<DependencyError>([&] { AtomicFile(folder.write("f", "") / "x", 1, false); },
                                "Not a directory");
  fs::create_directory(folder / "d");
  AtomicFile file(folder / "d", 1, true, GetParam());
  expect_error<DependencyError>([&] { file.commit(); }, "directory");
  EXPECT_TRUE(fs::is_directory(folder / "d"));
}

// A file-size limit stands for a full disk: both fail when the room is reserved.
TEST_P(AtomicFileTest, NoRoom) {
  const TempDirectory folder;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 1000, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  try {
    AtomicFile file(folder / "x", 1'000'000, false, GetParam());
    ADD_FAILURE() << "reserved more than the limit";
  } catch (const DependencyError& error) {
    EXPECT_EQ(error.code(), ErrorCode::not_enough_space) << error.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(files_in(folder.path()), 0u);
}

TEST(KeptFile, IsTakenUpWithWhatItHolds) {
  const TempDirectory folder;
  {
    AtomicFile file(folder / "x", 6, false, Staging::kept);
    file.write_at(0, bytes_of_text("abc"));
    file.keep();
  }
  EXPECT_EQ(content_of(kept_sibling(folder / "x")), std::string("abc\0\0\0", 6));
  AtomicFile file(folder / "x", 6, false, Staging::kept);
  file.write_at(3, bytes_of_text("def"));
  file.commit();
  EXPECT_EQ(content_of(folder / "x"), "abcdef");
  EXPECT_EQ(files_in(folder.path()), 1u);
}

TEST(KeptFile, OfAnotherSizeIsEmptied) {
  const TempDirectory folder;
  AtomicFile(folder / "x", 6, false, Staging::kept).keep();
  std::ofstream(kept_sibling(folder / "x")) << "abcdef";
  AtomicFile file(folder / "x", 4, false, Staging::kept);
  file.commit();
  EXPECT_EQ(content_of(folder / "x"), std::string(4, '\0'));
}

TEST(KeptFile, BelongsToOneProcess) {
  const TempDirectory folder;
  AtomicFile file(folder / "x", 6, false, Staging::kept);
  file.write_at(0, bytes_of_text("abcdef"));
  expect_error<DependencyError>([&] { AtomicFile(folder / "x", 4, false, Staging::kept); },
                                "another process");
  file.commit();
  EXPECT_EQ(content_of(folder / "x"), "abcdef");
}

}  // namespace
}  // namespace qwodel
