// The epilogue in vectors of 16 floats, AVX-512. The steps: vector.h.
#define BNN_LANES 16
#include <immintrin.h>

#include "epilogue/vector.h"

namespace bnn {
namespace {

inline word_t negative(Floats v) { return _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ); }

inline word_t greater(Ints v, Ints limit) {
  return _mm512_cmpgt_epi32_mask(reinterpret_cast<__m512i>(v), reinterpret_cast<__m512i>(limit));
}

inline Floats fused(Floats v, Floats scale, Floats shift) {
  return _mm512_fmadd_ps(v, scale, shift);
}

}  // namespace

namespace epilogue_16__avx512vpopcntdq {

void run(const EpilogueTile& tile) { run_tile(tile); }

}  // namespace epilogue_16__avx512vpopcntdq

}  // namespace bnn
