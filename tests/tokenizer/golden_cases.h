// Model directories of tests/golden/tokenizers.json.
#pragma once

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "formats/gguf_reader.h"
#include "io/json.h"
#include "tests/formats/temp_directory.h"

namespace qwodel {

// Large tokenizers are read from here; tests that need them are skipped when it is not there.
inline std::filesystem::path shared_directory() {
  const char* set = std::getenv("QWODEL_SHARED");
  return set != nullptr ? std::filesystem::path(set)
                        : std::filesystem::path(QWODEL_SOURCE_DIR) / ".." / "shared";
}

// A file in tests/data or in the shared directory.
inline std::optional<std::filesystem::path> find_data(const std::string& name) {
  for (const auto& root :
       {std::filesystem::path(QWODEL_SOURCE_DIR) / "tests/data", shared_directory()}) {
    if (std::filesystem::is_regular_file(root / name)) return root / name;
  }
  return std::nullopt;
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// Writes the files of a case into `directory`; false when a source is missing.
bool make_case_directory(const Json& files, const TempDirectory& directory);

}  // namespace qwodel
