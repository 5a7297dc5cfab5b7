// What an artifact is for: the backends and their formats, and the target a user names.
//
// Adding a backend: a folder with the functions its row in target.cc names.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codecs/group_int.h"
#include "plan/file_type.h"
#include "targets/coreml/compression.h"

namespace qwodel {

struct Format {
  std::string name;
  std::string summary;
  double bits_per_weight = 0;
};

struct Target {
  std::string backend;
  std::string name;  // "Q4_K_M", "AWQ", "GPTQ-Int4": the encoding part of file names
  FileType file_type = FileType::q4_k_m;  // of gguf
  std::optional<GroupIntScheme> linears;  // of awq, gptq and ct: how linears are quantized
  std::optional<WeightScheme> coreml = std::nullopt;  // of coreml: how weights are stored
};

struct Backend {
  std::string_view name;      // "gguf"
  std::string_view runtimes;  // "llama.cpp, Ollama, LM Studio"
  std::string_view default_format;
  std::string_view planned;  // formats of a backend that is not built yet, for messages
  std::vector<Format> (*formats)() = nullptr;            // null: not built yet
  Target (*parse)(const std::string& format) = nullptr;  // throws Error (usage) and
                                                         // FormatNotSupportedError
  bool available() const { return parse != nullptr; }
};

std::span<const Backend> backends();

// Formats of a backend; none when it is not built yet. Throws FormatNotSupportedError for an
// unknown one.
std::vector<Format> formats(std::string_view backend);

// Parses "gguf:Q4_K_M", "awq", "gptq:4bit-g128". Throws Error (usage) for an unknown backend or
// format and FormatNotSupportedError for one that is known but cannot be written.
Target parse_target(const std::string& text);

// Splits "gguf:Q4_K_M,gguf:Q8_0".
std::vector<Target> parse_targets(const std::vector<std::string>& texts);

// Throws Error (usage): a format that is no format of its backend.
[[noreturn]] void refuse_format(const std::string& found, const std::string& expected);

}  // namespace qwodel
