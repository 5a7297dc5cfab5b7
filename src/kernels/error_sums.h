// How far decoded values are from the originals.
#pragma once

#include <cstddef>

namespace qwodel {

struct ErrorSums {
  double error = 0;   // sum of (value - decoded)^2
  double signal = 0;  // sum of value^2

  void add(const ErrorSums& other) {
    error += other.error;
    signal += other.signal;
  }
  // Normalized mean squared error; 0 for all-zero values that stayed zero.
  double nmse() const { return signal > 0 ? error / signal : error; }
};

// Sums in float over runs of 512 values in 16 fixed partial sums, then in double: the same result
// on every target.
ErrorSums error_sums(const float* values, const float* decoded, std::size_t count);

}  // namespace qwodel
