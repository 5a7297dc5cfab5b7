#include "io/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <utility>

#include "qwodel/error.h"

namespace qwodel {
namespace {

[[noreturn]] void fail_write(const std::filesystem::path& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw DependencyError({.where = path.string(),
                         .found = std::strerror(error),
                         .expected = "a writable place with enough room",
                         .remedy = full ? "free disk space or choose another -o"
                                        : "choose another -o or change its permissions"},
                        full ? ErrorCode::not_enough_space : ErrorCode::failed);
}

}  // namespace

void refuse_existing(const std::filesystem::path& path, bool replace) {
  std::error_code ignored;
  if (replace || !std::filesystem::exists(std::filesystem::symlink_status(path, ignored))) return;
  throw DependencyError({.where = path.string(),
                         .found = "an existing file or directory",
                         .expected = "nothing there yet",
                         .remedy = "choose another -o or add --force"});
}

AtomicFile::AtomicFile(std::filesystem::path path, std::uint64_t size, bool replace)
    : path_(std::move(path)), replace_(replace) {
  refuse_existing(path_, replace_);
  temporary_ =
      path_.parent_path() / fmt::format(".{}.{}.partial", path_.filename().string(), ::getpid());
  file_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file_ < 0) fail_write(path_, errno);
  // Reserving finds a full disk before the work, not after it. Not every file system can.
  const int error = size == 0 ? 0 : ::posix_fallocate(file_, 0, static_cast<off_t>(size));
  if (error != 0 && error != EOPNOTSUPP && error != EINVAL) {
    ::close(file_);
    ::unlink(temporary_.c_str());
    fail_write(path_, error);
  }
}

AtomicFile::~AtomicFile() {
  if (file_ < 0) return;
  ::close(file_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(file_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      fail_write(path_, errno);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
}

void AtomicFile::commit() {
  if (::fsync(file_) != 0) fail_write(path_, errno);
  refuse_existing(path_, replace_);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_write(path_, errno);
  ::close(file_);
  file_ = -1;
  // The rename is durable once the folder is.
  const auto folder = path_.has_parent_path() ? path_.parent_path() : std::filesystem::path(".");
  const int directory = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory >= 0) {
    ::fsync(directory);
    ::close(directory);
  }
}

}  // namespace qwodel
