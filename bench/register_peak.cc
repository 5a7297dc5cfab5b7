#include "bench/register_peak.h"

#include <algorithm>
#include <ctime>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace qwodel {
namespace {

#if defined(__x86_64__)

constexpr int kSums = 12;  // independent, so that only the rate of the instruction counts
constexpr int kSteps = 1 << 20;
constexpr int kRounds = 10;

// Vectors by name: not every compiler keeps an array of them in registers. The empty instruction
// claims to change the sums, so that none is computed beforehand.
#define QWODEL_MULTIPLY(vector, constraint, step)                                                 \
  vector s0{}, s1{}, s2{}, s3{}, s4{}, s5{}, s6{}, s7{}, s8{}, s9{}, s10{}, s11{};                \
  for (int i = 0; i < kSteps; ++i) {                                                              \
    s0 = step(s0), s1 = step(s1), s2 = step(s2), s3 = step(s3), s4 = step(s4), s5 = step(s5);     \
    s6 = step(s6), s7 = step(s7), s8 = step(s8), s9 = step(s9), s10 = step(s10), s11 = step(s11); \
    __asm__ volatile(""                                                                           \
                     : constraint(s0), constraint(s1), constraint(s2), constraint(s3),            \
                       constraint(s4), constraint(s5), constraint(s6), constraint(s7),            \
                       constraint(s8), constraint(s9), constraint(s10), constraint(s11));         \
  }

__attribute__((target("avx2,fma"))) void multiply_avx2() {
  const __m256 a = _mm256_set1_ps(1.0f);
  const __m256 b = _mm256_set1_ps(0.5f);
#define QWODEL_STEP(sum) _mm256_fmadd_ps(a, b, sum)
  QWODEL_MULTIPLY(__m256, "+x", QWODEL_STEP)
#undef QWODEL_STEP
}

__attribute__((target("avx512f"))) void multiply_avx512() {
  const __m512 a = _mm512_set1_ps(1.0f);
  const __m512 b = _mm512_set1_ps(0.5f);
#define QWODEL_STEP(sum) _mm512_fmadd_ps(a, b, sum)
  QWODEL_MULTIPLY(__m512, "+v", QWODEL_STEP)
#undef QWODEL_STEP
}

__attribute__((target("avx512f,avx512bw,avx512bf16"))) void multiply_avx512_bf16() {
  const __m512bh a = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3f80));
  const __m512bh b = reinterpret_cast<__m512bh>(_mm512_set1_epi16(0x3f00));
#define QWODEL_STEP(sum) _mm512_dpbf16_ps(sum, a, b)
  QWODEL_MULTIPLY(__m512, "+v", QWODEL_STEP)
#undef QWODEL_STEP
}

// The best of some rounds.
double rate(void (*multiply)(), double flops_per_instruction) {
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const std::clock_t start = std::clock();
    multiply();
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    best = std::max(best, 1e-9 * kSums * kSteps * flops_per_instruction / seconds);
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
