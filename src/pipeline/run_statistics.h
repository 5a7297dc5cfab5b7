// Statistics of the calibration text for all targets of a run, in a file that goes with it.
#pragma once

#include <filesystem>
#include <string>

#include "qwodel/quantize.h"

namespace qwodel {

class RunStatistics {
 public:
  // Makes them, in ".NAME.qstats" beside the output; with `resume` takes up what an interrupted run
  // of the same text left. Throws as calibrate().
  explicit RunStatistics(const QuantizeOptions& options);
  ~RunStatistics();
  RunStatistics(const RunStatistics&) = delete;
  RunStatistics& operator=(const RunStatistics&) = delete;

  // Leaves the file to a run that resumes.
  void keep() { kept_ = true; }

  const std::filesystem::path& path() const { return path_; }
  const std::string& text() const { return text_; }  // what they were made of

 private:
  void remove() const;

  std::filesystem::path path_;
  std::string text_;
  bool kept_ = false;
};

}  // namespace qwodel
