// Windows channel by channel, in vectors of BNN_LANES channels, for files that are compiled for one
// ISA: depthwise convolution, maximum, mean.
//
// Up to 4 pixels share the loads of the weights. The channels beyond the last whole vector are read
// one by one: behind the last pixel memory may end.
#pragma once

#include <limits>

#include "conv2d/tile.h"

namespace bnn {
namespace {

constexpr std::size_t kLanes = BNN_LANES;

typedef float Floats __attribute__((vector_size(4 * BNN_LANES)));

inline Floats load(const float* from) {
  Floats v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}

inline void store(float* to, Floats v) { __builtin_memcpy(to, &v, sizeof(v)); }

struct Whole {
  Floats operator()(const float* from) const { return load(from); }
};

struct Some {
  std::size_t count;
  Floats operator()(const float* from) const {
    float copy[kLanes] = {};
    for (std::size_t i = 0; i < count; ++i) copy[i] = from[i];
    return load(copy);
  }
};

// Defined by each file: a * b + sum, fused where the ISA has it.
inline Floats multiply_add(Floats a, Floats b, Floats sum);

// Defined by each file: x where x > most, most where it is not, NaN where one of them is.
inline Floats larger(Floats x, Floats most);

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
  Floats sums[M][V];
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < V; ++v) sums[m][v] = Window::kStart - Floats{};
  }
  const std::size_t width = lane_width(t.n);
  for (std::size_t i = 0; i < t.run_count; ++i) {
    const float* x = t.x + t.runs[i].offset + c;
    const float* weight = Window::kWeighted ? t.panel + t.runs[i].row * width + c : x;
    for (int m = 0; m < M; ++m, x += t.step) {
      for (int v = 0; v < V; ++v) {
        sums[m][v] = Window::add(sums[m][v], read(x + v * kLanes), weight + v * kLanes);
      }
    }
  }
  for (int m = 0; m < M; ++m) {
    const float divisor = t.divisors == nullptr ? 1 : t.divisors[m];
    for (int v = 0; v < V; ++v) {
      store(t.out + m * t.stride + c + v * kLanes, Window::end(sums[m][v], divisor));
    }
  }
}

template <typename Window, int M>
void pixels(const FloatTile& t) {
  std::size_t c = 0;
  for (; c + 4 * kLanes <= t.n; c += 4 * kLanes) block<Window, M, 4>(t, c, Whole());
  for (; c + kLanes <= t.n; c += kLanes) block<Window, M, 1>(t, c, Whole());
  if (c < t.n) block<Window, M, 1>(t, c, Some{t.n - c});
}

template <typename Window>
inline void run_tile(const FloatTile& t) {
  switch (t.m) {
    case 1:
      return pixels<Window, 1>(t);
    case 2:
      return pixels<Window, 2>(t);
    case 3:
      return pixels<Window, 3>(t);
    default:
      return pixels<Window, 4>(t);
  }
}

}  // namespace
}  // namespace bnn
