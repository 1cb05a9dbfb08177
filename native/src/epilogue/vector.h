// The epilogue in vectors of BNN_LANES floats, for files that are compiled for one ISA.
//
// GCC's and Clang's vector types: one source gives every ISA the same operations, each rounded
// once, so all agree to the last bit. A block of pixels and channels stays in registers from the
// sums to the stores: an absent step is tested for once per block, not once per vector, and a
// parameter is loaded once for the block's pixels. Everything is in an unnamed namespace: no other
// file may get code compiled with this one's flags.
#include <type_traits>

#include "epilogue/epilogue.h"
#include "epilogue/thresholds.h"

#define BNN_UNROLL _Pragma("GCC unroll 16")
#define BNN_INLINE inline __attribute__((always_inline))

namespace bnn {
namespace {

typedef float Floats __attribute__((vector_size(4 * BNN_LANES)));
typedef std::int32_t Ints __attribute__((vector_size(4 * BNN_LANES)));

inline Floats load(const float* from) {
  Floats v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}

inline void store(float* to, Floats v) { __builtin_memcpy(to, &v, sizeof(v)); }

// Defined by each file: bit i = (v[i] < 0).
inline word_t negative(Floats v);

// Defined by each file: bit i = (v[i] > limit[i]).
inline word_t greater(Ints v, Ints limit);

// Defined by each file: v * scale + shift, rounded once.
inline Floats fused(Floats v, Floats scale, Floats shift);

inline Floats relu(Floats v) { return v < Floats{} ? Floats{} : v; }

inline Ints load(const std::int32_t* from) {
  Ints v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}

inline Floats start(const std::int32_t* popcounts, std::int32_t k) {
  const Ints count = load(popcounts);
  return __builtin_convertvector(k - (count + count), Floats);
}

inline Floats start(const float* values, std::int32_t) { return load(values); }

constexpr const float* Epilogue::* kParameters[] = {
    &Epilogue::scale,           &Epilogue::bias,         &Epilogue::post_scale,
    &Epilogue::first_slope,     &Epilogue::affine_scale, &Epilogue::affine_shift,
    &Epilogue::second_shift_in, &Epilogue::second_slope, &Epilogue::second_shift_out,
    &Epilogue::bit_scale,       &Epilogue::bit_shift};
constexpr int kParameterCount = sizeof(kParameters) / sizeof(kParameters[0]);

// Where one pixel's values are: those of channel 0, also where a tile begins at another. Sum is
// std::int32_t for counted bits, float for float sums.
template <typename Sum>
struct Row {
  const Sum* sums;
  const float* residual;  // or null
  float* out;             // or null

