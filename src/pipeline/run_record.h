// What a run of several artifacts was asked for, in a file beside its output while it lasts: a run
// that resumes keeps the artifacts that are finished only when it is asked for the same.
#pragma once

#include <filesystem>

#include "qwodel/quantize.h"

namespace qwodel {

class RunRecord {
 public:
  // Writes ".NAME.run.json" beside the output. Throws DependencyError when `resume` is set and the
  // record that is there is of other options, or when it cannot be written.
  explicit RunRecord(const QuantizeOptions& options);
  ~RunRecord();
  RunRecord(const RunRecord&) = delete;
  RunRecord& operator=(const RunRecord&) = delete;

  // Leaves the record to a run that resumes: an artifact is there.
  void keep() { kept_ = true; }

  // All artifacts are there.
  void discard() { kept_ = false; }

 private:
  std::filesystem::path path_;
  bool kept_ = false;
};

}  // namespace qwodel
