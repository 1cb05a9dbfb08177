// EOR, CNT and ADD on 16 byte accumulators, no memory: 4 rows by 16 filters.
#include <arm_neon.h>

#include "roof/roof.h"

namespace bnn::roof_4x16__neon {

namespace {

constexpr int kRows = 4;
constexpr int kVectors = 4;

}  // namespace

std::size_t run(std::size_t steps) {
  uint8x16_t rows[kRows], weights[kVectors], sums[kRows][kVectors];
  for (int m = 0; m < kRows; ++m) {
    rows[m] = vdupq_n_u8(static_cast<unsigned char>(m));
    asm volatile("" : "+w"(rows[m]));  // hides the value: the compiler drops XORs with 0
    for (int v = 0; v < kVectors; ++v) sums[m][v] = vdupq_n_u8(0);
  }
  for (int v = 0; v < kVectors; ++v) weights[v] = vdupq_n_u8(static_cast<unsigned char>(v));
  for (std::size_t step = 0; step < steps; ++step) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      asm volatile("" : "+w"(weights[v]));  // the weights might be others by now
#pragma GCC unroll 4
      for (int m = 0; m < kRows; ++m) {
        sums[m][v] = vaddq_u8(sums[m][v], vcntq_u8(veorq_u8(rows[m], weights[v])));
      }
    }
  }
  for (int m = 0; m < kRows; ++m) {
    for (int v = 0; v < kVectors; ++v) asm volatile("" : : "w"(sums[m][v]));
  }
  return 2 * steps * kRows * kVectors * 128;
}

}  // namespace bnn::roof_4x16__neon
