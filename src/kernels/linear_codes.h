// Loops of linear quantization in half precision: every result is rounded to half, as by a program
// that computes with halves.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qwodel {

// A float rounded to half, as a float.
float round_to_half(float value);

// The smallest and the largest of each run of `run` values. REQUIRES: run divides count; no NaN.
void find_ranges(const float* values, std::size_t count, std::size_t run, float* low, float* high);

struct LinearCodeTask {
  const float* values = nullptr;  // halves
  std::size_t count = 0;
  std::size_t run = 0;            // values that share a scale; divides count
  const float* scales = nullptr;  // halves, by run
  const float* zeros = nullptr;   // integers, by run
  float lowest = 0;
  float highest = 0;
  std::uint8_t* codes = nullptr;  // two's complement
};

// code = clamp(round_half_even(half(value / scale)) + zero); 0 for 0 / 0.
void round_linear_codes(const LinearCodeTask& task);

}  // namespace qwodel
