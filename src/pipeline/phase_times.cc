#include "pipeline/phase_times.h"

#include <algorithm>
#include <iterator>
#include <string>

namespace qwodel {

void PhaseTimes::add(std::string_view phase, double seconds) {
  auto found = std::ranges::find(phases_, phase, &PhaseTime::name);
  if (found == phases_.end()) {
    phases_.push_back({.name = std::string(phase), .seconds = 0});
    found = std::prev(phases_.end());
  }
  found->seconds += seconds;
}

}  // namespace qwodel