  Row() = default;
  Row(const EpilogueTile& t, const Sum* first, std::size_t m)
      : sums(first + m * t.stride - t.begin) {
    const std::size_t offset = t.pixel(m) * t.channels;
    residual = t.epilogue->residual == nullptr ? nullptr : t.epilogue->residual + offset;
    out = t.epilogue->out == nullptr ? nullptr : t.epilogue->out + offset;
  }
  Row(const Sum* values, const float* added, float* result)
      : sums(values), residual(added), out(result) {}
};

// R pixels with V vectors of channels each, from channel c of the parameters on: v[i * R + r].
// After every kPeriod channels the next pixel's begin. One loop, not two: GCC keeps in registers
// what one loop unrolls.
template <int R, int V, int kPeriod, typename Sum>
struct Block {
  Floats v[V * R];
  const Row<Sum>* rows;
  std::size_t c;

#define BNN_EACH BNN_UNROLL for (int j = 0; j < V * R; ++j)
  BNN_INLINE Floats of(const float* parameter, int j) const {
    return load(parameter + c + j / R * BNN_LANES % kPeriod);
  }
  BNN_INLINE void begin(std::int32_t k) {
    BNN_EACH v[j] = start(rows[j % R].sums + c + j / R * BNN_LANES, k);
  }
  BNN_INLINE void multiply(const float* by) {
    if (by == nullptr) return;
    BNN_EACH v[j] *= of(by, j);
  }
  BNN_INLINE void add(const float* what) {
    if (what == nullptr) return;
    BNN_EACH v[j] += of(what, j);
  }
  BNN_INLINE void add_residual() {
    BNN_EACH v[j] += load(rows[j % R].residual + c + j / R * BNN_LANES);
  }
  BNN_INLINE void affine(const float* scale, const float* shift) {
    if (scale == nullptr) return add(shift);
    if (shift == nullptr) return multiply(scale);
    BNN_EACH v[j] = fused(v[j], of(scale, j), of(shift, j));
  }
  BNN_INLINE void rectify() { BNN_EACH v[j] = relu(v[j]); }
  BNN_INLINE void activate(Activation activation, const float* slope) {
    const Floats zero = {}, one = zero + 1.0f;
    switch (activation) {
      case Activation::kNone:
        return;
      case Activation::kRelu:
        return rectify();
      case Activation::kPrelu:
        BNN_EACH v[j] = v[j] < zero ? v[j] * of(slope, j) : v[j];
        return;
      case Activation::kHardtanh:
        BNN_EACH {
          const Floats low = v[j] < -one ? -one : v[j];
          v[j] = low > one ? one : low;
        }
        return;
    }
  }
  BNN_INLINE void write() const { BNN_EACH store(rows[j % R].out + c + j / R * BNN_LANES, v[j]); }
  BNN_INLINE void add_bits(word_t (&bits)[R]) const {
    BNN_EACH bits[j % R] |= negative(v[j]) << (j / R * BNN_LANES);
  }
#undef BNN_EACH
};

// Whether there is nothing but a ReLU between scale and bias and an output: no step to test for.
inline bool is_plain(const Epilogue& e) {
  return (e.out != nullptr || e.bits != nullptr) && e.post_scale == nullptr &&
         e.first_activation <= Activation::kRelu && e.affine_scale == nullptr &&
         e.affine_shift == nullptr && e.residual_at == ResidualAt::kNone &&
         e.second_shift_in == nullptr && e.second_activation == Activation::kNone &&
         e.second_shift_out == nullptr;
}

// Whether the steps are those of a residual block: scale and bias, a batch norm, the residual, and
// nothing but a ReLU.
inline bool is_block_end(const Epilogue& e) {
  return e.out != nullptr && e.post_scale == nullptr && e.first_activation == Activation::kNone &&
         e.residual_at == ResidualAt::kBeforeActivation && e.second_shift_in == nullptr &&
         e.second_activation <= Activation::kRelu && e.second_shift_out == nullptr;
}

// The steps for R pixels with V vectors of channels from c on. Adds their bits to `bits`, if any.
template <int V, bool kPlain, int kPeriod = V * BNN_LANES, int R, typename Sum>
inline void channels(const Epilogue& e, const Row<Sum> (&rows)[R], std::int32_t k, std::size_t c,
                     word_t (&bits)[R]) {
  Block<R, V, kPeriod, Sum> block;
  block.rows = rows;
  block.c = c;
  block.begin(k);
  block.multiply(e.scale);
  block.add(e.bias);
  if (kPlain) {
    if (e.first_activation == Activation::kRelu) block.rectify();
  } else {
    block.multiply(e.post_scale);
    block.activate(e.first_activation, e.first_slope);
    block.affine(e.affine_scale, e.affine_shift);
    if (e.residual_at == ResidualAt::kBeforeActivation) block.add_residual();
    block.add(e.second_shift_in);
    block.activate(e.second_activation, e.second_slope);
    block.add(e.second_shift_out);
    if (e.residual_at == ResidualAt::kAfterActivation) block.add_residual();
  }
  if (e.out != nullptr) block.write();
  if (e.bits == nullptr) return;
  block.affine(e.bit_scale, e.bit_shift);
  block.add_bits(bits);
}

constexpr std::size_t kTail = 16;  // channels

// Fewer than kTail channels: their parameters, copied once to where a whole vector may be read.
struct Tail {
  float copies[kParameterCount][kTail] = {};
  Epilogue epilogue;
  std::size_t first, count;

  Tail(const Epilogue& whole, std::size_t c, std::size_t n) : epilogue(whole), first(c), count(n) {
    for (int i = 0; i < kParameterCount; ++i) {
      const float*& parameter = epilogue.*kParameters[i];
      if (parameter == nullptr) continue;
      __builtin_memcpy(copies[i], parameter + c, n * sizeof(float));
      parameter = copies[i];
    }
  }
  Tail(const Tail&) = delete;

  template <typename Sum>
  word_t run(const Row<Sum>& row, std::int32_t k) const {
    Sum sums[kTail] = {};
    float added[kTail] = {}, result[kTail];
    __builtin_memcpy(sums, row.sums + first, count * sizeof(Sum));
    if (row.residual != nullptr) {
      __builtin_memcpy(added, row.residual + first, count * sizeof(float));
    }
    const Row<Sum> copy[1] = {{sums, row.residual == nullptr ? nullptr : added, result}};
    word_t bits[1] = {0};
    channels<kTail / BNN_LANES, false>(epilogue, copy, k, 0, bits);
    if (row.out != nullptr) __builtin_memcpy(row.out + first, result, count * sizeof(float));
    return bits[0] & ((word_t{1} << count) - 1);
  }
};

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
