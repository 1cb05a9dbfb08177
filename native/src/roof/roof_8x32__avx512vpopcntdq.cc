// XOR, VPOPCNTD and VPADDD on 16 sums of 16 lanes, no memory: 8 rows by 32 filters.
#include <immintrin.h>

#include "roof/roof.h"

namespace bnn::roof_8x32__avx512vpopcntdq {

namespace {

constexpr int kRows = 8;
constexpr int kVectors = 2;

}  // namespace

std::size_t run(std::size_t steps) {
  __m512i rows[kRows], weights[kVectors], sums[kRows][kVectors];
  for (int m = 0; m < kRows; ++m) {
    rows[m] = _mm512_set1_epi32(m);
    asm volatile("" : "+v"(rows[m]));  // hides the value: the compiler drops XORs with 0
    for (int v = 0; v < kVectors; ++v) sums[m][v] = _mm512_setzero_si512();
  }
  for (int v = 0; v < kVectors; ++v) weights[v] = _mm512_set1_epi32(v);
  for (std::size_t step = 0; step < steps; ++step) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      asm volatile("" : "+v"(weights[v]));  // the weights might be others by now
#pragma GCC unroll 8
      for (int m = 0; m < kRows; ++m) {
        const __m512i counts = _mm512_popcnt_epi32(_mm512_xor_si512(rows[m], weights[v]));
        sums[m][v] = _mm512_add_epi32(sums[m][v], counts);
      }
    }
  }
  for (int m = 0; m < kRows; ++m) {
    for (int v = 0; v < kVectors; ++v) asm volatile("" : : "v"(sums[m][v]));
  }
  return 2 * steps * kRows * kVectors * 512;
}

}  // namespace bnn::roof_8x32__avx512vpopcntdq
