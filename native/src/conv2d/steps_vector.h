// What follows the sums of a tile, in vectors of BNN_LANES channels, for files that are compiled
// for one ISA: the steps of bnn/epilogue.h that FloatSteps has, rounded as there.
//
// The sums of M pixels and V vectors of channels are an array: sums[m * V + v].
#pragma once

#include "conv2d/floats.h"
#include "conv2d/tile.h"
#include "conv2d/unrolled.h"

namespace bnn {
namespace {

inline Floats prelu(Floats v, Floats slope) { return v < Floats{} ? v * slope : v; }

// Adds a row to each pixel's sums.
template <int M, int V>
[[gnu::always_inline]] inline void add_rows(const float* rows, std::size_t stride, Floats* sums) {
  for_each<M * V>(sums, [=](Floats sum, std::size_t i) BNN_INLINE {
    return sum + load(rows + i / V * stride + i % V * kLanes);
  });
}

template <int M, int V>
[[gnu::always_inline]] inline void store_rows(Floats* sums, float* rows, std::size_t stride) {
  for_each<M * V>(sums, [=](Floats sum, std::size_t i) BNN_INLINE {
    store(rows + i / V * stride + i % V * kLanes, sum);
    return sum;
  });
}

template <int M, int V>
[[gnu::always_inline]] inline void activate(bool is_relu, const float* slope, Floats* sums) {
  if (is_relu) {
    for_each<M * V>(sums, [](Floats sum, std::size_t) BNN_INLINE { return relu(sum); });
  } else if (slope != nullptr) {
    for_each<M * V>(sums, [=](Floats sum, std::size_t i)
                              BNN_INLINE { return prelu(sum, load(slope + i % V * kLanes)); });
  }
}

#if BNN_LANES == 16  // which has negative()

// What the bits are the signs of.
template <int M, int V>
[[gnu::always_inline]] inline void bit_affine(const float* scale, const float* shift,
                                              Floats* sums) {
  if (scale != nullptr && shift != nullptr) {
    for_each<M * V>(sums, [=](Floats sum, std::size_t i) BNN_INLINE {
      return multiply_add(sum, load(scale + i % V * kLanes), load(shift + i % V * kLanes));
    });
  } else if (scale != nullptr) {
    for_each<M * V>(sums, [=](Floats sum, std::size_t i)
                              BNN_INLINE { return sum * load(scale + i % V * kLanes); });
  } else if (shift != nullptr) {
    add_rows<M, V>(shift, 0, sums);
  }
}

template <int V, int kFirst = 0>
[[gnu::always_inline]] inline word_t bits_of(const Floats* values) {
  if constexpr (kFirst == V) {
    return 0;
  } else {
    return negative(values[kFirst]) << (kFirst * kLanes) | bits_of<V, kFirst + 1>(values);
  }
}

template <int M, int V, int kFirst = 0>
[[gnu::always_inline]] inline void store_bits(const Floats* sums, word_t* to, std::size_t stride) {
  if constexpr (kFirst < M) {
    *to = bits_of<V>(sums + kFirst * V);
    store_bits<M, V, kFirst + 1>(sums, to + stride, stride);
  }
}

#endif

#if BNN_LANES == 16

// finish() of fewer channels than a vector has, without bits.
template <int M>
inline void finish_few(const FloatSteps& s, std::size_t pixel, Floats* sums) {
  const std::size_t n = s.channels, at = pixel * n;
  const auto add = [=](const float* rows, std::size_t stride) BNN_INLINE {
    for_each<M>(sums, [=](Floats sum, std::size_t i)
                          BNN_INLINE { return sum + load_some(rows + i * stride, n); });
  };
  if (s.bias != nullptr) add(s.bias, 0);
  if (s.residual_before != nullptr) add(s.residual_before + at, n);
  float slope[kLanes] = {};
  if (s.slope != nullptr) store(slope, load_some(s.slope, n));
  activate<M, 1>(s.relu, s.slope == nullptr ? nullptr : slope, sums);
  if (s.residual_after != nullptr) add(s.residual_after + at, n);
  for_each<M>(sums, [=](Floats sum, std::size_t i) BNN_INLINE {
    store_some(s.out + at + i * n, n, sum);
    return sum;
  });
}

#endif

// The steps from sums to the outputs of the pixels from `pixel` on, of the channels from c on.
template <int M, int V>
[[gnu::always_inline]] inline void finish(const FloatSteps& s, std::size_t pixel, std::size_t c,
                                          Floats* sums) {
#if BNN_LANES == 16
  if constexpr (V == 1) {
    if (s.few) return finish_few<M>(s, pixel, sums);
  }
#endif
  const std::size_t at = pixel * s.channels + c;
  if (s.bias != nullptr) add_rows<M, V>(s.bias + c, 0, sums);
  if (s.residual_before != nullptr) add_rows<M, V>(s.residual_before + at, s.channels, sums);
  activate<M, V>(s.relu, s.slope == nullptr ? nullptr : s.slope + c, sums);
  if (s.residual_after != nullptr) add_rows<M, V>(s.residual_after + at, s.channels, sums);
  if (s.out != nullptr) store_rows<M, V>(sums, s.out + at, s.channels);
#if BNN_LANES == 16
  if (s.bits == nullptr) return;
  bit_affine<M, V>(s.bit_scale == nullptr ? nullptr : s.bit_scale + c,
                   s.bit_shift == nullptr ? nullptr : s.bit_shift + c, sums);
  const std::size_t stride = words(s.channels);
  store_bits<M, V>(sums, s.bits + pixel * stride + c / kWordBits, stride);
#endif
}

}  // namespace
}  // namespace bnn
