// Windows channel by channel, in vectors of BNN_LANES channels, for files that are compiled for one
// ISA: depthwise convolution, maximum, mean.
//
// Up to 4 pixels share the loads of the weights. The channels beyond the last whole vector are read
// by a mask or one by one: behind the last pixel memory may end.
#pragma once

#include <limits>

#include "conv2d/steps_vector.h"

namespace bnn {
namespace {

struct Whole {
  Floats operator()(const float* from) const { return load(from); }
};

struct Some {
  std::size_t count;
  Floats operator()(const float* from) const {
#if BNN_LANES == 16
    return load_some(from, count);
#else
    float copy[kLanes] = {};
    for (std::size_t i = 0; i < count; ++i) copy[i] = from[i];
    return load(copy);
#endif
  }
};

struct Depthwise {
  static constexpr float kStart = 0;
  static constexpr bool kWeighted = true;
  static Floats add(Floats sum, Floats x, const float* weight) {
    return multiply_add(x, load(weight), sum);
  }
  static Floats end(Floats sum, float) { return sum; }
};

struct Maximum {
  static constexpr float kStart = -std::numeric_limits<float>::infinity();
  static constexpr bool kWeighted = false;
  static Floats add(Floats most, Floats x, const float*) { return larger(x, most); }
  static Floats end(Floats most, float) { return most; }
};

struct Mean {
  static constexpr float kStart = 0;
  static constexpr bool kWeighted = false;
  static Floats add(Floats sum, Floats x, const float*) { return sum + x; }
  static Floats end(Floats sum, float divisor) { return sum / divisor; }
};

// M pixels of V vectors of channels from c on.
template <typename Window, int M, int V, typename Read>
inline void block(const FloatTile& t, std::size_t c, const Read& read) {
  Floats sums[M * V];
  for_each<M * V>(sums, [](Floats, std::size_t) BNN_INLINE { return Window::kStart - Floats{}; });
  const std::size_t width = lane_width(t.n), step = t.step;
  const FloatRun* const end = t.runs + t.run_count;
  for (const FloatRun* run = t.runs; run != end; ++run) {
    const float* x[M];
    x[0] = t.x + run->offset + c;
    for (int m = 1; m < M; ++m) x[m] = x[m - 1] + step;
    const float* weight = Window::kWeighted ? t.panel + run->row * width + c : x[0];
    for_each<M * V>(sums, [&x, weight, read](Floats sum, std::size_t i) BNN_INLINE {
      const std::size_t at = i % V * kLanes;
      return Window::add(sum, read(x[i / V] + at), weight + at);
    });
  }
  const float* const divisors = t.divisors;
  for_each<M * V>(sums, [=](Floats sum, std::size_t i) BNN_INLINE {
    return Window::end(sum, divisors == nullptr ? 1 : divisors[i / V]);
  });
  if (t.steps != nullptr) {
    finish<M, V>(*t.steps, t.first_pixel, c, sums);
  } else {
    store_rows<M, V>(sums, t.out + c, t.stride);
  }
}

template <typename Window, int M>
void pixels(const FloatTile& t) {
  std::size_t c = 0;
  for (; c + 4 * kLanes <= t.n; c += 4 * kLanes) block<Window, M, 4>(t, c, Whole());
  for (; c + kLanes <= t.n; c += kLanes) block<Window, M, 1>(t, c, Whole());
  if (c < t.n) block<Window, M, 1>(t, c, Some{t.n - c});
}

template <typename Window, int M>
void tiles(FloatTile t) {
  for (; t.tiles != 0; --t.tiles) {
    pixels<Window, M>(t);
    t.x += M * t.step;
    t.out += M * t.stride;
    t.first_pixel += M;
    if (t.divisors != nullptr) t.divisors += M;
  }
}

template <typename Window>
inline void run_tile(const FloatTile& t) {
  switch (t.m) {
    case 1:
      return tiles<Window, 1>(t);
    case 2:
      return tiles<Window, 2>(t);
    case 3:
      return tiles<Window, 3>(t);
    default:
      return tiles<Window, 4>(t);
  }
}

}  // namespace
}  // namespace bnn
