// Unpacking in vectors of BNN_LANES elements: bit 0 is +1, bit 1 is -1.
#pragma once

#include "pack/elements.h"

namespace bnn {
namespace {

// The values of the lanes whose bit of `place` is set in `bits`, one bit a lane.
template <typename Type>
inline typename Type::Vector values(Ints bits, Ints place) {
  const Ints set = (bits & place) == place;
  const Ints value = (set & (Type::kPlus ^ Type::kMinus)) ^ (Ints{} + Type::kPlus);
  return __builtin_convertvector(value, typename Type::Vector);
}

template <typename Type>
inline void store_some(typename Type::Element* to, typename Type::Vector v, std::size_t count) {
  if (count >= kLanes) {
    __builtin_memcpy(to, &v, sizeof(v));
    return;
  }
  typename Type::Element copy[kLanes];
  __builtin_memcpy(copy, &v, sizeof(v));
  for (std::size_t i = 0; i < count; ++i) to[i] = copy[i];
}

inline Ints lane_bits() {
  Ints bits;
  for (std::size_t i = 0; i < kLanes; ++i) bits[i] = 1 << i;
  return bits;
}

template <typename Type>
struct UnpackRows {
  static void run(const UnpackArgs& args, std::size_t begin, std::size_t end) {
    typedef typename Type::Element Element;
    const std::size_t row_words = words(args.channels);
    const Ints lanes = lane_bits();
    Element* out = static_cast<Element*>(args.out) + begin * args.channels;
    const word_t* x = args.x + begin * row_words;
    for (std::size_t row = begin; row < end; ++row) {
      std::size_t left = args.channels;
      for (std::size_t w = 0; w < row_words; ++w) {
        const word_t word = *x++;
        const std::size_t count = left < kWordBits ? left : kWordBits;
        if (count == kWordBits) {
          for (std::size_t i = 0; i < kWordBits; i += kLanes) {
            const Ints bits = Ints{} + static_cast<std::int32_t>(word >> i);
            const auto v = values<Type>(bits, lanes);
            __builtin_memcpy(out + i, &v, sizeof(v));
          }
        } else {
          for (std::size_t i = 0; i < count; i += kLanes) {
            const Ints bits = Ints{} + static_cast<std::int32_t>(word >> i);
            store_some<Type>(out + i, values<Type>(bits, lanes), count - i);
          }
        }
        out += count;
        left -= count;
      }
    }
  }
};

template <typename Type>
struct UnpackPlanes {
  static void run(const UnpackArgs& args, std::size_t begin, std::size_t end) {
    typedef typename Type::Element Element;
    const std::size_t row_words = words(args.channels), pixels = args.pixels;
    const std::size_t blocks = (pixels + kBlockPixels - 1) / kBlockPixels;
    for (std::size_t item = begin; item < end; ++item) {
      const std::size_t w = item % row_words, block = item / row_words % blocks;
      const std::size_t image = item / row_words / blocks, p = block * kBlockPixels;
      const std::size_t count = pixels - p < kBlockPixels ? pixels - p : kBlockPixels;
      const word_t* x = args.x + (image * pixels + p) * row_words + w;
      std::uint32_t halves[2][kBlockPixels] = {};
      for (std::size_t i = 0; i < count; ++i) {
        halves[0][i] = static_cast<std::uint32_t>(x[i * row_words]);
        halves[1][i] = static_cast<std::uint32_t>(x[i * row_words] >> 32);
      }
      const std::size_t c = w * kWordBits, rest = args.channels - c;
      const std::size_t channels = rest < kWordBits ? rest : kWordBits;
      Element* out = static_cast<Element*>(args.out) + (image * args.channels + c) * pixels + p;
      for (std::size_t i = 0; i < channels; ++i, out += pixels) {
        const Ints place = Ints{} + static_cast<std::int32_t>(std::uint32_t{1} << i % 32);
        for (std::size_t q = 0; q < count; q += kLanes) {
          const Ints bits = load<Ints>(halves[i / 32] + q);
          store_some<Type>(out + q, values<Type>(bits, place), count - q);
        }
      }
    }
  }
};

}  // namespace
}  // namespace bnn
