// gradient kernels in vectors of 16, AVX-512. How: vector.h.
#define BNN_KERNEL gradients_16__avx512vpopcntdq
#define BNN_LANES 16
#include <immintrin.h>

#include "gradients/vector.h"

namespace bnn {
namespace {

inline word_t lane_bits(Ints mask) { return _mm512_movepi32_mask(as<__m512i>(mask)); }

}  // namespace

}  // namespace bnn
