#include "tokenizer/tokenizer_state.h"

#include <algorithm>

#include "tokenizer/token_index.h"

namespace qwodel {
namespace {

constexpr std::string_view kSpace = "\u2581";

// Where U+2581 stands behind another character, from `at` on; npos if nowhere.
std::size_t inner_space(std::string_view text, std::size_t at) {
  for (;;) {
    at = text.find(kSpace, at);
    if (at == std::string_view::npos || (at > 0 && !text.substr(0, at).ends_with(kSpace)))
      return at;
    at += kSpace.size();
  }
}

}  // namespace

void EncodeScratch::release_large() {
  constexpr std::size_t kKept = std::size_t{1} << 16;  // symbols
  if (symbols.capacity() > kKept) {
    symbols = {};
    merges = {};
  }
  if (path.capacity() > kKept) path = {};
}

ScratchPool::Lease ScratchPool::take() {
  const std::lock_guard lock(mutex_);
  std::unique_ptr<EncodeScratch> scratch;
  if (free_.empty()) {
    scratch = std::make_unique<EncodeScratch>();
  } else {
    scratch = std::move(free_.back());
    free_.pop_back();
  }
  return {*this, std::move(scratch)};
}

void ScratchPool::give_back(std::unique_ptr<EncodeScratch> scratch) {
  scratch->release_large();
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(scratch));
}

void WordEncoder::add(std::string_view word, std::vector<std::uint32_t>& ids) {
  std::size_t begin = 0;
  while (cuts_at_spaces_) {
    const std::size_t end = inner_space(word, begin + 1);
    if (end == std::string_view::npos) break;
    add_part(word.substr(begin, end - begin), ids);
    begin = end;
  }
  add_part(word.substr(begin), ids);
}

void WordEncoder::add_part(std::string_view word, std::vector<std::uint32_t>& ids) {
  if (word.empty()) return;
  if (word.size() > WordCache::kMaxWord) {
    model_.encode(word, scratch_, ids);
    return;
  }
  const std::uint64_t hash = text_hash(word);
  if (scratch_.words.find(word, hash, ids)) return;
  const std::size_t before = ids.size();
  model_.encode(word, scratch_, ids);
  scratch_.words.insert(word, hash, ids.data() + before, ids.size() - before);
}

bool spaces_begin_tokens(const std::vector<std::string_view>& texts) {
  if (std::find(texts.begin(), texts.end(), kSpace) == texts.end()) return false;
  return std::none_of(texts.begin(), texts.end(), [](std::string_view text) {
    return inner_space(text, 0) != std::string_view::npos;
  });
}

}  // namespace qwodel
