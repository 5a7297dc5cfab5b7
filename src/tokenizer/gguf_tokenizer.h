// Runs the vocabulary inside a GGUF as llama.cpp does.
//
// Reference: llama.cpp b11739, src/llama-vocab.cpp (llama_tokenize, llama_detokenize).
#pragma once

#include <memory>
#include <string>

#include "tokenizer/gguf_vocabulary.h"
#include "tokenizer/tokenizer_state.h"

namespace qwodel {

// Throws ValidationError, FormatNotSupportedError; `source` names the file in errors.
std::unique_ptr<Tokenizer::State> make_gguf_tokenizer(GgufVocabulary vocabulary,
                                                      const std::string& source);

// Texts of a "t5" vocabulary: spaces merged or written as U+2581, characters replaced by its
// compiled map, user-defined tokens left alone. And of a "bert" vocabulary: its words.
class Charsmap;
class ByteTrie;
std::string normalize_ugm(std::string_view text, const GgufVocabulary& vocabulary,
                          const Charsmap& charsmap, const ByteTrie& user_defined);
std::vector<std::string> split_wpm(std::string_view text, const GgufVocabulary& vocabulary);

// llama.cpp's clean_up_tokenization_spaces: no space before ?!., and in English contractions.
std::string without_tokenization_spaces(std::string text);

}  // namespace qwodel
