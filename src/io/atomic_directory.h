// A directory that appears complete or not at all.
#pragma once

#include <filesystem>

namespace qwodel {

// Files are made in a sibling ".NAME.partial", locked by the process; commit() syncs the directory
// and gives it its name. Without commit() the destructor removes it, unless it is to be kept. What
// a killed process leaves behind is taken up or removed by the next one.
class AtomicDirectory {
 public:
  // With `resume` the files that are there stay. Throws DependencyError when the path exists and
  // `replace` is false, when the parent cannot be written, or another process makes this directory.
  AtomicDirectory(std::filesystem::path path, bool replace, bool resume = false);
  ~AtomicDirectory();
  AtomicDirectory(const AtomicDirectory&) = delete;
  AtomicDirectory& operator=(const AtomicDirectory&) = delete;

  // Where to write: files there need no care of their own, except to be synced.
  const std::filesystem::path& staging() const { return staging_; }

  // Whether there was something to resume.
  bool resumed() const { return resumed_; }

  // Leaves the files for another process to go on with.
  void keep() { kept_ = true; }

  // An existing directory is moved aside first and removed last.
  void commit();

 private:
  void lock();

  std::filesystem::path path_;
  std::filesystem::path staging_;
  bool replace_;
  bool resumed_ = false;
  bool kept_ = false;
  bool committed_ = false;
  int lock_ = -1;
};

}  // namespace qwodel
