#include "bench/register_peak.h"

#include <algorithm>
#include <chrono>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace qwodel {
namespace {

#if defined(__x86_64__)

constexpr int kSums = 12;  // independent, so that only the rate of the instruction counts
constexpr int kSteps = 1 << 18;
constexpr int kRounds = 20;

// Multiplies registers kSteps times into each of kSums sums.
__attribute__((target("avx2,fma"))) void multiply_avx2() {
  const __m256 a = _mm256_set1_ps(1.0f);
  const __m256 b = _mm256_set1_ps(0.5f);
  __m256 sums[kSums];
  for (__m256& sum : sums) sum = _mm256_setzero_ps();
  for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sums[i] = _mm256_fmadd_ps(a, b, sums[i]);
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) __asm__ volatile("" : "+x"(sums[i]));
  }
}

__attribute__((target("avx512f"))) void multiply_avx512() {
  const __m512 a = _mm512_set1_ps(1.0f);
  const __m512 b = _mm512_set1_ps(0.5f);
  __m512 sums[kSums];
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sums[i] = _mm512_fmadd_ps(a, b, sums[i]);
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) __asm__ volatile("" : "+v"(sums[i]));
  }
}

__attribute__((target("avx512f,avx512bw,avx512bf16"))) void multiply_avx512_bf16() {
  const __m512bh a = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3f80));
  const __m512bh b = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3f00));
  __m512 sums[kSums];
  for (__m512& sum : sums) sum = _mm512_setzero_ps();
  for (int step = 0; step < kSteps; ++step) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], a, b);
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) __asm__ volatile("" : "+v"(sums[i]));
  }
}

// The best of some rounds: a core that is taken away in between is no slower core.
double rate(void (*multiply)(), double flops_per_instruction) {
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    multiply();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, 1e-9 * kSums * kSteps * flops_per_instruction / seconds.count());
  }
  return best;
}

#endif

}  // namespace

double register_peak_f32() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return rate(multiply_avx512, 32);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return rate(multiply_avx2, 16);
  }
#endif
  return 0;
}

double register_peak_bf16() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512bf16")) return rate(multiply_avx512_bf16, 64);
#endif
  return 0;
}

}  // namespace qwodel
