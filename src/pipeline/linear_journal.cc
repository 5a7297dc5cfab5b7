#include "pipeline/linear_journal.h"

#include <optional>

#include "qwodel/error.h"

namespace qwodel {
namespace {

// Nothing for a line that was cut short.
std::optional<Json> parse_line(const std::string& line) {
  Json value = Json::parse(line, nullptr, false);
  if (value.is_discarded() || !value.is_object()) return std::nullopt;
  return value;
}

}  // namespace

LinearJournal::LinearJournal(const std::filesystem::path& path, const std::string& key,
                             bool resume) {
  std::uintmax_t kept = 0;
  std::ifstream in;
  if (resume) in.open(path, std::ios::binary);
  for (std::string line; in.is_open() && std::getline(in, line);) {
    const auto value = parse_line(line);
    if (!value || in.eof()) break;  // its end of line is missing
    if (kept == 0) {
      const Json* found = find_member(*value, "key");
      if (found == nullptr || *found != key) {
        throw ValidationError({.where = path.parent_path().string(),
                               .found = "the unfinished work of another run",
                               .expected = "one of the same model, target and options",
                               .remedy = "run without --resume to start over"});
      }
    } else if (value->contains("module") && value->contains("hash") && value->contains("note") &&
               (*value)["module"].is_string() && (*value)["hash"].is_number_unsigned()) {
      entries_[(*value)["module"].get<std::string>()] = {(*value)["hash"].get<std::uint64_t>(),
                                                         (*value)["note"]};
    }
    kept += line.size() + 1;
  }
  in.close();
  if (kept > 0) {
    std::filesystem::resize_file(path, kept);
    out_.open(path, std::ios::binary | std::ios::app);
  } else {
    out_.open(path, std::ios::binary | std::ios::trunc);
    out_ << Json({{"key", key}}).dump() << '\n' << std::flush;
  }
}

void LinearJournal::add(const std::string& module, const JournalEntry& entry) {
  const Json line = {{"module", module}, {"hash", entry.hash}, {"note", entry.note}};
  out_ << line.dump() << '\n' << std::flush;
}

LinearJournal open_journal(AtomicDirectory& directory, const std::string& key) {
  try {
    return {directory.staging() / kJournalName, key, directory.resumed()};
  } catch (const ValidationError&) {
    directory.keep();
    throw;
  }
}

}  // namespace qwodel
