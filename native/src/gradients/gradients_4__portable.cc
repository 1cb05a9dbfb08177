// gradient kernels in vectors of 4, portable vectors. How: vector.h.
#define BNN_LANES 4
#include "gradients/vector.h"

namespace bnn {
namespace {

inline word_t lane_bits(Ints mask) {
  std::int32_t bits = 0;
  for (std::size_t i = 0; i < kLanes; ++i) bits |= mask[i] & 1 << i;
  return static_cast<word_t>(bits);
}

}  // namespace

namespace gradients_4__portable {

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

}  // namespace gradients_4__portable

}  // namespace bnn
