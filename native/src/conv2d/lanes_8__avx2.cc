// Windows channel by channel, in vectors of 8, AVX2. How: lanes_vector.h.
#define BNN_LANES 8
#include <immintrin.h>

#include "conv2d/lanes_vector.h"

namespace bnn {
namespace {

inline Floats multiply_add(Floats a, Floats b, Floats sum) { return _mm256_fmadd_ps(a, b, sum); }

inline Floats larger(Floats x, Floats most) {
  const __m256 take = _mm256_cmp_ps(x, most, _CMP_NLE_UQ);  // larger, or one of them is NaN
  const __m256 keep = _mm256_cmp_ps(most, most, _CMP_UNORD_Q);
  return _mm256_blendv_ps(most, x, _mm256_andnot_ps(keep, take));
}

// Of a NaN and a number, the instruction gives its second operand.
inline Floats relu(Floats v) { return _mm256_max_ps(Floats{}, v); }

}  // namespace

namespace lanes_8__avx2 {

void depthwise(const FloatTile& tile) { run_tile<Depthwise>(tile); }
void maximum(const FloatTile& tile) { run_tile<Maximum>(tile); }
void mean(const FloatTile& tile) { run_tile<Mean>(tile); }

}  // namespace lanes_8__avx2

}  // namespace bnn
