// How one word becomes token ids: what BPE, Unigram, WordPiece and WordLevel have in common.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/merge_table.h"
#include "tokenizer/word_cache.h"

namespace qwodel {

// Working memory of one encode() call, to be reused by the next.
struct EncodeScratch {
  struct PathNode {
    double score = 0;
    std::uint32_t start = 0, id = 0;
  };
  std::vector<std::uint32_t> symbols;
  MergeScratch merges;
  std::vector<PathNode> path;
  WordCache words;

  // Gives back what one very long word took.
  void release_large();
};

// Immutable; encode() may run on several threads at once, each with its own scratch.
class SubwordModel {
 public:
  virtual ~SubwordModel() = default;

  // Appends the ids of a word. REQUIRES: `word` is not empty. Throws ValidationError when it cannot
  // be expressed.
  virtual void encode(std::string_view word, EncodeScratch& scratch,
                      std::vector<std::uint32_t>& ids) const = 0;
};

}  // namespace qwodel
