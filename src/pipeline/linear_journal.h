// The linears that an unfinished artifact holds already: one line of JSON each, appended when its
// bytes are written, so that a killed run loses no more than the last one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "io/atomic_directory.h"
#include "io/json.h"

namespace qwodel {

struct JournalEntry {
  std::uint64_t hash = 0;  // of the decoded rows
  Json note;               // what the report says of it
};

class LinearJournal {
 public:
  // `key` says of what run it is. With `resume` the entries of a journal that is there are read;
  // throws ValidationError when it is of another run. Else it begins empty.
  LinearJournal(const std::filesystem::path& path, const std::string& key, bool resume);

  const std::map<std::string, JournalEntry>& entries() const { return entries_; }

  // For the caller to serialize.
  void add(const std::string& module, const JournalEntry& entry);

 private:
  std::map<std::string, JournalEntry> entries_;  // by module, as they were at the start
  std::ofstream out_;
};

// The name of the journal inside a directory that is being made.
inline constexpr const char* kJournalName = ".qwodel-journal";

// The journal of a directory, which keeps what is in it when it is the work of another run.
LinearJournal open_journal(AtomicDirectory& directory, const std::string& key);

}  // namespace qwodel
