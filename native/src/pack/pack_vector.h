// Packing in vectors of BNN_LANES elements: bit = (x < 0), or (fma(x, scale, shift) < 0).
//
// A missing scale is 1 and a missing shift is 0, which changes no sign. An ordered comparison makes
// NaN and -0.0 bit 0.
//
// Tails: the vector at the end of a row or plane also reads what follows there, and drops it. What
// would be read beyond the whole tensor is copied and filled with zeros first.
#pragma once

#include "pack/elements.h"

namespace bnn {
namespace {

// Defined by each file: bit i = (value i < 0) of the values in the vectors at(0), at(1), ...
template <typename At>
inline word_t negative_word(const At& at, std::size_t vectors);

// Defined by each file: v * scale + shift, rounded once.
inline Floats fused(Floats v, Floats scale, Floats shift);

// The vector at x, of which only what lies before `end` is read.
template <typename Type>
inline Floats read_before(const typename Type::Element* x, const typename Type::Element* end) {
  if (static_cast<std::size_t>(end - x) >= kLanes) return Type::read(x);
  typename Type::Element copy[kLanes] = {};
  for (std::size_t i = 0; x + i < end; ++i) copy[i] = x[i];
  return Type::read(copy);
}

// Scale and shift of up to 64 channels, filled with zeros.
struct Affine {
  float scale[kWordBits], shift[kWordBits];

