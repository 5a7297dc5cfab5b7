// What an artifact is for: the backends and their formats, and the target a user names.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plan/file_type.h"

namespace qwodel {

struct Backend {
  std::string_view name;      // "gguf"
  std::string_view runtimes;  // "llama.cpp, Ollama, LM Studio"
  std::string_view formats;   // of a backend that is not built yet, for messages
  bool available = false;
};

std::span<const Backend> backends();

struct Format {
  std::string name;
  std::string summary;
  double bits_per_weight = 0;
};

// Formats of a backend. Throws FormatNotSupportedError for an unknown one.
std::vector<Format> formats(std::string_view backend);

struct Target {
  std::string backend;
  FileType file_type = FileType::q4_k_m;
  std::string name;  // "Q4_K_M": the encoding part of file names
};

// Parses "gguf:Q4_K_M". Throws Error (usage) for an unknown backend or format and
// FormatNotSupportedError for one that is known but cannot be written yet.
Target parse_target(const std::string& text);

// Splits "gguf:Q4_K_M,gguf:Q8_0".
std::vector<Target> parse_targets(const std::vector<std::string>& texts);

}  // namespace qwodel
