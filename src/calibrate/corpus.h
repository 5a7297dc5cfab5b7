// Calibration and evaluation text as token ids, cut into sequences.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/executor.h"
#include "tokenizer/tokenizer.h"

namespace qwodel {

struct CorpusOptions {
  const Tokenizer* tokenizer = nullptr;  // null: token ids only
  std::uint64_t vocab_size = 0;          // of the model; larger ids are an error
  std::string chat_template;             // for conversations, see chat_messages.h
};

struct Corpus {
  std::string name;                   // as the user named it
  std::vector<std::uint32_t> tokens;  // documents one after the other, each begun as the
                                      // tokenizer begins a text
};

// The text that comes with the program (data/calibration.txt): English prose and dialogue, four
// other languages, source code, tables and mathematics.
std::string_view builtin_text();

// `source` is "builtin", a text file (one document), a .jsonl (a document per line, from "text" or
// "messages"), a .ids or .tokens file (numbers), or a directory of these in the order of their
// names. Throws DependencyError (not there), ValidationError (nothing in it, a line that is no
// document, an id out of range, text without a tokenizer).
Corpus read_corpus(const std::string& source, const CorpusOptions& options);

// One text as a whole; a newline at its end is not part of it, as for llama.cpp's --file.
std::vector<std::uint32_t> tokenize_file(const std::filesystem::path& file,
                                         const CorpusOptions& options);

// At most `samples` blocks of seq_len tokens, spread evenly over the corpus; the same for every
// run. Throws ValidationError when the corpus is shorter than a block.
TokenSequences sample_corpus(const Corpus& corpus, std::uint64_t samples, std::uint64_t seq_len);

// The chunks llama-perplexity and llama-imatrix cut: whole ones from the beginning, at most
// `max_chunks` (0: all); `bos` written over the first token of each. `source` names the text in
// errors. Throws ValidationError when there is not one.
TokenSequences cut_chunks(std::span<const std::uint32_t> tokens, std::uint64_t context,
                          std::uint64_t max_chunks, std::optional<std::uint32_t> bos,
                          const std::string& source);

// 32 hexadecimal digits that depend on every id and every end of a sequence.
std::string hash_of(const TokenSequences& sequences);

}  // namespace qwodel
