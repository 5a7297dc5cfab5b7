// A directory that appears complete or not at all.
#pragma once

#include <filesystem>

namespace qwodel {

// Files are made in a sibling ".NAME.PID.partial"; commit() syncs the directory and gives it its
// name. Without commit() the destructor removes it. A killed process leaves the sibling behind.
class AtomicDirectory {
 public:
  // Throws DependencyError when the path exists and `replace` is false, or the parent cannot be
  // written.
  AtomicDirectory(std::filesystem::path path, bool replace);
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  // Where to write: files there need no care of their own, except to be synced.
  const std::filesystem::path& staging() const { return staging_; }

  // An existing directory is moved aside first and removed last.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path staging_;
  bool replace_;
  bool committed_ = false;
};

}  // namespace qwodel
