#include "kernels/split_search.h"

#include <algorithm>

namespace qwodel {
namespace {

double exact_score(const SplitCandidate& candidate) {
  const double product = candidate.product;
  return product * product / candidate.norm;
}

}  // namespace

const SplitCandidate* last_accepted(const SplitCandidate* candidates, std::size_t count) {
  if (count == 1) return candidates;
  double best = 0.0;
  for (std::size_t i = 0; i < count; ++i) best = std::max(best, exact_score(candidates[i]));
  // What is not among the candidates stays below this.
  double top = best * (1.0 - 0x1p-10);
  const SplitCandidate* held = nullptr;
  float held_score = 0.0f;
  for (const SplitCandidate* c = candidates; c != candidates + count; ++c) {
    const double score = exact_score(*c);
    const bool clear = score > top * (1.0 + 0x1p-20) && score > best * (1.0 - 0x1p-11);
    if (clear || (held != nullptr && beats(*c, held_score))) {
      held = c;
      held_score = rounded_score(*c);
    }
    top = std::max(top, score);
  }
  return held;
}

}  // namespace qwodel
