// Minimal filtering, 6 tiles and 2 vectors of 8 filters, AVX2. How: vector.h.
#define BNN_LANES 8
#include <immintrin.h>

#include "winograd/vector.h"

namespace bnn {
namespace {

inline Floats load_lanes(const float* from, std::size_t begin, std::size_t end) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i first = _mm256_set1_epi32(static_cast<int>(begin));
  const __m256i last = _mm256_set1_epi32(static_cast<int>(end));
  const __m256i inside =
      _mm256_andnot_si256(_mm256_cmpgt_epi32(first, lane), _mm256_cmpgt_epi32(last, lane));
  return _mm256_maskload_ps(from, inside);
}

// Pairs of floats in their order, where the shuffles of halves have left a's and b's mixed.
inline Floats in_order(__m256 pairs) {
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(pairs), 0xd8));
}

inline Floats evens(Floats a, Floats b) { return in_order(_mm256_shuffle_ps(a, b, 0x88)); }
inline Floats odds(Floats a, Floats b) { return in_order(_mm256_shuffle_ps(a, b, 0xdd)); }

}  // namespace

namespace winograd_6x16__avx2 {

void split(const float* x, std::size_t size, std::size_t pad, std::size_t width, float* out) {
  run_split(x, size, pad, width, out);
}
void transform(const WinogradRow& row) { run_transform(row); }
void multiply(const WinogradTiles& tiles) { run_multiply<6, 2>(tiles); }

}  // namespace winograd_6x16__avx2

}  // namespace bnn
