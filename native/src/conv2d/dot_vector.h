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

// How a tile's runs are: of several floats, of one, or of a pair for two groups (FloatTile::pairs).
enum class Walk { kRuns, kUnits, kPairs };

#if BNN_LANES == 16

inline Floats pair_of(const float* x) {
  double pair;
  __builtin_memcpy(&pair, x, sizeof(pair));
  return _mm512_castpd_ps(_mm512_set1_pd(pair));
}

// Sums of two groups' filters by turns, as those of one group and then of the other.
template <int M>
[[gnu::always_inline]] inline void part_groups(Floats* sums) {
  const __m512i from = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
  for_each<M>(sums, [from](Floats sum, std::size_t) BNN_INLINE {
    return static_cast<Floats>(_mm512_maskz_permutexvar_ps(0xffff, from, sum));
  });
}

#endif

template <Walk kWalk>
[[gnu::always_inline]] inline Floats value_at(const float* x) {
#if BNN_LANES == 16
  if constexpr (kWalk == Walk::kPairs) return pair_of(x);
#endif
  return *x - Floats{};  // - 0, not + 0, changes nothing
}

// x addresses of up to three pixels are one register plus a scaled index.
template <int M, int V, Walk kWalk>
[[gnu::always_inline]] inline void step_of(const float* const* x, std::size_t step,
                                           const float* panel, Floats* sums) {
  for_each<M * V>(sums, [=](Floats sum, std::size_t i) BNN_INLINE {
    const std::size_t m = i / V, v = i % V;
    const Floats value = value_at<kWalk>(x[m / 3] + m % 3 * step);
    return multiply_add(value, load(panel + v * kLanes), sum);
  });
}

// `bases` are the addresses of every third pixel.
template <int M, int V, Walk kWalk>
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
    if (kWalk != Walk::kRuns) {
      step_of<M, V, kWalk>(x, step, panel, sums);
      continue;
    }
    for (std::size_t k = run->count; k != 0; --k) {
      step_of<M, V, kWalk>(x, step, panel, sums);
      for_each<kBases>(x, [](const float* at, std::size_t) BNN_INLINE { return at + 1; });
      panel += panel_step;
    }
  }
}

template <int M, int V, Walk kWalk>
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
    sum_up<M, V, kWalk>(t, bases, sums);
#if BNN_LANES == 16
    if constexpr (kWalk == Walk::kPairs) part_groups<M>(sums);
#endif
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
#if BNN_LANES == 16
  if constexpr (V == 1) {
    if (t.pairs) return tile_of<M, V, Walk::kPairs>(t);
  }
#endif
  t.units ? tile_of<M, V, Walk::kUnits>(t) : tile_of<M, V, Walk::kRuns>(t);
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
