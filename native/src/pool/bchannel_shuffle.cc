// Channel shuffle: channel c * groups + g of the result is channel g * (channels / groups) + c.
#include <algorithm>

#include "bnn/pool.h"
#include "bnn/threads.h"

namespace bnn {

namespace {

constexpr std::size_t kGrainWords = 4 << 10;

void shuffle_row(std::size_t channels, std::size_t groups, const word_t* x, word_t* out) {
  const std::size_t group_channels = channels / groups;
  std::size_t c = 0, g = 0;
  for (std::size_t w = 0; w < words(channels); ++w) {
    word_t word = 0;
    const std::size_t bits = std::min(channels - w * kWordBits, kWordBits);
    for (std::size_t i = 0; i < bits; ++i) {
      const std::size_t from = g * group_channels + c;
      word |= (x[from / kWordBits] >> from % kWordBits & 1) << i;
      if (++g == groups) {
        g = 0;
        ++c;
      }
    }
    out[w] = word;
  }
}

// The 32 bits from bit `first` on, of a row of row_words words; 0 beyond its end.
word_t bits_at(const word_t* x, std::size_t row_words, std::size_t first) {
  const std::size_t w = first / kWordBits, shift = first % kWordBits;
  word_t bits = x[w] >> shift;
  if (shift > 32 && w + 1 < row_words) bits |= x[w + 1] << (kWordBits - shift);
  return bits & 0xffffffff;
}

// Bit i goes to bit 2 * i.
word_t spread(word_t bits) {
  bits = (bits | bits << 16) & 0x0000ffff0000ffff;
  bits = (bits | bits << 8) & 0x00ff00ff00ff00ff;
  bits = (bits | bits << 4) & 0x0f0f0f0f0f0f0f0f;
  bits = (bits | bits << 2) & 0x3333333333333333;
  return (bits | bits << 1) & 0x5555555555555555;
}

// Two groups: their bits alternate.
void shuffle_row_2(std::size_t channels, const word_t* x, word_t* out) {
  const std::size_t row_words = words(channels);
  for (std::size_t w = 0; w < row_words; ++w) {
    const word_t even = bits_at(x, row_words, w * 32);
    const word_t odd = bits_at(x, row_words, channels / 2 + w * 32);
    out[w] = (spread(even) | spread(odd) << 1) & valid_bits(channels, w);
  }
}

}  // namespace

void bchannel_shuffle(std::size_t rows, std::size_t channels, std::size_t groups, const word_t* x,
                      word_t* out, Isa) {
  const std::size_t row_words = words(channels);
  if (row_words == 0) return;
  parallel_for(rows, kGrainWords / row_words + 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin * row_words; i < end * row_words; i += row_words) {
      if (groups == 2) {
        shuffle_row_2(channels, x + i, out + i);
      } else {
        shuffle_row(channels, groups, x + i, out + i);
      }
    }
  });
}

}  // namespace bnn
