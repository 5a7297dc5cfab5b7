#include "tokenizer/merge_table.h"

#include <algorithm>
#include <bit>

namespace qwodel {
namespace {

constexpr std::uint32_t kNone = 0xFFFFFFFF;
// Below this many symbols, scanning all pairs for each join is faster than a heap.
constexpr std::size_t kFewSymbols = 48;

void merge_few(const MergeTable& table, std::vector<std::uint32_t>& symbols,
               MergeScratch& scratch) {
  std::size_t count = symbols.size();
  auto& ranks = scratch.ranks;
  auto& results = scratch.results;
  ranks.resize(count);
  results.resize(count);
  const auto look_up = [&](std::size_t at) {
    const MergeRule* rule = table.find(symbols[at], symbols[at + 1]);
    ranks[at] = rule != nullptr ? rule->rank : kNone;
    if (rule != nullptr) results[at] = rule->result;
  };
  for (std::size_t i = 0; i + 1 < count; ++i) look_up(i);
  while (count > 1) {
    std::size_t best = 0;
    for (std::size_t i = 1; i + 1 < count; ++i) {
      if (ranks[i] < ranks[best]) best = i;
    }
    if (ranks[best] == kNone) break;
    symbols[best] = results[best];
    for (std::size_t i = best + 1; i + 1 < count; ++i) {
      symbols[i] = symbols[i + 1];
      ranks[i] = ranks[i + 1];
      results[i] = results[i + 1];
    }
    --count;
    if (best > 0) look_up(best - 1);
    if (best + 1 < count) look_up(best);
  }
  symbols.resize(count);
}

class HeapMerger {
 public:
  HeapMerger(const MergeTable& table, std::vector<std::uint32_t>& symbols, MergeScratch& scratch)
      : table_(table), symbols_(symbols), scratch_(scratch) {}

  void run() {
    const auto count = static_cast<std::uint32_t>(symbols_.size());
    scratch_.previous.resize(count);
    scratch_.next.resize(count);
    scratch_.heap.clear();
    for (std::uint32_t i = 0; i < count; ++i) {
      scratch_.previous[i] = i == 0 ? kNone : i - 1;
      scratch_.next[i] = i + 1 == count ? kNone : i + 1;
    }
    for (std::uint32_t i = 0; i + 1 < count; ++i) add(i, false);
    std::make_heap(scratch_.heap.begin(), scratch_.heap.end(), comes_later);
    while (!scratch_.heap.empty()) {
      std::pop_heap(scratch_.heap.begin(), scratch_.heap.end(), comes_later);
      const MergeScratch::Candidate candidate = scratch_.heap.back();
      scratch_.heap.pop_back();
      join(candidate);
    }
    std::uint32_t kept = 0;
    for (std::uint32_t i = 0; i != kNone; i = scratch_.next[i]) symbols_[kept++] = symbols_[i];
    symbols_.resize(kept);
  }

 private:
  static bool comes_later(const MergeScratch::Candidate& a, const MergeScratch::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  }

  void add(std::uint32_t at, bool ordered) {
    const MergeRule* rule = table_.find(symbols_[at], symbols_[scratch_.next[at]]);
    if (rule == nullptr) return;
    scratch_.heap.push_back({rule->rank, at, rule->result});
    if (ordered) std::push_heap(scratch_.heap.begin(), scratch_.heap.end(), comes_later);
  }

  void join(const MergeScratch::Candidate& candidate) {
    const std::uint32_t at = candidate.at;
    // A symbol that was joined to the one before it, or stands last now.
    if (symbols_[at] == kNone || scratch_.next[at] == kNone) return;
    const std::uint32_t right = scratch_.next[at];
    const MergeRule* rule = table_.find(symbols_[at], symbols_[right]);
    if (rule == nullptr || rule->result != candidate.result) return;  // another pair by now
    symbols_[at] = candidate.result;
    symbols_[right] = kNone;
    const std::uint32_t after = scratch_.next[right];
    scratch_.next[at] = after;
    if (after != kNone) scratch_.previous[after] = at;
    if (scratch_.previous[at] != kNone) add(scratch_.previous[at], true);
    if (after != kNone) add(at, true);
  }

  const MergeTable& table_;
  std::vector<std::uint32_t>& symbols_;
  MergeScratch& scratch_;
};

}  // namespace

void MergeTable::reserve(std::size_t count) {
  const std::size_t wanted = std::bit_ceil(std::max<std::size_t>(count * 2, 16));
  if (wanted <= slots_.size()) return;
  std::vector<Slot> old(wanted);
  old.swap(slots_);
  shift_ = 64 - std::countr_zero(wanted);
  for (const Slot& slot : old) {
    if (slot.key != kFree) slots_[slot_of(slot.key)] = slot;
  }
}

void MergeTable::insert(std::uint32_t left, std::uint32_t right, MergeRule rule, bool replace) {
  reserve(count_ + 1);
  const std::uint64_t key = key_of(left, right);
  Slot& slot = slots_[slot_of(key)];
  if (slot.key == key && !replace) return;
  if (slot.key != key) ++count_;
  slot = {key, rule};
}

void merge_symbols(const MergeTable& table, std::vector<std::uint32_t>& symbols,
                   MergeScratch& scratch) {
  if (symbols.size() < 2) return;
  if (symbols.size() <= kFewSymbols) {
    merge_few(table, symbols, scratch);
  } else {
    HeapMerger(table, symbols, scratch).run();
  }
}

}  // namespace qwodel
