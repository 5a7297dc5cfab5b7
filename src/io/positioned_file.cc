#include "io/positioned_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "qwodel/error.h"

namespace qwodel {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw DependencyError({.where = path.string(),
                         .found = std::strerror(error),
                         .expected = "a file that can be read and written, with enough room",
                         .remedy = full ? "free disk space" : "check its permissions"},
                        full ? ErrorCode::not_enough_space : ErrorCode::failed);
}

}  // namespace

PositionedFile::PositionedFile(std::filesystem::path path, Mode mode, std::uint64_t size)
    : path_(std::move(path)) {
  const int flags = mode == Mode::create ? O_CREAT | O_TRUNC : 0;
  file_ = ::open(path_.c_str(), O_RDWR | O_CLOEXEC | flags, 0644);
  if (file_ < 0) fail(path_, errno);
  if (mode == Mode::open || size == 0) return;
  const int error = ::posix_fallocate(file_, 0, static_cast<off_t>(size));
  if (error == 0 || error == EOPNOTSUPP || error == EINVAL) return;
  ::close(file_);
  fail(path_, error);
}

PositionedFile PositionedFile::nameless(const std::filesystem::path& directory) {
  std::string name = (directory / "qwodel-scratch-XXXXXX").string();
  const int file = ::mkstemp(name.data());
  if (file < 0) fail(name, errno);
  ::unlink(name.c_str());
  return {directory / "(scratch file)", file};
}

PositionedFile::~PositionedFile() {
  if (file_ >= 0) ::close(file_);
}

PositionedFile::PositionedFile(PositionedFile&& other) noexcept
    : path_(std::move(other.path_)), file_(std::exchange(other.file_, -1)) {}

void PositionedFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      fail(path_, errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
}

void PositionedFile::read_at(std::uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t got = ::pread(file_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail(path_, errno);
    if (got == 0) {
      throw ValidationError({.where = path_.string(),
                             .found = "the end of the file",
                             .expected = fmt::format("{} bytes at {}", bytes.size(), offset),
                             .remedy = ""});
    }
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
}

std::uint64_t PositionedFile::size() const {
  struct stat status{};
  return ::fstat(file_, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

void PositionedFile::sync() {
  if (::fdatasync(file_) != 0) fail(path_, errno);
}

}  // namespace qwodel
