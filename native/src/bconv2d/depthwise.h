// Depthwise convolution: every filter sees one channel, so a word is 64 filters' work.
//
// Bits are counted in bit-sliced form: plane j holds bit j of 64 counters, one for each channel.
// Taps are added two at a time by a full adder, whose carry ripples through the planes; BNN_LANES
// words at once, as a vector. The planes are spread into integers at the end. For files that are
// compiled for one ISA, and define how that is done there.
//
// Panel: [tap][words(channels)], bit c of a tap's words is filter c's.
#include "bconv2d/depthwise_kernel.h"

namespace bnn {
namespace {

typedef word_t Words __attribute__((vector_size(8 * BNN_LANES)));

// Defined by each file: out[c] = the number whose bits are bit c of `planes`, which lie `step`
// words apart. There are at most 8.
template <int Planes>
inline void spread(const word_t* planes, std::size_t step, std::int32_t* out);

// The same of any number of planes.
template <int Planes>
inline void spread_many(const word_t* planes, std::size_t step, std::int32_t* out) {
  for (std::size_t c = 0; c < kWordBits; ++c) {
    std::uint32_t sum = 0;
    for (int j = 0; j < Planes; ++j) {
      sum |= static_cast<std::uint32_t>(planes[j * step] >> c & 1) << j;
    }
    out[c] = static_cast<std::int32_t>(sum);
  }
}

// Planes of counters that reach 2^Planes - 1, of a word or of a vector of them.
template <typename Word, int Planes>
struct Counters {
  Word planes[Planes] = {};

  inline __attribute__((always_inline)) void carry_from(int first, Word carry) {
#pragma GCC unroll 8
    for (int j = first; j < Planes; ++j) {
      const Word next = planes[j] & carry;
      planes[j] ^= carry;
      carry = next;
    }
  }
  inline __attribute__((always_inline)) void add(Word a) { carry_from(0, a); }
  inline __attribute__((always_inline)) void add(Word a, Word b) {
    const Word different = a ^ b;
    const Word carry = (a & b) | (planes[0] & different);
    planes[0] ^= different;
    carry_from(1, carry);
  }
};

template <typename Word>
inline Word load(const word_t* from) {
  Word word;
  __builtin_memcpy(&word, from, sizeof(word));
  return word;
}

// The channels of as many words as Word holds, from word w on.
template <typename Word, int Planes>
inline void count(const TileArgs& args, const word_t* row, std::size_t w, std::int32_t* out) {
  const word_t* panel = static_cast<const word_t*>(args.panel);
  const auto tap = [&](const Run& run) {
    return load<Word>(row + run.offset + w) ^ load<Word>(panel + run.k + w);
  };
  Counters<Word, Planes> counters;
  const Run* run = args.runs;
  const Run* const end = run + args.run_count;
  for (; end - run >= 2; run += 2) counters.add(tap(run[0]), tap(run[1]));
  if (run != end) counters.add(tap(*run));
  constexpr std::size_t step = sizeof(Word) / sizeof(word_t);
  word_t planes[Planes * step];
  __builtin_memcpy(planes, counters.planes, sizeof(planes));
  for (std::size_t i = 0; i < step; ++i) {
    if constexpr (Planes <= 8) {
      spread<Planes>(planes + i, step, out + (w + i) * kWordBits);
    } else {
      spread_many<Planes>(planes + i, step, out + (w + i) * kWordBits);
    }
  }
}

template <int Planes>
void depthwise_rows(const TileArgs& args) {
  const std::size_t words = args.shape.tap_words;
  for (std::size_t m = 0; m < args.m; ++m) {
    std::int32_t* out = args.popcounts + m * args.stride;
    std::size_t w = 0;
    for (; w + BNN_LANES <= words; w += BNN_LANES) count<Words, Planes>(args, args.rows[m], w, out);
    for (; w < words; ++w) count<word_t, Planes>(args, args.rows[m], w, out);
  }
}

inline void depthwise_tile(const TileArgs& args) {
  if (args.run_count <= 15) return depthwise_rows<4>(args);  // 3x3
  if (args.run_count <= 255) return depthwise_rows<8>(args);
  depthwise_rows<31>(args);  // counts are int32
}

}  // namespace
}  // namespace bnn
