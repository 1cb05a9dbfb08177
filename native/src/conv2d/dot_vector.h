// Products of a tile of pixels with a block of filters, in vectors of BNN_LANES filters, for files
// that are compiled for one ISA.
//
// Sums of M pixels and V vectors of filters stay in registers. Each step loads V vectors of the
// panel and broadcasts M floats of x. Everything is in an unnamed namespace: no other file may get
// code compiled with this one's flags.
#pragma once

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

// Defined by each file: a * b + sum, fused where the ISA has it.
inline Floats multiply_add(Floats a, Floats b, Floats sum);

// Defined by each file: 0 where v < 0, else v.
inline Floats relu(Floats v);

// Defined by each file: the most pixels that V vectors of sums leave registers for.
constexpr std::size_t most_pixels(std::size_t vectors);

// x addresses of up to three pixels are one register plus a scaled index.
template <int M, int V>
inline void step_of(const float* const* x, std::size_t step, const float* panel,
                    Floats (*sums)[V]) {
  Floats weights[V];
  for (int v = 0; v < V; ++v) weights[v] = load(panel + v * kLanes);
  for (int m = 0; m < M; ++m) {
    const Floats value = x[m / 3][m % 3 * step] - Floats{};  // - 0, not + 0, changes nothing
    for (int v = 0; v < V; ++v) sums[m][v] = multiply_add(value, weights[v], sums[m][v]);
  }
}

// kUnits: every run is of one float.
template <int M, int V, bool kUnits>
void tile_of(const FloatTile& t) {
  constexpr int kBases = (M + 2) / 3;
  constexpr std::size_t kWidth = V * kLanes;
  Floats sums[M][V];
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < V; ++v) sums[m][v] = Floats{};
  }
  const std::size_t step = t.step, panel_step = t.row_step * kWidth;
  const float* bases[kBases];
  bases[0] = t.x;  // sums, not products: a loop of products is made one of slow vectors
  for (int b = 1; b < kBases; ++b) bases[b] = bases[b - 1] + (step + 2 * step);
  const FloatRun* const end = t.runs + t.run_count;
  for (const FloatRun* run = t.runs; run != end; ++run) {
    const float* x[kBases];
    for (int b = 0; b < kBases; ++b) x[b] = bases[b] + run->offset;
    const float* panel = t.panel + run->row * kWidth;
    if (kUnits) {
      step_of<M, V>(x, step, panel, sums);
      continue;
    }
    for (std::size_t k = run->count; k != 0; --k) {
      step_of<M, V>(x, step, panel, sums);
      for (int b = 0; b < kBases; ++b) ++x[b];
      panel += panel_step;
    }
  }
  if (t.bias != nullptr) {
    for (int v = 0; v < V; ++v) {
      const Floats bias = load(t.bias + v * kLanes);
      for (int m = 0; m < M; ++m) sums[m][v] += bias;
    }
  }
  if (t.relu) {
    for (int m = 0; m < M; ++m) {
      for (int v = 0; v < V; ++v) sums[m][v] = relu(sums[m][v]);
    }
  }
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < V; ++v) store(t.out + m * t.stride + v * kLanes, sums[m][v]);
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
