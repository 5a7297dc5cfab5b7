// The general.* keys of a GGUF: what the model is called, where it comes from, how large it is.
//
// They are derived from the model card (YAML front matter of README.md), generation_config.json,
// config.json's _name_or_path, the directory's name and the number of parameters, by the rules of
// llama.cpp's converter (gguf-py: metadata.py, utility.py), so that keys, types, order and values
// are the ones it writes. None of these files can make a conversion fail: where the converter stops
// with an exception, the key in question (or the whole damaged card) is left out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "formats/gguf_value.h"
#include "io/json_fwd.h"

namespace qwodel {

// Parameters of the GGUF tensors. A tensor whose name contains "_exps." holds one slice per expert.
struct ParameterCount {
  std::uint64_t total = 0;
  std::uint64_t shared = 0;        // outside expert tensors
  std::uint64_t expert = 0;        // of one expert, summed over all expert tensors
  std::uint64_t expert_count = 0;  // mean over the expert tensors, rounded down; 0 without experts
};

// Adds general.type and everything up to general.languages. The caller has set general.architecture
// (it is the first key of every file). `name_override` replaces general.name when not empty.
// `directory` need not exist; its last component is the last resort for a name.
void add_general_metadata(const std::filesystem::path& directory, const Json& config,
                          const std::string& name_override, const ParameterCount& count,
                          GgufMetadata& metadata);

// The ecosystem's file name without suffix, Base-Size-FineTune-Version-ENCODING, from the general.*
// keys (GGUF specification, "naming convention"). Never contains '/' or control characters.
std::string artifact_name(const GgufMetadata& metadata, std::string_view encoding);

// "135M", "8.0B", "8x7.2B": two significant digits at least, in steps of thousand.
std::string size_label(const ParameterCount& count);

}  // namespace qwodel
