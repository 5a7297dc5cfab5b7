#include "io/atomic_directory.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "io/atomic_file.h"
#include "qwodel/error.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void fail(const fs::path& path, const std::error_code& error) {
  const bool full = error == std::errc::no_space_on_device;
  throw DependencyError({.where = path.string(),
                         .found = error.message(),
                         .expected = "a directory that can be written",
                         .remedy = full ? "free disk space or choose another -o"
                                        : "check the path and its permissions"},
                        full ? ErrorCode::not_enough_space : ErrorCode::failed);
}

fs::path sibling(const fs::path& path, std::string_view kind) {
  return path.parent_path() / fmt::format(".{}.{}", path.filename().string(), kind);
}

void rename_or_fail(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) fail(to, error);
}

void sync_directory(const fs::path& path) {
  const int directory = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return;
  ::fsync(directory);
  ::close(directory);
}

}  // namespace

AtomicDirectory::AtomicDirectory(fs::path path, bool replace, bool resume)
    : path_(path.filename().empty() ? path.parent_path() : std::move(path)),
      staging_(sibling(path_, "partial")),
      replace_(replace) {
  refuse_existing(path_, replace_);
  std::error_code error;
  resumed_ = !fs::create_directory(staging_, error) && !error;
  if (error) fail(path_, error);
  lock();
  if (!resumed_ || resume) return;
  resumed_ = false;
  for (const auto& entry : fs::directory_iterator(staging_)) fs::remove_all(entry.path(), error);
  if (error) {
    ::close(lock_);
    fail(path_, error);
  }
}

AtomicDirectory::~AtomicDirectory() {
  std::error_code ignored;
  if (!committed_ && !kept_) fs::remove_all(staging_, ignored);
  ::close(lock_);
}

void AtomicDirectory::lock() {
  lock_ = ::open(staging_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0) fail(path_, std::error_code(errno, std::generic_category()));
  if (::flock(lock_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(lock_);
  throw DependencyError({.where = path_.string(),
                         .found = "another process that writes it",
                         .expected = "one at a time",
                         .remedy = "wait for it or choose another -o"});
}

void AtomicDirectory::commit() {
  refuse_existing(path_, replace_);
  sync_directory(staging_);
  const fs::path old = sibling(path_, "old");
  std::error_code ignored;
  const bool existed = fs::exists(fs::symlink_status(path_, ignored));
  if (existed) rename_or_fail(path_, old);
  rename_or_fail(staging_, path_);
  committed_ = true;
  sync_directory(path_.has_parent_path() ? path_.parent_path() : fs::path("."));
  if (existed) fs::remove_all(old, ignored);
}

}  // namespace qwodel
