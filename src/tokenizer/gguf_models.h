// The subword models of llama.cpp's vocabularies.
#pragma once

#include <memory>
#include <string>

#include "tokenizer/gguf_vocabulary.h"
#include "tokenizer/subword_model.h"

namespace qwodel {

// "llama": neighbours whose texts together are a token are joined, the highest score first.
// Characters that no token is become byte tokens.
std::unique_ptr<const SubwordModel> make_spm_model(const GgufVocabulary& vocabulary,
                                                   const std::string& source);

// "gpt2": merges over the byte alphabet, or over characters for the vocabularies with U+2581.
std::unique_ptr<const SubwordModel> make_merges_model(const GgufVocabulary& vocabulary,
                                                      const std::string& source);

// "bert": the longest token again and again, U+2581 in front of a word's first.
std::unique_ptr<const SubwordModel> make_wpm_model(const GgufVocabulary& vocabulary,
                                                   const std::string& source);

// "t5": Unigram over normal, unused and user-defined tokens; the latter score 0.
std::unique_ptr<const SubwordModel> make_ugm_model(const GgufVocabulary& vocabulary,
                                                   const std::string& source);

}  // namespace qwodel
