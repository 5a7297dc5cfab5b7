// The directory of a zip archive whose entries are stored without compression, as torch writes it.
//
// Layout: PKWARE APPNOTE 6.3.10, sections 4.3 (records) and 4.5.3 (Zip64).
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/mapped_file.h"

namespace qwodel {

struct ZipEntry {
  std::string name;
  std::span<const std::byte> bytes;  // in the mapped file
};

class ZipDirectory {
 public:
  // Reads the central directory and checks it against every entry's own header. Throws
  // ValidationError for a damaged archive, entries that overlap or repeat a name, and
  // FormatNotSupportedError for compressed, encrypted or multi-disk archives.
  explicit ZipDirectory(const MappedFile& file);

  // Sorted by name.
  const std::vector<ZipEntry>& entries() const { return entries_; }
  const ZipEntry* find(std::string_view name) const;

 private:
  std::vector<ZipEntry> entries_;
};

}  // namespace qwodel
