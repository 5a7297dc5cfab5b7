// Which split of sorted values into three groups the reference ends with, from the few candidates
// that come close to the best score.
#pragma once

#include <cstddef>

namespace qwodel {

// A split into groups of levels 0 (the first `low` values in order), 1 (up to `middle`) and 2.
// `product` is the weighted sum of value times level, `norm` that of level squared. Levels carry
// the shift numbered `shift`. The score is product^2 / norm, the best scale product / norm.
struct SplitCandidate {
  float product;
  float norm;
  int low;
  int middle;
  int shift;
};

// Room for more candidates than ever come close; beyond that the caller walks all splits.
inline constexpr std::size_t kMaxCandidates = 64;

// Scores found roughly (by an approximate reciprocal) are off by at most this part.
inline constexpr float kRoughScore = 1.0f - 0x1p-9f;

// The reference's step: is the candidate better than the score it holds, in single precision?
inline bool beats(const SplitCandidate& candidate, float score) {
  return candidate.norm > 0.0f && candidate.product * candidate.product > score * candidate.norm;
}

// The score the reference then holds.
inline float rounded_score(const SplitCandidate& candidate) {
  return candidate.product / candidate.norm * candidate.product;
}

// The candidate at which the reference's walk over all splits ends; null if there are none.
// REQUIRES: `candidates` are in the reference's order, at most kMaxCandidates, and hold every split
// whose score is at least kRoughScore of the roughly best one.
//
// The reference walks over all splits and moves on to each that beats the score it holds; rounding
// makes it hold or pass over scores that differ in the last bits, so the order matters, but only
// between near-equals. Once it meets a split that is clearly better than all before (by more than
// rounding) it moves there whatever it held, and from then on only near-best splits can beat it: in
// 64 steps its score cannot sink by more than 2^-15, far less than the margin of 2^-11. Such a
// split there always is, since 64 steps of rounding do not lead from below the margin to the best
// score.
const SplitCandidate* last_accepted(const SplitCandidate* candidates, std::size_t count);

}  // namespace qwodel
