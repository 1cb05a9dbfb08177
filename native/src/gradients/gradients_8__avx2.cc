// gradient kernels in vectors of 8, AVX2. How: vector.h.
#define BNN_KERNEL gradients_8__avx2
#define BNN_LANES 8
#include <immintrin.h>

#include "gradients/vector.h"

namespace bnn {
namespace {

inline word_t lane_bits(Ints mask) {
  return static_cast<word_t>(_mm256_movemask_ps(as<__m256>(mask)));
}

}  // namespace

}  // namespace bnn
