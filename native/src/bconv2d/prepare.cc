// Copies of the input, in bits, that make padding with +-1 and unaligned groups ordinary.
#include <algorithm>
#include <cstring>

#include "bconv2d/convolution.h"
#include "bnn/threads.h"

namespace bnn {

namespace {

constexpr std::size_t kGrain = 1 << 14;  // words: about 10 us of copying

std::size_t rows_grain(std::size_t row_words) {
  return std::max<std::size_t>(kGrain / std::max<std::size_t>(row_words, 1), 1);
}

// Lets the convolution read, from now on, what the caller writes to the memory returned: `count`
// words, or null if only the sizes are asked for.
word_t* take(Convolution& conv, std::size_t count) {
  word_t* own = conv.room == nullptr ? nullptr : conv.room + conv.room_words;
  conv.room_words += count;
  conv.x = own;
  return own;
}

// The image with a border of +1 (bits 0) or -1 (bits 1, pad bits still 0).
void pad(Convolution& conv) {
  ConvShape& s = conv.shape;
  const std::size_t height = s.height + s.pad_top + s.pad_bottom;
  const std::size_t width = s.width + s.pad_left + s.pad_right;
  const std::size_t pixel = conv.pixel_words;
  const word_t* x = conv.x;
  word_t* out = take(conv, s.batch * height * width * pixel);
  const bool ones = s.pad_value < 0;
  const std::size_t rows = out == nullptr ? 0 : s.batch * height;
  parallel_for(rows, rows_grain(width * pixel), [&](std::size_t from, std::size_t to) {
    for (std::size_t row = from; row < to; ++row) {
      const std::size_t y = row % height;
      const bool inside = y >= s.pad_top && y < s.pad_top + s.height;
      word_t* line = out + row * width * pixel;
      const auto border = [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin * pixel; i < end * pixel; ++i) {
          line[i] = ones ? valid_bits(s.channels, i % pixel) : 0;
        }
      };
      if (!inside) {
        border(0, width);
        continue;
      }
      border(0, s.pad_left);
      const std::size_t source = (row / height * s.height + y - s.pad_top) * s.width;
      std::memcpy(line + s.pad_left * pixel, x + source * pixel, s.width * pixel * sizeof(word_t));
      border(s.pad_left + s.width, width);
    }
  });
  s.height = height;
  s.width = width;
  s.pad_top = s.pad_bottom = s.pad_left = s.pad_right = 0;
}

// Bits [first, first + count) of a row of words, as words whose pad bits are 0.
void copy_bits(const word_t* row, std::size_t row_words, std::size_t first, std::size_t count,
               word_t* out) {
  const std::size_t shift = first % kWordBits;
  for (std::size_t w = 0; w < words(count); ++w) {
    const std::size_t at = first / kWordBits + w;
    word_t bits = row[at] >> shift;
    if (shift != 0 && at + 1 < row_words) bits |= row[at + 1] << (kWordBits - shift);
    out[w] = bits & valid_bits(count, w);
  }
}

// Each group's channels moved to words of their own.
void align_groups(Convolution& conv) {
  const ConvShape& s = conv.shape;
  const std::size_t pixel = s.groups * conv.group_words;
  const std::size_t pixels = s.batch * s.height * s.width;
  const word_t* x = conv.x;
  word_t* out = take(conv, pixels * pixel);
  parallel_for(out == nullptr ? 0 : pixels, rows_grain(pixel),
               [&](std::size_t begin, std::size_t end) {
                 for (std::size_t p = begin; p < end; ++p) {
                   for (std::size_t g = 0; g < s.groups; ++g) {
                     copy_bits(x + p * conv.pixel_words, conv.pixel_words, g * s.group_channels(),
                               s.group_channels(), out + p * pixel + g * conv.group_words);
                   }
                 }
               });
  conv.pixel_words = pixel;
}

typedef std::uint32_t Halves __attribute__((vector_size(16)));

// a[0], b[0], a[1], b[1], and the same of the upper halves. GCC before 12 has no other name for it.
#if defined(__clang__)
Halves zip_low(Halves a, Halves b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
Halves zip_high(Halves a, Halves b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
#else
Halves zip_low(Halves a, Halves b) { return __builtin_shuffle(a, b, Halves{0, 4, 1, 5}); }
Halves zip_high(Halves a, Halves b) { return __builtin_shuffle(a, b, Halves{2, 6, 3, 7}); }
#endif

// Half words of x with their parities: RowForm::kHalvesWithParity. Two words at a time, as vectors
// that every architecture has.
void add_parity(Convolution& conv) {
  const ConvShape& s = conv.shape;
  const std::size_t count = s.batch * s.height * s.width * conv.pixel_words;
  const word_t* x = conv.x;
  word_t* out = take(conv, 2 * count);
  const auto halves = [x](std::size_t first) {
    Halves v;
    std::memcpy(&v, reinterpret_cast<const char*>(x) + first * sizeof(std::uint32_t), sizeof(v));
    return v;
  };
  parallel_for(out == nullptr ? 0 : count, kGrain, [&](std::size_t begin, std::size_t end) {
    std::size_t i = begin;
    for (; i + 2 <= end && i + 3 <= count; i += 2) {
      const Halves half = halves(2 * i);
      const Halves parity = half ^ halves(2 * i + 1) ^ halves(2 * i + 2);
      const Halves pairs[2] = {zip_low(half, parity), zip_high(half, parity)};
      std::memcpy(out + 2 * i, pairs, sizeof(pairs));
    }
    for (; i < end; ++i) {
      const word_t next = i + 1 < count ? x[i + 1] : 0;
      const word_t low = x[i] & 0xffffffff, high = x[i] >> 32;
      out[2 * i] = low | (low ^ high ^ next) << 32;
      out[2 * i + 1] = high | (high ^ next ^ next >> 32) << 32;
    }
  });
  conv.pixel_words *= 2;
  conv.group_words *= 2;
}

}  // namespace

bool is_depthwise(const ConvShape& shape) {
  return shape.groups == shape.channels && shape.groups == shape.out_channels && shape.groups > 1;
}

Convolution prepare(const ConvShape& shape, RowForm rows, const word_t* x, word_t* room) {
  Convolution conv{shape, x, words(shape.channels), words(shape.group_channels()), room, 0};
  if (shape.pad_value != 0 &&
      (shape.pad_top | shape.pad_bottom | shape.pad_left | shape.pad_right) != 0) {
    pad(conv);
  }
  conv.shape.pad_value = 0;
  if (is_depthwise(shape)) {
    conv.group_words = conv.pixel_words;  // its kernel takes all channels at once
  } else if (shape.groups > 1 && shape.group_channels() % kWordBits != 0) {
    align_groups(conv);
  }
  if (rows == RowForm::kHalvesWithParity) add_parity(conv);
  return conv;
}

}  // namespace bnn
