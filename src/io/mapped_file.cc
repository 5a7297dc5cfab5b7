#include "io/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "qwodel/error.h"

namespace qwodel {
namespace {

[[noreturn]] void fail_open(const std::filesystem::path& path, int error) {
  throw DependencyError({.where = path.string(),
                         .found = std::strerror(error),
                         .expected = "a readable file",
                         .remedy = error == ENOENT ? "check the path" : "check its permissions"});
}

// The page-aligned range around a part (grow) or inside it (shrink).
std::span<std::byte> page_range(std::span<const std::byte> part, bool grow) {
  const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
  auto* const start = const_cast<std::byte*>(part.data());
  const std::uintptr_t in_page = reinterpret_cast<std::uintptr_t>(start) % page;
  const std::uintptr_t end = in_page + part.size();  // both from the start of the first page
  const std::uintptr_t first = grow || in_page == 0 ? 0 : page;
  const std::uintptr_t last = (grow ? end + page - 1 : end) / page * page;
  if (last <= first) return {};
  return {start - in_page + first, last - first};
}

}  // namespace

MappedFile::MappedFile(std::filesystem::path path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a pipe must fail below, not wait for a writer.
  const int file = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) fail_open(path_, errno);
  struct stat status{};
  if (::fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
    const int error = S_ISDIR(status.st_mode) ? EISDIR : EINVAL;
    ::close(file);
    fail_open(path_, error);
  }
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ > 0) {
    void* mapping = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file, 0);
    const int error = errno;
    ::close(file);
    if (mapping == MAP_FAILED) fail_open(path_, error);
    data_ = static_cast<const std::byte*>(mapping);
  } else {
    ::close(file);
  }
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void read_ahead(std::span<const std::byte> part) {
  const std::span<std::byte> pages = page_range(part, true);
  if (!pages.empty()) ::madvise(pages.data(), pages.size(), MADV_WILLNEED);
}

void drop_pages(std::span<const std::byte> part) {
  const std::span<std::byte> pages = page_range(part, false);
  if (!pages.empty()) ::madvise(pages.data(), pages.size(), MADV_DONTNEED);
}

}  // namespace qwodel
