// gradient kernels in vectors of 16, AVX-512. How: vector.h.
#define BNN_LANES 16
#include <immintrin.h>

#include "gradients/vector.h"

namespace bnn {
namespace {

inline word_t lane_bits(Ints mask) { return _mm512_movepi32_mask(as<__m512i>(mask)); }

}  // namespace

namespace gradients_16__avx512vpopcntdq {

void clip(const float* x, std::size_t count, word_t* out, std::size_t begin, std::size_t end) {
  clip_words(x, count, out, begin, end);
}
void keep(float* x, std::size_t count, const word_t* bits, std::size_t begin, std::size_t end) {
  keep_words(x, count, bits, begin, end);
}
void signs(const SignedArgs& args, std::size_t begin, std::size_t end) {
  sign_rows(args, begin, end);
}
void latent(const LatentArgs& args, std::size_t begin, std::size_t end) {
  latent_rows(args, begin, end);
}
void prelu(const PReluArgs& args, std::size_t begin, std::size_t end) {
  prelu_parts(args, begin, end);
}

}  // namespace gradients_16__avx512vpopcntdq

}  // namespace bnn