  void set(const PackArgs& args, std::size_t first, std::size_t count) {
    for (std::size_t i = 0; i < kWordBits; ++i) {
      const bool valid = i < count;
      scale[i] = !valid ? 0 : args.scale == nullptr ? 1 : args.scale[first + i];
      shift[i] = !valid || args.shift == nullptr ? 0 : args.shift[first + i];
    }
  }
};

template <typename Type, bool kAffine>
inline word_t full_word(const typename Type::Element* x, const float* scale, const float* shift) {
  return negative_word(
      [&](std::size_t i) {
        const Floats v = Type::read(x + i * kLanes);
        if (!kAffine) return v;
        return fused(v, load<Floats>(scale + i * kLanes), load<Floats>(shift + i * kLanes));
      },
      kWordBits / kLanes);
}

template <typename Type, bool kAffine>
void pack_rows_of(const PackArgs& args, std::size_t begin, std::size_t end) {
  typedef typename Type::Element Element;
  const Element* const x = static_cast<const Element*>(args.x);
  const Element* const limit = x + args.batch * args.pixels * args.channels;
  const std::size_t channels = args.channels;
  const std::size_t full = channels / kWordBits, tail = channels % kWordBits;
  // Without both a scale and a shift, the missing one is made for a word at a time.
  const bool both = args.scale != nullptr && args.shift != nullptr;
  Affine some, last;
  if (kAffine) last.set(args, full * kWordBits, tail);
  word_t* out = args.out + begin * words(channels);
  for (std::size_t row = begin; row < end; ++row) {
    const Element* from = x + row * channels;
    for (std::size_t w = 0; w < full; ++w, from += kWordBits) {
      const std::size_t c = w * kWordBits;
      if (kAffine && !both) some.set(args, c, kWordBits);
      *out++ = full_word<Type, kAffine>(from, both ? args.scale + c : some.scale,
                                        both ? args.shift + c : some.shift);
    }
    if (tail == 0) continue;
    const word_t word = negative_word(
        [&](std::size_t i) {
          const Floats v = read_before<Type>(from + i * kLanes, limit);
          if (!kAffine) return v;
          return fused(v, load<Floats>(last.scale + i * kLanes),
                       load<Floats>(last.shift + i * kLanes));
        },
        (tail + kLanes - 1) / kLanes);
    *out++ = word & valid_bits(tail, 0);
  }
}

// The hardware does not follow 64 streams. What comes from memory is asked for one block ahead,
// which doubles the speed; what is in a cache would become slower by it.
constexpr std::size_t kCacheBytes = 8 << 20;

// Packs kVectors vectors of pixels. x: channel 0 of the word, first pixel.
template <typename Type, bool kAffine, std::size_t kVectors>
inline void pack_pixels(const typename Type::Element* x, const typename Type::Element* limit,
                        std::size_t stride, std::size_t channels, const Affine& parameters,
                        bool prefetch, std::uint32_t (*halves)[kBlockPixels]) {
  for (std::size_t half = 0; half < 2; ++half) {
    Ints bits[kVectors] = {};
    const std::size_t first = half * 32;
    const std::size_t last = channels < first + 32 ? channels : first + 32;
    for (std::size_t c = first; c < last; ++c) {
      const typename Type::Element* from = x + c * stride;
      const Ints bit = Ints{} + static_cast<std::int32_t>(std::uint32_t{1} << (c - first));
      if (kVectors > 1 && prefetch) {
        constexpr std::size_t kLine = 64 / sizeof(*from);
        for (std::size_t i = 0; i < kVectors * kLanes; i += kLine) {
          __builtin_prefetch(from + kBlockPixels + i);
        }
      }
      for (std::size_t v = 0; v < kVectors; ++v) {
        // Several vectors are taken only where they end inside the plane.
        const typename Type::Element* place = from + v * kLanes;
        Floats value = kVectors > 1 ? Type::read(place) : read_before<Type>(place, limit);
        if (kAffine) {
          value = fused(value, Floats{} + parameters.scale[c], Floats{} + parameters.shift[c]);
        }
        bits[v] |= (value < Floats{}) & bit;
      }
    }
    __builtin_memcpy(halves[half], bits, sizeof(bits));
  }
}

template <typename Type, bool kAffine>
void pack_planes_of(const PackArgs& args, std::size_t begin, std::size_t end) {
  typedef typename Type::Element Element;
  // As many as registers hold.
  constexpr std::size_t kVectors = kBlockPixels / kLanes < 8 ? kBlockPixels / kLanes : 8;
  const std::size_t row_words = words(args.channels), pixels = args.pixels;
  const std::size_t blocks = (pixels + kBlockPixels - 1) / kBlockPixels;
  const Element* const x = static_cast<const Element*>(args.x);
  const Element* const limit = x + args.batch * pixels * args.channels;
  const bool prefetch = static_cast<std::size_t>(limit - x) * sizeof(Element) > kCacheBytes;
  Affine parameters;
  for (std::size_t item = begin; item < end; ++item) {
    const std::size_t w = item % row_words, block = item / row_words % blocks;
    const std::size_t image = item / row_words / blocks;
    const std::size_t c = w * kWordBits, rest = args.channels - c;
    const std::size_t channels = rest < kWordBits ? rest : kWordBits;
    if (kAffine) parameters.set(args, c, channels);
    const std::size_t stop =
        pixels - block * kBlockPixels < kBlockPixels ? pixels : (block + 1) * kBlockPixels;
    for (std::size_t p = block * kBlockPixels; p < stop;) {
      const Element* from = x + (image * args.channels + c) * pixels + p;
      std::uint32_t halves[2][kBlockPixels];
      std::size_t count = stop - p;
      if (count >= kVectors * kLanes) {
        count = kVectors * kLanes;
        pack_pixels<Type, kAffine, kVectors>(from, limit, pixels, channels, parameters, prefetch,
                                             halves);
      } else {
        count = count < kLanes ? count : kLanes;
        pack_pixels<Type, kAffine, 1>(from, limit, pixels, channels, parameters, prefetch, halves);
      }
      word_t* out = args.out + (image * pixels + p) * row_words + w;
      for (std::size_t i = 0; i < count; ++i) {
        out[i * row_words] = halves[0][i] | static_cast<word_t>(halves[1][i]) << 32;
      }
      p += count;
    }
  }
}

template <typename Type>
struct PackRows {
  static void run(const PackArgs& args, std::size_t begin, std::size_t end) {
    const bool plain = args.scale == nullptr && args.shift == nullptr;
    (plain ? pack_rows_of<Type, false> : pack_rows_of<Type, true>)(args, begin, end);
  }
};

template <typename Type>
struct PackPlanes {
  static void run(const PackArgs& args, std::size_t begin, std::size_t end) {
    const bool plain = args.scale == nullptr && args.shift == nullptr;
    (plain ? pack_planes_of<Type, false> : pack_planes_of<Type, true>)(args, begin, end);
  }
};

}  // namespace
}  // namespace bnn
