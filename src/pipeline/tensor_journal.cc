#include "pipeline/tensor_journal.h"

#include <fmt/format.h>

#include <system_error>

#include "io/atomic_file.h"

namespace qwodel {
namespace {

namespace fs = std::filesystem;

fs::path journal_of(const fs::path& artifact) {
  return artifact.parent_path() / fmt::format(".{}.journal", artifact.filename().string());
}

}  // namespace

TensorJournal::TensorJournal(const fs::path& artifact, const std::string& key, bool resume)
    : path_(journal_of(artifact)), lines_(path_, key, resume) {}

TensorJournal::~TensorJournal() {
  std::error_code ignored;
  if (!kept_) fs::remove(path_, ignored);
}

std::optional<TensorJournal::Entry> TensorJournal::find(const std::string& tensor) const {
  const auto found = lines_.entries().find(tensor);
  if (found == lines_.entries().end()) return std::nullopt;
  const Json* error = find_member(found->second.note, "error");
  const Json* signal = find_member(found->second.note, "signal");
  if (error == nullptr || signal == nullptr || !error->is_number() || !signal->is_number()) {
    return std::nullopt;
  }
  return Entry{.hash = found->second.hash,
               .errors = {.error = error->get<double>(), .signal = signal->get<double>()}};
}

void TensorJournal::add(const std::string& tensor, const Entry& entry) {
  lines_.add(tensor, {.hash = entry.hash,
                      .note = {{"error", entry.errors.error}, {"signal", entry.errors.signal}}});
}

void remove_unfinished(const fs::path& artifact) {
  std::error_code ignored;
  std::optional<AtomicFile> taken;  // locked, and removed at the end
  if (fs::exists(kept_sibling(artifact), ignored)) taken.emplace(artifact, 0, true, Staging::kept);
  fs::remove(journal_of(artifact), ignored);
}

}  // namespace qwodel
