// What a model's name says: "org/Base-7B-Instruct-v0.2" taken apart into the fields of general.*.
//
// The rules are those of llama.cpp's converter (gguf-py metadata.py, "model id components"); digits
// and the words it looks for are ASCII here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace qwodel {

// Fields that the name does not show are absent.
struct ModelId {
  std::optional<std::string> name;  // everything after the organization
  std::optional<std::string> organization;
  std::optional<std::string> basename;
  std::optional<std::string> finetune;
  std::optional<std::string> version;
  std::optional<std::string> size_label;
};

// `parameters` (0 = unknown) tells a size ("7B") from a context length ("128k"): a size far from
// the model's own is part of the finetune.
ModelId parse_model_id(std::string_view id, std::uint64_t parameters);

// "tiny-random v2 7b" -> "Tiny Random v2 7b": '-' becomes ' ', and words in lower case that are
// no version and do not begin with a digit are capitalized.
std::string to_title(std::string_view id);

// Without white space (Unicode's) at both ends.
std::string_view strip(std::string_view text);

}  // namespace qwodel
