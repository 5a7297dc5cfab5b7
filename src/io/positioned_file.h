// A file that is read and written at positions and outlives the process that wrote it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <utility>

namespace qwodel {

// Throws DependencyError where the system does (not_enough_space when the disk is full). write_at()
// and read_at() may be called from several threads.
class PositionedFile {
 public:
  enum class Mode : std::uint8_t { create, open };  // create empties a file that is there

  // `size` bytes are reserved in a new file.
  PositionedFile(std::filesystem::path path, Mode mode, std::uint64_t size);
  // An empty file without a name: its space is free when the process ends, however it ends.
  static PositionedFile nameless(const std::filesystem::path& directory);

  ~PositionedFile();
  PositionedFile(PositionedFile&& other) noexcept;
  PositionedFile& operator=(PositionedFile&&) = delete;

  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  void read_at(std::uint64_t offset, std::span<std::byte> bytes) const;

  std::uint64_t size() const;
  const std::filesystem::path& path() const { return path_; }

  // Waits until what was written is on the disk.
  void sync();

 private:
  PositionedFile(std::filesystem::path path, int file) : path_(std::move(path)), file_(file) {}

  std::filesystem::path path_;
  int file_ = -1;
};

}  // namespace qwodel
