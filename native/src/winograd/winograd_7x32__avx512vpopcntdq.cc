// Minimal filtering, 7 tiles and 2 vectors of 16 filters, AVX-512. How: vector.h.
#define BNN_LANES 16
#include <immintrin.h>

#include "winograd/vector.h"

namespace bnn {
namespace {

inline Floats load_lanes(const float* from, std::size_t begin, std::size_t end) {
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << end) - (1u << begin)), from);
}

inline Floats evens(Floats a, Floats b) {
  const __m512i from = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  return _mm512_permutex2var_ps(a, from, b);
}

inline Floats odds(Floats a, Floats b) {
  const __m512i from = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  return _mm512_permutex2var_ps(a, from, b);
}

}  // namespace

namespace winograd_7x32__avx512vpopcntdq {

void split(const float* x, std::size_t size, std::size_t pad, std::size_t width, float* out) {
  run_split(x, size, pad, width, out);
}
void transform(const WinogradRow& row) { run_transform(row); }
void multiply(const WinogradTiles& tiles) { run_multiply<7, 2>(tiles); }

}  // namespace winograd_7x32__avx512vpopcntdq

}  // namespace bnn
