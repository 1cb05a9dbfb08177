// The epilogue in vectors of 8 floats, AVX2. The steps: vector.h.
#define BNN_LANES 8
#include <immintrin.h>

#include "epilogue/vector.h"

namespace bnn {
namespace {

inline word_t negative(Floats v) {
  const __m256 below = _mm256_cmp_ps(v, _mm256_setzero_ps(), _CMP_LT_OQ);
  return static_cast<word_t>(static_cast<unsigned>(_mm256_movemask_ps(below)));
}

inline word_t greater(Ints v, Ints limit) {
  const __m256 above = reinterpret_cast<__m256>(v > limit);
  return static_cast<word_t>(static_cast<unsigned>(_mm256_movemask_ps(above)));
}

inline Floats fused(Floats v, Floats scale, Floats shift) {
  return _mm256_fmadd_ps(v, scale, shift);
}

}  // namespace

namespace epilogue_8__avx2 {

void run(const EpilogueTile& tile) { run_tile(tile); }

}  // namespace epilogue_8__avx2

}  // namespace bnn
