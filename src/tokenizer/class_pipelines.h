// Files that hold a vocabulary only, made into the pipeline that the tokenizer class around them
// has.
//
// Reference: transformers 5 (tokenization_*.py) and what its classes build.
#pragma once

#include "tokenizer/sentencepiece_model.h"
#include "tokenizer/tokenizer_files.h"

namespace qwodel {

// How a tokenizer class splits for vocab.json with merges.txt: Qwen2's or GPT-2's expression.
Json class_pre_tokenizer(const TokenizerFiles& files);

// Each sets what the file of a vocabulary does not tell in files.tokenizer: normalizer,
// pre-tokenizer, post-processor, decoder, added tokens. REQUIRES: files.tokenizer holds the
// vocabulary.
void complete_byte_level(TokenizerFiles& files);
void complete_wordpiece(TokenizerFiles& files);

// files.tokenizer of a SentencePiece model. `ends_texts`: an end token behind a text and no begin
// token before it, unless tokenizer_config.json says otherwise (T5).
void use_sentencepiece(const SentencePieceModel& model, bool ends_texts, TokenizerFiles& files);

}  // namespace qwodel
