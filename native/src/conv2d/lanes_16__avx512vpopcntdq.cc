// Windows channel by channel, in vectors of 16, AVX-512. How: lanes_vector.h.
#define BNN_LANES 16
#include <immintrin.h>

#include "conv2d/lanes_vector.h"

namespace bnn {
namespace {

inline Floats multiply_add(Floats a, Floats b, Floats sum) { return _mm512_fmadd_ps(a, b, sum); }

inline Floats larger(Floats x, Floats most) {
  // Not (x <= most): larger, or one of them is NaN; then the one that is.
  const __mmask16 number = _mm512_cmp_ps_mask(most, most, _CMP_ORD_Q);
  return _mm512_mask_mov_ps(most, _mm512_mask_cmp_ps_mask(number, x, most, _CMP_NLE_UQ), x);
}

inline Floats relu(Floats v) { return _mm512_maskz_max_ps(0xffff, Floats{}, v); }

inline word_t negative(Floats v) { return _mm512_cmp_ps_mask(v, Floats{}, _CMP_LT_OQ); }

}  // namespace

namespace lanes_16__avx512vpopcntdq {

void depthwise(const FloatTile& tile) { run_tile<Depthwise>(tile); }
void maximum(const FloatTile& tile) { run_tile<Maximum>(tile); }
void mean(const FloatTile& tile) { run_tile<Mean>(tile); }

}  // namespace lanes_16__avx512vpopcntdq

}  // namespace bnn
