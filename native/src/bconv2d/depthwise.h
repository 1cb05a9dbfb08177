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

// The planes of 64 counters that reach 2^Planes - 1. Few planes stay in registers.
template <int Planes>
struct Counters {
  word_t planes[Planes] = {};

  inline __attribute__((always_inline)) void add(word_t carry) {
#pragma GCC unroll 4
    for (int j = 0; j < Planes; ++j) {
      const word_t next = planes[j] & carry;
      planes[j] ^= carry;
      carry = next;
    }
  }

  inline void spread(std::int32_t* out) const {
    for (int half = 0; half < 2; ++half) {
      std::uint32_t sums[32] = {};
#pragma GCC unroll 4
      for (int j = 0; j < Planes; ++j) {
        const std::uint32_t bits = static_cast<std::uint32_t>(planes[j] >> (32 * half));
        for (std::uint32_t c = 0; c < 32; ++c) sums[c] |= (bits >> c & 1u) << j;
      }
      __builtin_memcpy(out + 32 * half, sums, sizeof(sums));
    }
  }
};

template <int Planes>
void depthwise_rows(const TileArgs& args) {
  const word_t* panel = static_cast<const word_t*>(args.panel);
  for (std::size_t m = 0; m < args.m; ++m) {
    for (std::size_t w = 0; w < args.shape.tap_words; ++w) {
      Counters<Planes> counters;
      for (std::size_t r = 0; r < args.run_count; ++r) {
        const Run& run = args.runs[r];
        counters.add(args.rows[m][run.offset + w] ^ panel[run.k + w]);
      }
      counters.spread(args.popcounts + m * args.stride + w * kWordBits);
    }
  }
}

inline void depthwise_tile(const TileArgs& args) {
  if (args.run_count <= 15) return depthwise_rows<4>(args);  // 3x3
  if (args.run_count <= 255) return depthwise_rows<8>(args);
  depthwise_rows<31>(args);  // counts are int32
}

}  // namespace
}  // namespace bnn
