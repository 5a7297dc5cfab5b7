#include "tokenizer/token_index.h"

#include <xxhash.h>

#include <bit>

namespace qwodel {

std::uint64_t text_hash(std::string_view text) { return XXH3_64bits(text.data(), text.size()); }

void TokenIndex::reserve(std::size_t count) {
  const std::size_t wanted = std::bit_ceil(std::max<std::size_t>(count * 2, 16));
  if (wanted <= slots_.size()) return;
  std::vector<Slot> old(wanted);
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.id == kNoToken) continue;
    const std::string_view text = std::string_view(texts_).substr(slot.begin, slot.size);
    slots_[slot_of(text, text_hash(text))] = slot;
  }
}

// The slot of a text, or the free one where it belongs.
std::size_t TokenIndex::slot_of(std::string_view text, std::uint64_t hash) const {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t at = hash & mask;; at = (at + 1) & mask) {
    const Slot& slot = slots_[at];
    if (slot.id == kNoToken) return at;
    if (slot.hash == static_cast<std::uint32_t>(hash >> 32) && slot.size == text.size() &&
        std::string_view(texts_).substr(slot.begin, slot.size) == text) {
      return at;
    }
  }
}

void TokenIndex::insert(std::string_view text, std::uint32_t id, bool replace) {
  reserve(count_ + 1);
  const std::uint64_t hash = text_hash(text);
  Slot& slot = slots_[slot_of(text, hash)];
  if (slot.id != kNoToken) {
    if (replace) slot.id = id;
    return;
  }
  slot = {texts_.size(), static_cast<std::uint32_t>(text.size()),
          static_cast<std::uint32_t>(hash >> 32), id};
  texts_ += text;
  ++count_;
}

std::uint32_t TokenIndex::find(std::string_view text) const {
  if (slots_.empty()) return kNoToken;
  return slots_[slot_of(text, text_hash(text))].id;
}

}  // namespace qwodel
