// Depthwise convolution: every filter sees one channel, so a word is 64 filters' work.
//
// Bits are counted in bit-sliced form: plane j holds bit j of 64 counters, one for each channel. A
// tap is added by a ripple of AND and XOR, 64 channels at once; the planes are spread into integers
// at the end. For files that are compiled for one ISA: the compiler vectorises spread().
//
// Panel: [tap][words(channels)], bit c of a tap's words is filter c's.
#include "bconv2d/depthwise_kernel.h"

namespace bnn {
namespace {

constexpr int kPlanes = 16;  // up to 65,535 taps; checked by the caller

inline void spread(const word_t* planes, int count, std::int32_t* out) {
  for (int half = 0; half < 2; ++half) {
    std::int32_t sums[32] = {};
    for (int j = 0; j < count; ++j) {
      const std::uint32_t bits = static_cast<std::uint32_t>(planes[j] >> (32 * half));
      for (int c = 0; c < 32; ++c) sums[c] += static_cast<std::int32_t>((bits >> c & 1u) << j);
    }
    __builtin_memcpy(out + 32 * half, sums, sizeof(sums));
  }
}

inline void depthwise_tile(const TileArgs& args) {
  const std::size_t row_words = args.shape.tap_words;
  const word_t* panel = static_cast<const word_t*>(args.panel);
  for (std::size_t m = 0; m < args.m; ++m) {
    for (std::size_t w = 0; w < row_words; ++w) {
      word_t planes[kPlanes] = {};
      int used = 0;
      for (std::size_t r = 0; r < args.run_count; ++r) {
        const Run& run = args.runs[r];
        word_t carry = args.rows[m][run.offset + w] ^ panel[run.k + w];
        for (int j = 0; j < used; ++j) {
          const word_t next = planes[j] & carry;
          planes[j] ^= carry;
          carry = next;
        }
        // Counters of `used` planes hold up to r + 1 only while r + 1 < 2^used.
        if ((r + 1) >> used != 0) planes[used++] = carry;
      }
      spread(planes, used, args.popcounts + m * args.stride + w * kWordBits);
    }
  }
}

}  // namespace
}  // namespace bnn
