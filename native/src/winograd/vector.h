// Minimal filtering in vectors of BNN_LANES, for files that are compiled for one ISA. Everything is
// in an unnamed namespace: no other file may get code compiled with this one's flags.
#pragma once

#include "winograd/kernel.h"

namespace bnn {
namespace {

constexpr std::size_t kLanes = BNN_LANES;
constexpr int kTile = Winograd::kTile, kPoints = Winograd::kPoints;

typedef float Floats __attribute__((vector_size(4 * BNN_LANES)));

inline Floats load(const float* from) {
  Floats v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}

inline void store(float* to, Floats v) { __builtin_memcpy(to, &v, sizeof(v)); }

// Defined by each file: a * b + sum, fused where the ISA has it.
inline Floats multiply_add(Floats a, Floats b, Floats sum);

// Row R of the matrix times x: terms of factor 0 vanish, those of 1 are additions. Templates, not
// loops, so that the factors are known where the code is made.
template <const auto& kMatrix, int R, int N, int C = 0, bool kFirst = true>
inline Floats row_times(const Floats* x, Floats sum = Floats{}) {
  if constexpr (C == N) {
    return sum;
  } else {
    constexpr float kFactor = kMatrix[R][C];
    if constexpr (kFactor == 0) return row_times<kMatrix, R, N, C + 1, kFirst>(x, sum);
    if constexpr (kFactor == 1) {
      sum = kFirst ? x[C] : sum + x[C];
    } else if constexpr (kFactor == -1) {
      sum = kFirst ? -x[C] : sum - x[C];
    } else if constexpr (kFactor != 0) {
      const Floats by = kFactor - Floats{};
      sum = kFirst ? x[C] * by : multiply_add(x[C], by, sum);
    }
    return row_times<kMatrix, R, N, C + 1, false>(x, sum);
  }
}

// y[R] for all rows of a matrix.
template <const auto& kMatrix, int kRows, int N, int R = 0>
inline void times(const Floats* x, Floats* y) {
  y[R] = row_times<kMatrix, R, N>(x);
  if constexpr (R + 1 < kRows) times<kMatrix, kRows, N, R + 1>(x, y);
}

template <int kParity>
inline void transform_axis(const Floats* x, Floats* y) {
  if constexpr (kParity == 0) {
    times<Winograd::kBT4, kPoints, kPoints>(x, y);
  } else {
    times<Winograd::kBT3, kPoints - 1, kPoints - 1>(x, y);
  }
}

// Down the rows of one parity: `out` has a row of 2 * kTile columns for each point.
template <int kParity>
void transform_rows(const float* const* rows, std::size_t width, float* out) {
  constexpr int kCount = Winograd::points(kParity);
  const std::size_t whole = 2 * kTile * width;
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

// Along one of those rows: `out` has the products' rows that begin at `first[j]`.
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

// Where the transformed row of (i, j, c, p, q) begins.
struct Places {
  std::size_t channels, width;
  float* base;

  float* at(int i, int j, std::size_t c, int p, int q) const {
    std::size_t before = 0;  // rows of the points before (i, j)
    for (int k = 0; k < i; ++k) {
      before += Winograd::parities(k) * (2 * kPoints - 1) * channels;
    }
    for (int k = 0; k < j; ++k) before += Winograd::parities(i) * Winograd::parities(k) * channels;
    const int parities_i = Winograd::parities(i), parities_j = Winograd::parities(j);
    before += (c * parities_i + p) * parities_j + q;
    return base + before * width;
  }
};

template <int kParity>
void transform_parity(const WinogradRow& row, std::size_t c, float* memory) {
  constexpr int kCount = Winograd::points(kParity);
  const std::size_t whole = 2 * kTile * row.width;
  const Places places{row.channels, row.width, row.transformed};
  transform_rows<kParity>(row.rows + c * kWinogradInputRows, row.width, memory);
  for (int i = 0; i < kCount; ++i) {
    const int point = Winograd::point(kParity, i);
    float* even[kPoints];
    float* odd[kPoints];
    for (int j = 0; j < kPoints; ++j) even[j] = places.at(point, j, c, kParity, 0);
    for (int j = 0; j < kPoints - 1; ++j) {
      odd[j] = places.at(point, Winograd::point(1, j), c, kParity, 1);
    }
    transform_columns<0>(memory + i * whole, row.width, even);
    transform_columns<1>(memory + i * whole, row.width, odd);
  }
}

inline void run_transform(const WinogradRow& row) {
  for (std::size_t c = 0; c < row.channels; ++c) {
    transform_parity<0>(row, c, row.memory);
    transform_parity<1>(row, c, row.memory);
  }
}

// Products of M tiles and V vectors of filters, added up at every point.
template <int M, int V>
void add_products(const WinogradTiles& t) {
  const float* x = t.transformed;
  const float* panel = t.panel;
  float* out = t.products;
  for (int i = 0; i < kPoints; ++i) {
    for (int j = 0; j < kPoints; ++j) {
      Floats sums[M][V];
      for (int m = 0; m < M; ++m) {
        for (int v = 0; v < V; ++v) sums[m][v] = Floats{};
      }
      for (std::size_t k = Winograd::parities(i) * Winograd::parities(j) * t.channels; k != 0;
           --k) {
        Floats weights[V];
        for (int v = 0; v < V; ++v) weights[v] = load(panel + v * kLanes);
        for (int m = 0; m < M; ++m) {
          const Floats value = x[m] - Floats{};
          for (int v = 0; v < V; ++v) sums[m][v] = multiply_add(value, weights[v], sums[m][v]);
        }
        panel += V * kLanes;
        x += t.width;
      }
      for (int m = 0; m < M; ++m) {
        for (int v = 0; v < V; ++v) store(out + (m * V + v) * kLanes, sums[m][v]);
      }
      out += kWinogradTiles * V * kLanes;
    }
  }
}

// Back from the points to pixels, for one tile and one vector of filters.
inline void transform_back(const float* products, std::size_t step, float* const* out,
                           std::size_t stride) {
  Floats half[kTile][kPoints];
  for (int j = 0; j < kPoints; ++j) {
    Floats column[kPoints], some[kTile];
    for (int i = 0; i < kPoints; ++i) column[i] = load(products + (i * kPoints + j) * step);
    times<Winograd::kAT, kTile, kPoints>(column, some);
    for (int a = 0; a < kTile; ++a) half[a][j] = some[a];
  }
  for (int a = 0; a < kTile; ++a) {
    Floats pixels[kTile];
    times<Winograd::kAT, kTile, kPoints>(half[a], pixels);
    for (int b = 0; b < kTile; ++b) store(out[a] + b * stride, pixels[b]);
  }
}

template <int M, int V>
void multiply_of(const WinogradTiles& t) {
  if constexpr (M > 1) {
    if (t.m < M) return multiply_of<M - 1, V>(t);
  }
  add_products<M, V>(t);
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < V; ++v) {
      float* out[kTile];
      for (int a = 0; a < kTile; ++a) out[a] = t.out[a] + m * kTile * t.stride + v * kLanes;
      transform_back(t.products + (m * V + v) * kLanes, kWinogradTiles * V * kLanes, out, t.stride);
    }
  }
}

}  // namespace
}  // namespace bnn
