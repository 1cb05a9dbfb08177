// The epilogue of a tile in vectors of BNN_LANES floats, for files that are compiled for one ISA:
// cuts it into blocks (block.h), and knows what is faster for the epilogues that are common. All is
// in an unnamed namespace, as there.
#pragma once

#include <type_traits>

#include "epilogue/block.h"
#include "epilogue/thresholds.h"

namespace bnn {
namespace {

inline void integers(const EpilogueTile& t) {
  for (std::size_t m = 0; m < t.m; ++m) {
    const std::int32_t* popcounts = t.popcounts + m * t.stride;
    std::int32_t* out = t.epilogue->out_int32 + t.pixel(m) * t.channels + t.begin;
    for (std::size_t c = 0; c < t.end - t.begin; ++c) out[c] = t.k - 2 * popcounts[c];
  }
}

// Bits of the channels from c on, `begin` being the first of a word.
template <bool kWholeWord = false>
inline void put(const EpilogueTile& t, std::size_t m, std::size_t begin, std::size_t c,
                word_t bits) {
  if (t.epilogue->bits == nullptr) return;
  word_t& word = t.epilogue->bits[t.pixel(m) * words(t.channels) + c / kWordBits];
  const std::size_t shift = kWholeWord ? 0 : (c - begin) % kWordBits;
  word = shift == 0 ? bits : word | bits << shift;
}

constexpr int kVectors = kWordBits / BNN_LANES;

// Pixels of a block with V vectors of channels: as many as take half of the registers, at most 4.
// Float sums come from further away than counts, and a plain epilogue's rows are stored faster than
// anything is computed: those are fastest one after another.
template <bool kPlain, typename Sum>
constexpr int rows_at_once(int vectors) {
  const int rows = (BNN_LANES == 16 ? 16 : 8) / vectors;
  const bool alone = std::is_same<Sum, float>::value || (kPlain && vectors == kVectors);
  return alone || rows < 1 ? 1 : rows > 4 ? 4 : rows;
}

// R pixels from m on with the channels [begin, end), whole multiples of kStep; begin is a word's.
template <int R, std::size_t kStep, bool kPlain, typename Sum>
inline void pixels(const EpilogueTile& t, const Epilogue& e, const Sum* sums, std::size_t m,
                   std::size_t begin, std::size_t end) {
  Row<Sum> rows[R];
  for (int r = 0; r < R; ++r) rows[r] = Row<Sum>(t, sums, m + r);
  for (std::size_t c = begin; c < end; c += kStep) {
    word_t bits[R] = {};
    channels<kStep / BNN_LANES, kPlain>(e, rows, t.k, c, bits);
    for (int r = 0; r < R; ++r) put<kStep == kWordBits>(t, m + r, begin, c, bits[r]);
  }
}

template <std::size_t kStep, bool kPlain, typename Sum>
inline void all_pixels(const EpilogueTile& t, const Epilogue& e, const Sum* sums, std::size_t begin,
                       std::size_t end) {
  if (begin == end) return;
  constexpr int kRows = rows_at_once<kPlain, Sum>(kStep / BNN_LANES);
  std::size_t m = 0;
  for (; m + kRows <= t.m; m += kRows) pixels<kRows, kStep, kPlain>(t, e, sums, m, begin, end);
  for (; kRows > 1 && m < t.m; ++m) pixels<1, kStep, kPlain>(t, e, sums, m, begin, end);
}

// The last channels, fewer than 64.
template <bool kPlain, typename Sum>
inline void last_channels(const EpilogueTile& t, const Epilogue& e, const Sum* sums,
                          std::size_t first) {
  const std::size_t left = (t.end - first) % kTail, whole = t.end - left;
  all_pixels<kTail, kPlain>(t, e, sums, first, whole);
  if (left == 0) return;
  const Tail tail(e, whole, left);
  for (std::size_t m = 0; m < t.m; ++m) {
    put(t, m, first, whole, tail.run(Row<Sum>(t, sums, m), t.k));
  }
}

template <bool kPlain, typename Sum>
void steps(const EpilogueTile& t, const Sum* sums) {
  const std::size_t whole = t.begin + (t.end - t.begin) / kWordBits * kWordBits;
  const Epilogue e = *t.epilogue;  // a copy: stores to `out` cannot change it
  all_pixels<kWordBits, kPlain>(t, e, sums, t.begin, whole);
  if (whole < t.end) last_channels<kPlain>(t, e, sums, whole);
}

// A plain epilogue of fewer rows is not worth loading its parameters first; nor is one of more
// channels that only stores floats, or has fewer registers than parameters.
constexpr std::size_t kFewRows = 4;
constexpr std::size_t kManyChannels = 128;

// Outputs of rows 4 KB apart share a set of the first-level cache, which holds 8 lines or more.
constexpr std::size_t kPlainRows = 8;

// How bits follow from values: not at all; by a product and a sum; by both in one. A product or sum
// that is absent changes nothing.
enum class Bits { kNone, kSeparate, kFused };

// 64 values of a parameter; where it is absent, what changes no value: x * 1 and x + -0.0 are x.
inline void take(const float* parameter, std::size_t c, float absent, Floats (&to)[kVectors]) {
  for (int i = 0; i < kVectors; ++i) {
    to[i] = parameter == nullptr ? absent - Floats{} : load(parameter + c + i * BNN_LANES);
  }
}

// A plain epilogue, or one that is_block_end, for 64 channels of some rows: the parameters stay in
// registers, and no step is tested for.
template <bool kBlockEnd, bool kRelu, bool kOut, Bits kBits>
void known_steps(const EpilogueTile& tile, std::size_t first, std::size_t rows, std::size_t c) {
  const EpilogueTile t = tile;  // a copy: stores to `out` cannot change it
  const Epilogue& e = *t.epilogue;
  Floats scale[kVectors], bias[kVectors], bit_scale[kVectors], bit_shift[kVectors];
  take(e.scale, c, 1.0f, scale);
  take(e.bias, c, -0.0f, bias);
  Floats affine_scale[kVectors], affine_shift[kVectors];
  if (kBlockEnd) take(e.affine_scale, c, 1.0f, affine_scale);
  if (kBlockEnd) take(e.affine_shift, c, -0.0f, affine_shift);
  if (kBits != Bits::kNone) take(e.bit_scale, c, 1.0f, bit_scale);
  if (kBits != Bits::kNone) take(e.bit_shift, c, -0.0f, bit_shift);
  const std::int32_t* counts = t.popcounts + first * t.stride + c - t.begin;
  const float* const residual = kBlockEnd ? e.residual + c : nullptr;
  float* const out = kOut ? e.out + c : nullptr;
  word_t* const bits = kBits != Bits::kNone ? e.bits + c / kWordBits : nullptr;
  const std::size_t row_words = words(t.channels);
  for (std::size_t m = first; m < first + rows; ++m, counts += t.stride) {
    const std::size_t pixel = t.pixel(m);
    const float* const added = kBlockEnd ? residual + pixel * t.channels : nullptr;
    float* const to = kOut ? out + pixel * t.channels : nullptr;
    word_t word = 0;
    for (int i = 0; i < kVectors; ++i) {
      Floats v = start(counts + i * BNN_LANES, t.k) * scale[i];
      v += bias[i];
      if (kBlockEnd) {
        v = fused(v, affine_scale[i], affine_shift[i]);
        v += load(added + i * BNN_LANES);
      }
      if (kRelu) v = relu(v);
      if (kOut) store(to + i * BNN_LANES, v);
      if (kBits == Bits::kNone) continue;
      if (kBits == Bits::kFused) {
        v = fused(v, bit_scale[i], bit_shift[i]);
      } else {
        v *= bit_scale[i];
        v += bit_shift[i];
      }
      word |= negative(v) << (i * BNN_LANES);
    }
    if (kBits != Bits::kNone) bits[pixel * row_words] = word;
  }
}

using KnownSteps = decltype(&known_steps<false, false, true, Bits::kNone>);

template <bool kBlockEnd, bool kRelu>
inline KnownSteps select_steps(const Epilogue& e) {
  constexpr bool kAlways = kBlockEnd;  // gives out floats
  if (e.bits == nullptr) return known_steps<kBlockEnd, kRelu, true, Bits::kNone>;
  if (e.bit_scale != nullptr && e.bit_shift != nullptr) {
    return e.out == nullptr ? known_steps<kBlockEnd, kRelu, kAlways, Bits::kFused>
                            : known_steps<kBlockEnd, kRelu, true, Bits::kFused>;
  }
  return e.out == nullptr ? known_steps<kBlockEnd, kRelu, kAlways, Bits::kSeparate>
                          : known_steps<kBlockEnd, kRelu, true, Bits::kSeparate>;
}

inline KnownSteps select_steps(const Epilogue& e, bool block_end) {
  if (block_end) {
    const bool relu = e.second_activation == Activation::kRelu;
    return relu ? select_steps<true, true>(e) : select_steps<true, false>(e);
  }
  const bool relu = e.first_activation == Activation::kRelu;
  return relu ? select_steps<false, true>(e) : select_steps<false, false>(e);
}

template <bool kPlain>
inline void steps_of_counts(const EpilogueTile& t) {
  const Epilogue& e = *t.epilogue;
  const bool in_registers = kPlain && BNN_LANES == 16 && e.bits != nullptr;
  if (t.m < kFewRows || (t.end - t.begin > kManyChannels && !in_registers)) {
    return steps<kPlain>(t, t.popcounts);
  }
  const std::size_t whole = t.begin + (t.end - t.begin) / kWordBits * kWordBits;
  const KnownSteps run = select_steps(e, !kPlain);
  const std::size_t together = kPlain && whole - t.begin > kWordBits ? kPlainRows : t.m;
  for (std::size_t m = 0; m < t.m; m += together) {
    const std::size_t rows = t.m - m < together ? t.m - m : together;
    for (std::size_t c = t.begin; c < whole; c += kWordBits) run(t, m, rows, c);
  }
  if (whole < t.end) last_channels<kPlain>(t, Epilogue(e), t.popcounts, whole);
}

// Pixels of kChannels channels, side by side in every tensor: 64 channels of several are as one's.
template <bool kPlain, int kChannels>
void narrow_floats(const EpilogueTile& t) {
  constexpr std::size_t kPixels = kWordBits / kChannels;
  const Epilogue e = *t.epilogue;
  std::size_t m = 0;
  for (; m + kPixels <= t.m; m += kPixels) {
    const Row<float> rows[1] = {{t, t.values, m}};
    word_t bits[1] = {0};
    channels<kVectors, kPlain, kChannels>(e, rows, t.k, 0, bits);
    for (std::size_t i = 0; i < kPixels; ++i) {
      put(t, m + i, 0, 0, bits[0] >> (i * kChannels) & valid_bits(kChannels, 0));
    }
  }
  EpilogueTile last = t;
  last.pixels = nullptr;
  last.first_pixel = t.first_pixel + m;
  last.values = t.values + m * kChannels;
  last.m = t.m - m;
  last_channels<kPlain>(last, e, last.values, 0);
}

inline bool is_narrow(const EpilogueTile& t, std::size_t channels) {
  return t.channels == channels && t.stride == channels && t.pixels == nullptr;
}

template <bool kPlain>
void float_steps(const EpilogueTile& t) {
  if (is_narrow(t, 16)) return narrow_floats<kPlain, 16>(t);
  if (is_narrow(t, 32)) return narrow_floats<kPlain, 32>(t);
  steps<kPlain>(t, t.values);
}

// Bits as comparisons, a word of channels after the other: its limits stay in registers.
inline void compare(const EpilogueTile& tile) {
  const EpilogueTile t = tile;  // a copy: stores to `bits` cannot change it
  const std::size_t row_words = words(t.channels);
  for (std::size_t c = t.begin; c < t.end; c += kWordBits) {
    Ints above[kVectors];
    for (int i = 0; i < kVectors; ++i) above[i] = load(&t.thresholds->above[c + i * BNN_LANES]);
    const word_t flipped = t.thresholds->flipped[c / kWordBits];
    word_t* const bits = t.epilogue->bits + c / kWordBits;
    const std::int32_t* counts = t.popcounts + c - t.begin;
    for (std::size_t m = 0; m < t.m; ++m, counts += t.stride) {
      word_t word = 0;
      for (int i = 0; i < kVectors; ++i) {
        word |= greater(load(counts + i * BNN_LANES), above[i]) << (i * BNN_LANES);
      }
      bits[t.pixel(m) * row_words] = word ^ flipped;
    }
  }
}

inline void run_tile(const EpilogueTile& tile) {
  if (tile.thresholds != nullptr) return compare(tile);
  const bool plain = is_plain(*tile.epilogue);
  if (tile.values != nullptr) return plain ? float_steps<true>(tile) : float_steps<false>(tile);
  if (tile.epilogue->out_int32 != nullptr) return integers(tile);
  if (plain) return steps_of_counts<true>(tile);
  is_block_end(*tile.epilogue) ? steps_of_counts<false>(tile) : steps<false>(tile, tile.popcounts);
}

}  // namespace
}  // namespace bnn
