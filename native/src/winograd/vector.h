// Minimal filtering in vectors of BNN_LANES, for files that are compiled for one ISA. Everything is
// in an unnamed namespace: no other file may get code compiled with this one's flags.
#pragma once

#include <limits>

#include "conv2d/steps_vector.h"
#include "winograd/kernel.h"

namespace bnn {
namespace {

constexpr int kTile = Winograd::kTile, kPoints = Winograd::kPoints;
constexpr int kColumns = kWinogradColumns;

// Defined by each file: the elements of even index of a, then those of b; and those of odd index.
inline Floats evens(Floats a, Floats b);
inline Floats odds(Floats a, Floats b);

// Defined by each file: lanes [begin, end) of the vector at `from`, 0 in the others, which are not
// read. 0 <= begin < end <= kLanes.
inline Floats load_lanes(const float* from, std::size_t begin, std::size_t end);

// x[at, at + kLanes), 0 outside of [0, size).
inline Floats load_inside(const float* x, std::ptrdiff_t size, std::ptrdiff_t at) {
  constexpr std::ptrdiff_t kAll = kLanes;
  if (at >= 0 && size - at >= kAll) return load(x + at);
  if (at >= size || at + kAll <= 0) return Floats{};
  return load_lanes(x + at, at < 0 ? -at : 0, size - at < kAll ? size - at : kAll);
}

inline void run_split(const float* x, std::size_t size, std::size_t pad, std::size_t width,
                      float* out) {
  static_assert(kColumns == 8, "three rounds of halving");
  for (std::size_t t = 0; t < width; t += kLanes) {
    Floats all[8], half[8], quarter[8];
    for (int i = 0; i < 8; ++i) {
      const std::size_t at = kColumns * t + i * kLanes;
      all[i] = load_inside(x, static_cast<std::ptrdiff_t>(size),
                           static_cast<std::ptrdiff_t>(at) - static_cast<std::ptrdiff_t>(pad));
    }
    for (int i = 0; i < 4; ++i) {
      half[i] = evens(all[2 * i], all[2 * i + 1]);
      half[4 + i] = odds(all[2 * i], all[2 * i + 1]);
    }
    for (int odd = 0; odd < 2; ++odd) {
      for (int i = 0; i < 2; ++i) {
        const Floats a = half[4 * odd + 2 * i], b = half[4 * odd + 2 * i + 1];
        quarter[4 * odd + i] = evens(a, b);
        quarter[4 * odd + 2 + i] = odds(a, b);
      }
    }
    for (int odd = 0; odd < 2; ++odd) {
      for (int two = 0; two < 2; ++two) {
        const Floats a = quarter[4 * odd + 2 * two], b = quarter[4 * odd + 2 * two + 1];
        store(out + (odd + 2 * two) * width + t, evens(a, b));
        store(out + (odd + 2 * two + 4) * width + t, odds(a, b));
      }
    }
  }
}

inline Floats times(float a, Floats x, Floats sum) { return multiply_add(a - Floats{}, x, sum); }

// BT's row for infinity and 3 taps: x (x^2 - 1) (x + 2) (x - 1/2).
inline Floats at_infinity(const Floats* x) {
  return times(1.5f, x[4] - x[2], (x[5] - x[3]) - (x[3] - x[1]));
}

// BT of the 3 taps: from 6 inputs to the points 0, 1, -1, -2, 1/2 and infinity. The rows for 0, 1
// and -1 share (x + 2) (x - 1/2), those for -2 and 1/2 x (x^2 - 1).
inline void transform_odd(const Floats* x, Floats* y) {
  const Floats a = x[2] - x[0], b = x[3] - x[1], c = x[4] - x[2];
  const Floats d = times(1.5f, x[1], a), e = times(1.5f, x[2], b), f = times(1.5f, x[3], c);
  y[0] = f - d;
  y[1] = f + e;
  y[2] = f - e;
  y[3] = times(-0.5f, b, c);
  y[4] = times(2, b, c);
  y[5] = at_infinity(x);
}

// BT of the 4 taps, which have the point -1/2 besides: at the others it is that of 3 taps times
// x + 1/2, at -1/2 it is theirs for infinity.
inline void transform_even(const Floats* x, Floats* y) {
  Floats z[kPoints - 1], others[kPoints - 1];
  for (int k = 0; k < kPoints - 1; ++k) z[k] = times(0.5f, x[k], x[k + 1]);
  transform_odd(z, others);
  for (int k = 0; k < Winograd::kMissing; ++k) y[k] = others[k];
  y[Winograd::kMissing] = at_infinity(x);
  y[kPoints - 1] = others[kPoints - 2];
}

template <int kParity>
inline void transform_axis(const Floats* x, Floats* y) {
  kParity == 0 ? transform_even(x, y) : transform_odd(x, y);
}

// AT: from the points to the pixels.
inline void transform_back(const Floats* x, Floats* y) {
  const Floats one = x[1] + x[2], one_odd = x[1] - x[2];
  const Floats half = x[4] + x[5], half_odd = x[4] - x[5];
  y[0] = (x[0] + x[3]) + (one + half);
  y[1] = times(-2, x[3], times(0.5f, half_odd, one_odd));
  y[2] = times(4, x[3], times(0.25f, half, one));
  y[3] = times(-8, x[3], times(0.125f, half_odd, one_odd)) + x[6];
}

// Down the rows of one parity: `out` has a row of kColumns columns for each point.
template <int kParity>
void transform_rows(const float* const* rows, std::size_t width, float* out) {
  constexpr int kCount = Winograd::points(kParity);
  const std::size_t whole = kColumns * width;
  for (std::size_t at = 0; at < whole; at += kLanes) {
    Floats x[kCount], y[kCount];
    for (int r = 0; r < kCount; ++r) {
      const float* row = rows[2 * r + kParity];
      x[r] = row == nullptr ? Floats{} : load(row + at);
    }
    transform_axis<kParity>(x, y);
    for (int i = 0; i < kCount; ++i) store(out + i * whole + at, y[i]);
  }
}

// Along one of those rows: to the products' rows `out[j]`.
template <int kParity>
void transform_columns(const float* row, std::size_t width, float* const* out) {
  constexpr int kCount = Winograd::points(kParity);
  for (std::size_t t = 0; t + kLanes <= width; t += kLanes) {
    Floats x[kCount], y[kCount];
    for (int s = 0; s < kCount; ++s) {
      // The last vector lacks its neighbour's first tiles; what is missing belongs to no tile.
      const std::size_t from = t + s / kTile;
      x[s] = load(row + (2 * (s % kTile) + kParity) * width + from);
    }
    transform_axis<kParity>(x, y);
    for (int j = 0; j < kCount; ++j) store(out[j] + t, y[j]);
  }
}

// Of one channel: the rows of products before those of the points (i, j).
struct RowsBefore {
  std::size_t of[kPoints][kPoints] = {};

