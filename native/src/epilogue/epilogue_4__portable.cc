// The epilogue in vectors of 4 floats, portable vectors. The steps: vector.h.
#define BNN_LANES 4
#include "epilogue/vector.h"

namespace bnn {
namespace {

inline word_t negative(Floats v) {
  word_t bits = 0;
  for (int i = 0; i < BNN_LANES; ++i) bits |= static_cast<word_t>(v[i] < 0) << i;
  return bits;
}

inline word_t greater(Ints v, Ints limit) {
  const Ints bits = (v > limit) & Ints{1, 2, 4, 8};
  return static_cast<word_t>(bits[0] | bits[1] | bits[2] | bits[3]);
}

// A call for each value where the architecture has no such instruction, which only old x86 lacks.
inline Floats fused(Floats v, Floats scale, Floats shift) {
  for (int i = 0; i < BNN_LANES; ++i) v[i] = __builtin_fmaf(v[i], scale[i], shift[i]);
  return v;
}

}  // namespace

namespace epilogue_4__portable {

void run(const EpilogueTile& tile) { run_tile(tile); }

}  // namespace epilogue_4__portable

}  // namespace bnn
