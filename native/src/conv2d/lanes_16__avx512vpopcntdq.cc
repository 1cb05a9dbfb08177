// Windows channel by channel, in vectors of 16, AVX-512. How: lanes_vector.h.
#define BNN_LANES 16
#include <immintrin.h>

#include "conv2d/lanes_vector.h"

namespace bnn {
namespace {

inline Floats multiply_add(Floats a, Floats b, Floats sum) { return _mm512_fmadd_ps(a, b, sum); }

// Where x is NaN, the maximum is its second operand, most, and then x is put there.
inline Floats larger(Floats x, Floats most) {
  constexpr int kFirstTwo = 0x11;  // of the table: quiet and signalling NaN: that of x
  const Floats maximum = _mm512_maskz_max_ps(0xffff, x, most);
  return _mm512_fixupimm_ps(maximum, x, _mm512_set1_epi32(kFirstTwo), 0);
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
