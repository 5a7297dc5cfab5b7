// What an unfinished .gguf holds already: its tensors, in a journal ".NAME.journal" beside it, so
// that a run that resumes goes on behind the last one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "kernels/error_sums.h"
#include "pipeline/linear_journal.h"

namespace qwodel {

class TensorJournal {
 public:
  struct Entry {
    std::uint64_t hash = 0;  // of the bytes, as write_artifact() makes it
    ErrorSums errors;
  };

  // `key` says of what run it is. Without `resume` it begins empty; with it, throws ValidationError
  // when it is of another run.
  TensorJournal(const std::filesystem::path& artifact, const std::string& key, bool resume);
  ~TensorJournal();
  TensorJournal(const TensorJournal&) = delete;
  TensorJournal& operator=(const TensorJournal&) = delete;

  // What an earlier run finished.
  std::optional<Entry> find(const std::string& tensor) const;

  // For the caller to serialize.
  void add(const std::string& tensor, const Entry& entry);

  // Leaves the file for another run to go on with.
  void keep() { kept_ = true; }

 private:
  std::filesystem::path path_;
  LinearJournal lines_;
  bool kept_ = false;
};

// Removes what a killed run left beside an artifact for one that resumes. Throws DependencyError
// when it is another process's that still runs.
void remove_unfinished(const std::filesystem::path& artifact);

}  // namespace qwodel
