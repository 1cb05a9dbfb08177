// The inner loop of bgemm_1x4__portable on data in the first-level cache: one row, four filters.
#include "bnn/word.h"
#include "roof/roof.h"

namespace bnn::roof_1x4__portable {

namespace {

constexpr std::size_t kFilters = 4;
constexpr std::size_t kWords = 64;

word_t row[kWords], filters[kFilters][kWords];

inline int popcount(word_t x) {
  x -= (x >> 1) & 0x5555555555555555;
  x = (x & 0x3333333333333333) + ((x >> 2) & 0x3333333333333333);
  x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0f;
  return static_cast<int>((x * 0x0101010101010101) >> 56);
}

}  // namespace

std::size_t run(std::size_t steps) {
  int sums[kFilters] = {};
  for (std::size_t step = 0; step < steps; ++step) {
    // The words might be others by now.
    asm volatile("" : : "r"(row), "r"(filters) : "memory");
    for (std::size_t i = 0; i < kWords; ++i) {
      for (std::size_t f = 0; f < kFilters; ++f) sums[f] += popcount(row[i] ^ filters[f][i]);
    }
  }
  for (const int sum : sums) asm volatile("" : : "r"(sum));
  return 2 * steps * kWords * kFilters * kWordBits;
}

}  // namespace bnn::roof_1x4__portable
