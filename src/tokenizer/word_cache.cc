#include "tokenizer/word_cache.h"

#include <cstring>

namespace qwodel {
namespace {

constexpr std::size_t kMaxTexts = std::size_t{4} << 20;  // bytes

}  // namespace

bool WordCache::find(std::string_view word, std::uint64_t hash,
                     std::vector<std::uint32_t>& ids) const {
  if (slots_.empty()) return false;
  const Slot& slot = slots_[hash & (kSlots - 1)];
  if (slot.hash != hash || slot.size != word.size() ||
      std::memcmp(texts_.data() + slot.text, word.data(), word.size()) != 0) {
    return false;
  }
  if (slot.count == 1) {
    ids.push_back(ids_[slot.ids]);
  } else {
    ids.insert(ids.end(), ids_.begin() + slot.ids, ids_.begin() + slot.ids + slot.count);
  }
  return true;
}

void WordCache::insert(std::string_view word, std::uint64_t hash, const std::uint32_t* first,
                       std::size_t count) {
  if (count == 0 || count > 0xFFFF) return;
  if (slots_.empty() || texts_.size() > kMaxTexts || ids_.size() > kMaxTexts) {
    slots_.assign(kSlots, {});
    texts_.clear();
    ids_.clear();
  }
  slots_[hash & (kSlots - 1)] = {
      hash, static_cast<std::uint32_t>(texts_.size()), static_cast<std::uint32_t>(ids_.size()),
      static_cast<std::uint16_t>(word.size()), static_cast<std::uint16_t>(count)};
  texts_ += word;
  ids_.insert(ids_.end(), first, first + count);
}

}  // namespace qwodel
