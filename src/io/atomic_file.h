// A file that appears at its path complete or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace qwodel {

// Bytes go to a sibling ".NAME.PID.partial"; commit() syncs it and renames it over the path.
// Without commit() the destructor removes the sibling. write_at() may be called from several
// threads.
class AtomicFile {
 public:
  // Reserves `size` bytes. Throws DependencyError (not_enough_space when the disk is full; failed
  // when the folder cannot be written, or when the path exists and `replace` is false).
  AtomicFile(std::filesystem::path path, std::uint64_t size, bool replace);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);

  // The sibling, to read back before commit().
  const std::filesystem::path& temporary_path() const { return temporary_; }
  const std::filesystem::path& path() const { return path_; }

  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  bool replace_;
  int file_ = -1;
};

// Throws DependencyError when something is at `path` and `replace` is false.
void refuse_existing(const std::filesystem::path& path, bool replace);

}  // namespace qwodel
