// Depthwise convolution, 64 channels at once. How: depthwise.h.
#define BNN_LANES 2
#include "bconv2d/depthwise.h"

namespace bnn {
namespace {

// Bit i of a byte as the lowest bit of byte i.
inline word_t bytes_of(word_t byte) {
  const word_t alone = byte * 0x0101010101010101 & 0x8040201008040201;
  return (alone + 0x7f7f7f7f7f7f7f7f) >> 7 & 0x0101010101010101;
}

template <int Planes>
inline void spread(const word_t* planes, std::size_t step, std::int32_t* out) {
  for (int c = 0; c < 64; c += 8) {
    word_t sums = 0;
    for (int j = 0; j < Planes; ++j) sums |= bytes_of(planes[j * step] >> c & 0xff) << j;
    for (int i = 0; i < 8; ++i) out[c + i] = static_cast<std::int32_t>(sums >> (8 * i) & 0xff);
  }
}

}  // namespace

namespace bdepthwise_64__portable {

void tile(const TileArgs& args) { depthwise_tile(args); }

}  // namespace bdepthwise_64__portable
}  // namespace bnn
