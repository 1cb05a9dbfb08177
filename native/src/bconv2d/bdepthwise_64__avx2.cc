// Depthwise convolution, 64 channels at once, compiled for AVX2. How: depthwise.h.
#include <immintrin.h>

#define BNN_LANES 4
#include "bconv2d/depthwise.h"

namespace bnn {
namespace {

// 32 bits of a plane: each byte lane gets the byte that has its bit, and looks at that bit.
template <int Planes>
inline void spread(const word_t* planes, std::size_t step, std::int32_t* out) {
  const __m256i byte_of =
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bit_of = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  for (int half = 0; half < 2; ++half) {
    __m256i sums = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int j = 0; j < Planes; ++j) {
      const __m256i bits = _mm256_set1_epi32(static_cast<int>(planes[j * step] >> (32 * half)));
      const __m256i mine = _mm256_and_si256(_mm256_shuffle_epi8(bits, byte_of), bit_of);
      const __m256i set = _mm256_cmpeq_epi8(mine, bit_of);
      const __m256i value = _mm256_set1_epi8(static_cast<char>(1 << j));
      sums = _mm256_or_si256(sums, _mm256_and_si256(set, value));
    }
    const __m128i low = _mm256_castsi256_si128(sums), high = _mm256_extracti128_si256(sums, 1);
    const __m128i parts[] = {low, _mm_srli_si128(low, 8), high, _mm_srli_si128(high, 8)};
    for (int i = 0; i < 4; ++i) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + 32 * half + 8 * i),
                          _mm256_cvtepu8_epi32(parts[i]));
    }
  }
}

}  // namespace

namespace bdepthwise_64__avx2 {

void tile(const TileArgs& args) { depthwise_tile(args); }

}  // namespace bdepthwise_64__avx2
}  // namespace bnn
