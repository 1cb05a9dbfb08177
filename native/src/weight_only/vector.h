// Weight-only sums in vectors of BNN_LANES filters, for files that are compiled for one ISA.
//
// GCC's and Clang's vector types. Everything is in an unnamed namespace: no other file may get code
// compiled with this one's flags.
//
// Tails: vectors of filters are computed whole, and stored in part.
#pragma once

#include "weight_only/kernel.h"

namespace bnn {
namespace {

constexpr std::size_t kLanes = BNN_LANES;

typedef float Floats __attribute__((vector_size(4 * BNN_LANES)));
typedef std::uint32_t Bits __attribute__((vector_size(4 * BNN_LANES)));

inline Floats load(const float* from) {
  Floats v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}

inline Bits load_bits(const std::uint32_t* from) {
  Bits v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}

inline void store(float* to, Floats v) { __builtin_memcpy(to, &v, sizeof(v)); }

inline Floats flip(Floats v, Bits signs) {
  Bits bits;
  __builtin_memcpy(&bits, &v, sizeof(bits));
  bits ^= signs;
  __builtin_memcpy(&v, &bits, sizeof(bits));
  return v;
}

// Defined by each file: adds a table's sums to M pixels' sums of V vectors of filters, and shifts
// the next table's bits to where these were. `tables` points to the M tables.
template <int M, int V>
inline void add_table(const float* const* tables, std::size_t offset, Bits* bits,
                      Floats (*sums)[V]);

template <int V>
inline void finish(const WeightOnlyTile& t, Floats* sums, float* out) {
  for (int v = 0; v < V; ++v) {
    const std::size_t first = v * kLanes;
    if (first + kLanes <= t.n) {
      if (t.scale != nullptr) sums[v] *= load(t.scale + first);
      if (t.bias != nullptr) sums[v] += load(t.bias + first);
      store(out + first, sums[v]);
      continue;
    }
    float some[kLanes];
    store(some, sums[v]);
    for (std::size_t n = first; n < t.n; ++n) {
      float sum = some[n - first];
      if (t.scale != nullptr) sum *= t.scale[n];
      if (t.bias != nullptr) sum += t.bias[n];
      out[n] = sum;
    }
  }
}

// Every loop over m or v is unrolled, so that the sums stay in registers.
template <int M, int V>
void tile_of(const WeightOnlyTile& t) {
  constexpr std::size_t kTablesOfBits = 32 / kTableInputs;
  Floats sums[M][V] = {};
  for (std::size_t i = 0; i < t.tap_count; ++i) {
    const float* tables[M];
    for (int m = 0; m < M; ++m) tables[m] = t.pixels[i][m] + t.offset;
    const std::uint32_t* from = t.bits + t.taps[i] * 2 * t.tap_words * kFilters;
    std::size_t offset = 0;
    for (std::size_t left = t.tables; left != 0; from += kFilters) {
      Bits bits[V];
      for (int v = 0; v < V; ++v) bits[v] = load_bits(from + v * kLanes);
      const std::size_t count = left < kTablesOfBits ? left : kTablesOfBits;
      for (std::size_t j = 0; j < count; ++j, offset += kTableFloats) {
        add_table<M, V>(tables, offset, bits, sums);
      }
      left -= count;
    }
  }
  for (int m = 0; m < M; ++m) finish<V>(t, sums[m], t.out[m]);
}

template <int M, int V>
void tile_of_up_to(const WeightOnlyTile& t) {
  if constexpr (M > 1) {
    if (t.m < M) return tile_of_up_to<M - 1, V>(t);
  }
  tile_of<M, V>(t);
}

// kVectors vectors, or one if the filters are few.
inline void run_tile(const WeightOnlyTile& t) {
  if (t.n <= kLanes) return tile_of_up_to<kPixels, 1>(t);
  if (t.n <= kFilters / 2) return tile_of_up_to<kPixels, kVectors / 2>(t);
  tile_of_up_to<kPixels, kVectors>(t);
}

// M pixels of V vectors of channels: the pixels share the loads of the signs.
template <int M, int V>
inline void lane_vectors(const LaneRow& row, std::size_t pixel, std::size_t c) {
  Floats sums[M][V] = {};
  for (std::size_t i = 0; i < row.input_count; ++i) {
    const float* x = row.x[i] + pixel * row.step + c;
    Bits signs[V];
    for (int v = 0; v < V; ++v) signs[v] = load_bits(row.signs[i] + c + v * kLanes);
    for (int m = 0; m < M; ++m, x += row.step) {
      for (int v = 0; v < V; ++v) sums[m][v] += flip(load(x + v * kLanes), signs[v]);
    }
  }
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < V; ++v) {
      const std::size_t first = c + v * kLanes;
      if (row.scale != nullptr) sums[m][v] *= load(row.scale + first);
      if (row.bias != nullptr) sums[m][v] += load(row.bias + first);
      store(row.out + (pixel + m) * row.channels + first, sums[m][v]);
    }
  }
}

template <int M>
inline void lane_pixels(const LaneRow& row, std::size_t pixel, std::size_t whole) {
  std::size_t c = 0;
  for (; c + 2 * kLanes <= whole; c += 2 * kLanes) lane_vectors<M, 2>(row, pixel, c);
  if (c < whole) lane_vectors<M, 1>(row, pixel, c);
}

inline void lane_tail(const LaneRow& row, std::size_t pixel, std::size_t c) {
  float sum = 0;
  for (std::size_t i = 0; i < row.input_count; ++i) {
    const float value = row.x[i][pixel * row.step + c];
    sum += row.signs[i][c] != 0 ? -value : value;
  }
  if (row.scale != nullptr) sum *= row.scale[c];
  if (row.bias != nullptr) sum += row.bias[c];
  row.out[pixel * row.channels + c] = sum;
}

inline void run_lane_row(const LaneRow& row) {
  const std::size_t whole = row.channels - row.channels % kLanes;
  for (std::size_t pixel = 0; pixel < row.pixels;) {
    const std::size_t count = row.pixels - pixel < 4 ? 1 : 4;
    if (count == 4) {
      lane_pixels<4>(row, pixel, whole);
    } else {
      lane_pixels<1>(row, pixel, whole);
    }
    for (std::size_t end = pixel + count; pixel < end; ++pixel) {
      for (std::size_t c = whole; c < row.channels; ++c) lane_tail(row, pixel, c);
    }
  }
}

}  // namespace
}  // namespace bnn
