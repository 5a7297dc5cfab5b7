// The text of an evaluation or importance matrix as chunks of token ids.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "calibrate/corpus.h"
#include "pipeline/running_model.h"
#include "tokenizer/tokenizer.h"

namespace qwodel {

// The tokenizer of an opened model, or nothing when it has none that can be run and `text` is a
// file of token ids. Otherwise throws what loading it threw.
std::optional<Tokenizer> tokenizer_for(const SourceModel& model, const std::filesystem::path& path,
                                       const std::filesystem::path& text);

// For conversations: the model's template, or empty.
std::string chat_template_of(const SourceModel& model);

// Chunks as llama.cpp's tools cut them. Throws ValidationError: text too short, ids out of range.
TokenSequences read_chunks(const RunningModel& model, const std::filesystem::path& path,
                           const std::filesystem::path& text, std::uint64_t context,
                           std::uint64_t max_chunks);

}  // namespace qwodel
