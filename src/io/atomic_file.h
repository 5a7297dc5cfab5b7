// A file that appears at its path complete or not at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace qwodel {

// Where bytes are until commit().
enum class Staging : std::uint8_t {
  nameless,  // in a file without a name, which the kernel frees when the process dies; `sibling`
             // where the file system offers none (NFS, FUSE)
  sibling,   // in ".NAME.PID.partial" beside the path, which a killed process leaves behind
  kept,      // in kept_sibling(), where a file of the same size that an earlier process left is
             // taken up with what it holds
};

// ".NAME.partial" beside the path.
std::filesystem::path kept_sibling(const std::filesystem::path& path);

// commit() syncs the bytes and gives them their name; without it the destructor frees them.
// write_at() and read_at() may be called from several threads.
class AtomicFile {
 public:
  // Reserves `size` bytes. Throws DependencyError (not_enough_space when the disk is full; failed
  // when the folder cannot be written, when the path exists and `replace` is false, or when another
  // process has the kept file open).
  AtomicFile(std::filesystem::path path, std::uint64_t size, bool replace,
             Staging staging = Staging::nameless);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);

  // Fills `bytes`; throws DependencyError when the file ends before.
  void read_at(std::uint64_t offset, std::span<std::byte> bytes) const;

  // Starts moving written bytes to the disk, so that commit() has less to wait for; a hint.
  void start_writeback(std::uint64_t offset, std::uint64_t size);

  // Leaves a kept file to another process, whatever happens but commit().
  void keep() { kept_ = true; }

  std::uint64_t size() const;
  Staging staging() const { return temporary_.empty() ? Staging::nameless : Staging::sibling; }

  void commit();

 private:
  void open_nameless();
  void open_sibling();
  void open_kept(std::uint64_t size);
  void give_name();

  std::filesystem::path path_;
  std::filesystem::path temporary_;  // empty while the file has no name
  bool replace_;
  bool kept_ = false;
  int file_ = -1;
};

// Throws DependencyError when something is at `path` and `replace` is false.
void refuse_existing(const std::filesystem::path& path, bool replace);

}  // namespace qwodel
