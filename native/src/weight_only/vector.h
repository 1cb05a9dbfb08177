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

template <int V>
void tile_of_vectors(const WeightOnlyTile& t) {
  switch (t.m) {
    case 1:
      return tile_of<1, V>(t);
    case 2:
      return tile_of<2, V>(t);
    case 3:
      return tile_of<3, V>(t);
    default:
      return tile_of<4, V>(t);
  }
}

// kVectors vectors, or one if the filters are few.
inline void run_tile(const WeightOnlyTile& t) {
  if (t.n <= kLanes) return tile_of_vectors<1>(t);
  if (t.n <= kFilters / 2) return tile_of_vectors<kVectors / 2>(t);
  tile_of_vectors<kVectors>(t);
}

// M pixels of one vector of channels: they share the loads of the signs.
template <int M>
inline void lane_vector(const LaneRow& row, std::size_t pixel, std::size_t c) {
  Floats sums[M] = {};
  for (std::size_t i = 0; i < row.input_count; ++i) {
    const float* x = row.x[i] + pixel * row.step + c;
    const Floats signs = load(row.signs[i] + c);
    for (int m = 0; m < M; ++m) sums[m] += load(x + m * row.step) * signs;
  }
  for (int m = 0; m < M; ++m) {
    if (row.scale != nullptr) sums[m] *= load(row.scale + c);
    if (row.bias != nullptr) sums[m] += load(row.bias + c);
    store(row.out + (pixel + m) * row.channels + c, sums[m]);
  }
}

inline void lane_tail(const LaneRow& row, std::size_t pixel, std::size_t c) {
  float sum = 0;
  for (std::size_t i = 0; i < row.input_count; ++i) {
    sum += row.x[i][pixel * row.step + c] * row.signs[i][c];
  }
  if (row.scale != nullptr) sum *= row.scale[c];
  if (row.bias != nullptr) sum += row.bias[c];
  row.out[pixel * row.channels + c] = sum;
}

inline void run_lane_row(const LaneRow& row) {
  const std::size_t whole = row.channels - row.channels % kLanes;
  for (std::size_t pixel = 0; pixel < row.pixels;) {
    const std::size_t count = row.pixels - pixel < 4 ? 1 : 4;
    for (std::size_t c = 0; c < whole; c += kLanes) {
      count == 4 ? lane_vector<4>(row, pixel, c) : lane_vector<1>(row, pixel, c);
    }
    for (std::size_t end = pixel + count; pixel < end; ++pixel) {
      for (std::size_t c = whole; c < row.channels; ++c) lane_tail(row, pixel, c);
    }
  }
}

}  // namespace
}  // namespace bnn
