#include "io/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
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

[[noreturn]] void refuse(const std::filesystem::path& path) {
  throw DependencyError({.where = path.string(),
                         .found = "an existing file or directory",
                         .expected = "nothing there yet",
                         .remedy = "choose another -o or add --force"});
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

std::filesystem::path sibling_of(const std::filesystem::path& path) {
  return path.parent_path() / fmt::format(".{}.{}.partial", path.filename().string(), ::getpid());
}

// The name of an open file by which linkat() finds it (open(2), O_TMPFILE).
std::string name_of_open(int file) { return fmt::format("/proc/self/fd/{}", file); }

// Whether the open file still has the name it was opened by.
bool has_name(int file, const std::filesystem::path& name) {
  struct stat opened{}, named{};
  return ::fstat(file, &opened) == 0 && ::stat(name.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

}  // namespace

std::filesystem::path kept_sibling(const std::filesystem::path& path) {
  return path.parent_path() / fmt::format(".{}.partial", path.filename().string());
}

void refuse_existing(const std::filesystem::path& path, bool replace) {
  std::error_code ignored;
  if (replace || !std::filesystem::exists(std::filesystem::symlink_status(path, ignored))) return;
  refuse(path);
}

AtomicFile::AtomicFile(std::filesystem::path path, std::uint64_t size, bool replace,
                       Staging staging)
    : path_(std::move(path)), replace_(replace) {
  refuse_existing(path_, replace_);
  if (staging == Staging::nameless) open_nameless();
  if (staging == Staging::kept) {
    open_kept(size);
  } else if (file_ < 0) {
    open_sibling();
  }
  if (file_ < 0) fail_write(path_, errno);
  // Reserving finds a full disk before the work, not after it. Not every file system can.
  const int error = size == 0 ? 0 : ::posix_fallocate(file_, 0, static_cast<off_t>(size));
  if (error != 0 && error != EOPNOTSUPP && error != EINVAL) {
    ::close(file_);
    if (!temporary_.empty()) ::unlink(temporary_.c_str());
    fail_write(path_, error);
  }
}

AtomicFile::~AtomicFile() {
  if (file_ < 0) return;
  if (!temporary_.empty() && !kept_) ::unlink(temporary_.c_str());
  ::close(file_);
}

void AtomicFile::open_nameless() {
  file_ = ::open(folder_of(path_).c_str(), O_RDWR | O_TMPFILE | O_CLOEXEC, 0644);
  if (file_ < 0 || ::access(name_of_open(file_).c_str(), F_OK) == 0) return;
  ::close(file_);  // without /proc it could never be given a name
  file_ = -1;
}

void AtomicFile::open_sibling() {
  temporary_ = sibling_of(path_);
  file_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
}

// The lock goes with the open file, so a killed process holds none. A process that committed the
// file before it was locked here gave it another name: it is finished and not to be touched.
void AtomicFile::open_kept(std::uint64_t expected) {
  temporary_ = kept_sibling(path_);
  file_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file_ < 0) return;
  const bool taken = ::flock(file_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  if (taken || !has_name(file_, temporary_)) {
    ::close(file_);
    throw DependencyError({.where = path_.string(),
                           .found = "another process that writes it",
                           .expected = "one at a time",
                           .remedy = "wait for it or choose another -o"});
  }
  if (size() != expected && ::ftruncate(file_, 0) != 0) {
    ::close(file_);
    file_ = -1;
  }
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

void AtomicFile::read_at(std::uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t got = ::pread(file_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      throw DependencyError({.where = path_.string(),
                             .found = got < 0 ? std::strerror(errno) : "the end of the file",
                             .expected = fmt::format("{} bytes at {}", bytes.size(), offset),
                             .remedy = "check the disk; nothing was put at the output path"});
    }
    bytes = bytes.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
}

void AtomicFile::start_writeback(std::uint64_t offset, std::uint64_t size) {
  ::sync_file_range(file_, static_cast<off_t>(offset), static_cast<off_t>(size),
                    SYNC_FILE_RANGE_WRITE);
}

std::uint64_t AtomicFile::size() const {
  struct stat status{};
  return ::fstat(file_, &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
}

// A link cannot replace a file: then it goes beside the path first and is renamed.
void AtomicFile::give_name() {
  const auto target = replace_ ? sibling_of(path_) : path_;
  if (replace_) ::unlink(target.c_str());
  if (::linkat(AT_FDCWD, name_of_open(file_).c_str(), AT_FDCWD, target.c_str(),
               AT_SYMLINK_FOLLOW) != 0) {
    if (errno == EEXIST) refuse(path_);
    fail_write(path_, errno);
  }
  if (replace_) temporary_ = target;
}

void AtomicFile::commit() {
  if (::fsync(file_) != 0) fail_write(path_, errno);
  if (temporary_.empty()) {
    give_name();
  } else {
    refuse_existing(path_, replace_);
  }
  if (!temporary_.empty() && ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    fail_write(path_, errno);
  }
  ::close(file_);
  file_ = -1;
  // The name is durable once the folder is.
  const int directory = ::open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory >= 0) {
    ::fsync(directory);
    ::close(directory);
  }
}

}  // namespace qwodel
