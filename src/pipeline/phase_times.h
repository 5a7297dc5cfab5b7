// How long the parts of a job take, by name.
#pragma once

#include <chrono>
#include <string_view>
#include <vector>

#include "qwodel/quantize.h"

namespace qwodel {

// Wall time. To be used from one thread at a time; phases do not nest.
class PhaseTimes {
 public:
  // Runs `work` and adds its time to the phase.
  template <class Work>
  decltype(auto) measure(std::string_view phase, const Work& work) {
    const Timer timer(*this, phase);
    return work();
  }

  // In the order of their first beginning.
  const std::vector<PhaseTime>& phases() const { return phases_; }

 private:
  using Clock = std::chrono::steady_clock;

  class Timer {
   public:
    Timer(PhaseTimes& times, std::string_view phase) : times_(times), phase_(phase) {}
    ~Timer() { times_.add(phase_, std::chrono::duration<double>(Clock::now() - start_).count()); }
    Timer(const Timer&) = delete;
    Timer& operator=(const Timer&) = delete;

   private:
    PhaseTimes& times_;
    std::string_view phase_;
    Clock::time_point start_ = Clock::now();
  };

  void add(std::string_view phase, double seconds);

  std::vector<PhaseTime> phases_;
};

// The same where nobody may have asked: `times` may be null.
template <class Work>
decltype(auto) measure(PhaseTimes* times, std::string_view phase, const Work& work) {
  if (times == nullptr) return work();
  return times->measure(phase, work);
}

}  // namespace qwodel
