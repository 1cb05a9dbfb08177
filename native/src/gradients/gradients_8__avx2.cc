// gradient kernels in vectors of 8, AVX2. How: vector.h.
#define BNN_LANES 8
#include <immintrin.h>

#include "gradients/vector.h"

namespace bnn {
namespace {

inline word_t lane_bits(Ints mask) {
  return static_cast<word_t>(_mm256_movemask_ps(as<__m256>(mask)));
}

}  // namespace

namespace gradients_8__avx2 {

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

}  // namespace gradients_8__avx2

}  // namespace bnn