  constexpr RowsBefore() {
    std::size_t before = 0;
    for (int j = 0; j < kPoints; ++j) {
      for (int i = 0; i < kPoints; ++i) {
        of[i][j] = before;
        before += Winograd::parities(i) * Winograd::parities(j);
      }
    }
  }
};

constexpr RowsBefore kRowsBefore;

// Row i of the points, which come from the rows of one parity, along the columns of another.
template <int kRowParity, int kParity>
void transform_point_row(const WinogradRow& row, std::size_t c, int i, const float* from) {
  const int parities = Winograd::parities(i);
  float* out[Winograd::points(kParity)];
  for (int j = 0; j < Winograd::points(kParity); ++j) {
    const int point = Winograd::point(kParity, j), parities_j = Winograd::parities(point);
    const std::size_t before = kRowsBefore.of[i][point] * row.channels +
                               (c * parities + kRowParity) * parities_j + kParity;
    out[j] = row.transformed + before * row.width;
  }
  transform_columns<kParity>(from, row.width, out);
}

template <int kParity>
void transform_parity(const WinogradRow& row, std::size_t c) {
  transform_rows<kParity>(row.rows + c * kWinogradInputRows, row.width, row.memory);
  const float* from = row.memory;
  for (int i = 0; i < Winograd::points(kParity); ++i, from += kColumns * row.width) {
    transform_point_row<kParity, 0>(row, c, Winograd::point(kParity, i), from);
    transform_point_row<kParity, 1>(row, c, Winograd::point(kParity, i), from);
  }
}

inline void run_transform(const WinogradRow& row) {
  for (std::size_t c = 0; c < row.channels; ++c) {
    transform_parity<0>(row, c);
    transform_parity<1>(row, c);
  }
}

// The products of a point, kCount of each channel: M tiles and V vectors of filters.
template <int M, int V, int kCount>
[[gnu::always_inline]] inline void add_products(std::size_t channels, std::size_t width,
                                                const float*& x, const float*& panel, float* out) {
  Floats sums[M * V];
  for_each<M * V>(sums, [](Floats, std::size_t) BNN_INLINE { return Floats{}; });
  for (std::size_t c = channels; c != 0; --c) {
    for (int k = 0; k < kCount; ++k) {
      const float* const from = x;
      const float* const weights = panel;
      for_each<M * V>(sums, [=](Floats sum, std::size_t i) BNN_INLINE {
        return multiply_add(from[i / V] - Floats{}, load(weights + i % V * kLanes), sum);
      });
      panel += V * kLanes;
      x += width;
    }
  }
  store_rows<M * V, 1>(sums, out, kLanes);
}

// Column j of the points: products, then, for each tile and vector, back along the column. `lines`
// has a vector for each tile and vector of filters, output row and column of points.
template <int M, int V, int kParities>
[[gnu::always_inline]] inline void add_column(const WinogradTiles& t, const float*& x,
                                              const float*& panel, float* products, float* lines) {
  constexpr std::size_t kPoint = M * V * kLanes;
  for (int i = 0; i < Winograd::kMissing; ++i) {
    add_products<M, V, 2 * kParities>(t.channels, t.width, x, panel, products + i * kPoint);
  }
  add_products<M, V, kParities>(t.channels, t.width, x, panel,
                                products + Winograd::kMissing * kPoint);
  add_products<M, V, 2 * kParities>(t.channels, t.width, x, panel,
                                    products + (kPoints - 1) * kPoint);
  for (int i = 0; i < M * V; ++i) {
    Floats points[kPoints], pixels[kTile];
    for (int p = 0; p < kPoints; ++p) points[p] = load(products + p * kPoint + i * kLanes);
    transform_back(points, pixels);
    for (int a = 0; a < kTile; ++a) store(lines + (i * kTile + a) * kPoints * kLanes, pixels[a]);
  }
}

// The pixels of an output row, from the columns of points.
[[gnu::always_inline]] inline void line_back(const float* line, Floats* pixels) {
  Floats points[kPoints];
  for (int p = 0; p < kPoints; ++p) points[p] = load(line + p * kLanes);
  transform_back(points, pixels);
}

template <int M, int V>
inline void write_pixels(const WinogradTiles& t, const float* lines) {
  for (int i = 0; i < M * V; ++i) {
    const std::size_t pixel = i / V * kTile, channel = i % V * kLanes;
    for (int a = 0; a < kTile; ++a) {
      Floats pixels[kTile];
      line_back(lines + (i * kTile + a) * kPoints * kLanes, pixels);
      if (t.steps != nullptr) {
        finish<kTile, 1>(*t.steps, t.pixels[a] + pixel, t.first + channel, pixels);
      } else {
        store_rows<kTile, 1>(pixels, t.out[a] + pixel * t.stride + channel, t.stride);
      }
    }
  }
}

// For one tile and vector of filters, the maxima of two neighbouring windows along each of its
// rows: of the pixel to the left and the first two, and of the last three. kWhole: all pixels are
// inside.
template <bool kWhole>
[[gnu::always_inline]] inline void row_maxima(const float* line, std::size_t columns, bool is_row,
                                              float* left, Floats* maxima) {
  const Floats least = -std::numeric_limits<float>::infinity() - Floats{};
  Floats pixels[kTile];
  line_back(line, pixels);
  if (!kWhole) {
    if (columns < 2) pixels[1] = least;
    if (columns < 3) pixels[2] = least;
    if (columns < 4) pixels[3] = least;
  }
  const Floats inner = larger(pixels[2], pixels[1]);
  maxima[0] = larger(larger(pixels[1], pixels[0]), load(left));
  maxima[1] = larger(pixels[3], inner);
  store(left, pixels[3]);
  if (!kWhole && !is_row) maxima[0] = maxima[1] = least;
}

// Bias and ReLU come behind the maximum, which is the same: both keep the order.
template <int V, bool kWhole>
[[gnu::always_inline]] inline void tile_maxima(const WinogradTiles& t, const float* lines,
                                               std::size_t tile, std::size_t channel) {
  static_assert(kTile == 4, "a tile has two maxima along each axis");
  const WinogradPool& pool = *t.pool;
  Floats rows[kTile][2], maxima[4];
  _Pragma("GCC unroll 4") for (std::size_t a = 0; a < kTile; ++a) {
    row_maxima<kWhole>(lines + a * kPoints * kLanes, pool.columns - tile * kTile, a < pool.rows,
                       pool.left + a * V * kLanes + channel, rows[a]);
  }
  const std::size_t at = 2 * tile * pool.stride + channel;
  _Pragma("GCC unroll 2") for (int b = 0; b < 2; ++b) {
    float* const above = pool.above + at + b * pool.stride;
    maxima[b] = larger(rows[1][b], larger(rows[0][b], load(above)));
    maxima[2 + b] = larger(rows[3][b], larger(rows[2][b], rows[1][b]));
    store(above, rows[3][b]);
  }
  finish<4, 1>(*t.steps, 0, t.first + channel, maxima);
  store_rows<2, 1>(maxima, pool.out[0] + at, pool.stride);
  store_rows<2, 1>(maxima + 2, pool.out[1] + at, pool.stride);
}

template <int M, int V>
inline void write_maxima(const WinogradTiles& t, const float* lines) {
  const bool whole = t.pool->rows == kTile && t.pool->columns >= M * kTile;
  for (int i = 0; i < M * V; ++i, lines += kTile * kPoints * kLanes) {
    const std::size_t tile = i / V, channel = i % V * kLanes;
    whole ? tile_maxima<V, true>(t, lines, tile, channel)
          : tile_maxima<V, false>(t, lines, tile, channel);
  }
}

// Exactly M tiles.
template <int M, int V>
void multiply_exactly(const WinogradTiles& t) {
  static_assert(Winograd::kMissing == kPoints - 2, "the order of the points");
  const float* x = t.transformed;
  const float* panel = t.panel;
  float* const products = t.memory;
  float* const lines = products + kPoints * M * V * kLanes;
  for (int j = 0; j < Winograd::kMissing; ++j) {
    add_column<M, V, 2>(t, x, panel, products, lines + j * kLanes);
  }
  add_column<M, V, 1>(t, x, panel, products, lines + Winograd::kMissing * kLanes);
  add_column<M, V, 2>(t, x, panel, products, lines + (kPoints - 1) * kLanes);
  t.pool == nullptr ? write_pixels<M, V>(t, lines) : write_maxima<M, V>(t, lines);
}

// Of at most M tiles and V vectors of filters.
template <int M, int V>
void run_multiply(const WinogradTiles& t) {
  if constexpr (M > 1) {
    if (t.m < M) return run_multiply<M - 1, V>(t);
  }
  multiply_exactly<M, V>(t);
}

}  // namespace
}  // namespace bnn
