// Products of a tile of pixels with a block of filters, in vectors of BNN_LANES filters, for files
// that are compiled for one ISA.
//
// Sums of M pixels and V vectors of filters stay in registers. Each step loads V vectors of the
// panel and broadcasts M floats of x. Everything is in an unnamed namespace: no other file may get
// code compiled with this one's flags.
#pragma once

#include "conv2d/steps_vector.h"

namespace bnn {
namespace {

// Defined by each file: the most pixels that V vectors of sums leave registers for.
constexpr std::size_t most_pixels(std::size_t vectors);

// x addresses of up to three pixels are one register plus a scaled index.
template <int M, int V>
[[gnu::always_inline]] inline void step_of(const float* const* x, std::size_t step,
                                           const float* panel, Floats* sums) {
  for_each<M * V>(sums, [=](Floats sum, std::size_t i) BNN_INLINE {
    const std::size_t m = i / V, v = i % V;
    const Floats value = x[m / 3][m % 3 * step] - Floats{};  // - 0, not + 0, changes nothing
    return multiply_add(value, load(panel + v * kLanes), sum);
  });
}

// `bases` are the addresses of every third pixel.
template <int M, int V, bool kUnits>
[[gnu::always_inline]] inline void sum_up(const FloatTile& t, const float* const* bases,
                                          Floats* sums) {
  constexpr int kBases = (M + 2) / 3;
  constexpr std::size_t kWidth = V * kLanes;
  for_each<M * V>(sums, [](Floats, std::size_t) BNN_INLINE { return Floats{}; });
  const std::size_t step = t.step, panel_step = t.row_step * kWidth;
  const FloatRun* const end = t.runs + t.run_count;
  for (const FloatRun* run = t.runs; run != end; ++run) {
    const std::ptrdiff_t offset = run->offset;
    const float* x[kBases];
    for_each<kBases>(x, [=](const float*, std::size_t b) BNN_INLINE { return bases[b] + offset; });
    const float* panel = t.panel + run->row * kWidth;
    if (kUnits) {
      step_of<M, V>(x, step, panel, sums);
      continue;
    }
    for (std::size_t k = run->count; k != 0; --k) {
      step_of<M, V>(x, step, panel, sums);
      for_each<kBases>(x, [](const float* at, std::size_t) BNN_INLINE { return at + 1; });
      panel += panel_step;
    }
  }
}

// kUnits: every run is of one float.
template <int M, int V, bool kUnits>
void tile_of(const FloatTile& t) {
  constexpr int kBases = (M + 2) / 3;
  const std::size_t step = t.step;
  const float* bases[kBases];
  const float* next = t.x;  // sums, not products: a loop of products is made one of slow vectors
  for (int b = 0; b < kBases; ++b, next += step + 2 * step) bases[b] = next;
  float* out = t.out;
  std::size_t pixel = t.first_pixel;
  for (std::size_t left = t.tiles; left != 0; --left) {
    Floats sums[M * V];
    sum_up<M, V, kUnits>(t, bases, sums);
    if (t.steps != nullptr) {
      finish<M, V>(*t.steps, pixel, t.first, sums);
    } else {
      store_rows<M, V>(sums, out, t.stride);
    }
    for_each<kBases>(bases, [=](const float* x, std::size_t) BNN_INLINE { return x + M * step; });
    out += M * t.stride;
    pixel += M;
  }
}

template <int M, int V>
void tile_of_up_to(const FloatTile& t) {
  if constexpr (M > 1) {
    if (t.m < M) return tile_of_up_to<M - 1, V>(t);
  }
  t.units ? tile_of<M, V, true>(t) : tile_of<M, V, false>(t);
}

constexpr std::size_t vectors_of(std::size_t n) { return (n + kLanes - 1) / kLanes; }

template <int V>
void run_tile(const FloatTile& t) {
  if constexpr (V > 1) {
    if (vectors_of(t.n) < V) return run_tile<V - 1>(t);
  }
  tile_of_up_to<most_pixels(V), V>(t);
}

}  // namespace
}  // namespace bnn
