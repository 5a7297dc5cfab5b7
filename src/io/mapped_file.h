// A file mapped read-only into memory.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace qwodel {

// Pages come from the file as they are touched; advise() and drop() steer the page cache so that
// a file larger than memory passes through. Thread-safe: all methods are const.
class MappedFile {
 public:
  // Throws DependencyError when the file cannot be opened or mapped. An empty file maps to no
  // bytes.
  explicit MappedFile(std::filesystem::path path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

// Starts reading a part of a mapping ahead of its use; a hint.
void read_ahead(std::span<const std::byte> part);

// Unmaps the whole pages inside a part of a mapping from this process: they no longer count as its
// memory and are read again if touched. REQUIRES: part lies in a MappedFile.
void drop_pages(std::span<const std::byte> part);

}  // namespace qwodel
