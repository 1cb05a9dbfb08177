// The epilogue in vectors of BNN_LANES floats, for files that are compiled for one ISA.
//
// GCC's and Clang's vector types: one source gives every ISA the same operations, each rounded
// once, so all agree to the last bit. 64 channels (one word of bits) stay in registers from the sum
// to the stores; the tests for absent steps are then paid once per 64 channels, not once per
// vector. Everything is in an unnamed namespace: no other file may get code compiled with this
// one's flags.
#include "epilogue/epilogue.h"

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

constexpr const float* Epilogue::* kParameters[] = {
    &Epilogue::scale,        &Epilogue::bias,
    &Epilogue::first_slope,  &Epilogue::affine_scale,
    &Epilogue::affine_shift, &Epilogue::second_shift_in,
    &Epilogue::second_slope, &Epilogue::second_shift_out,
    &Epilogue::bit_scale,    &Epilogue::bit_shift};
constexpr int kParameterCount = sizeof(kParameters) / sizeof(kParameters[0]);

// V vectors of channels, from channel c of the parameters on.
template <int V>
struct Block {
  Floats v[V];
  std::size_t c;

  void multiply(const float* by) {
    if (by == nullptr) return;
    for (int i = 0; i < V; ++i) v[i] *= load(by + c + i * BNN_LANES);
  }
  void add(const float* what) {
    if (what == nullptr) return;
    for (int i = 0; i < V; ++i) v[i] += load(what + c + i * BNN_LANES);
  }
  void activate(Activation activation, const float* slope) {
    const Floats zero = {}, one = zero + 1.0f;
    switch (activation) {
      case Activation::kNone:
        return;
      case Activation::kRelu:
        for (int i = 0; i < V; ++i) v[i] = v[i] < zero ? zero : v[i];
        return;
      case Activation::kPrelu:
        for (int i = 0; i < V; ++i) {
          v[i] = v[i] < zero ? v[i] * load(slope + c + i * BNN_LANES) : v[i];
        }
        return;
      case Activation::kHardtanh:
        for (int i = 0; i < V; ++i) {
          const Floats low = v[i] < -one ? -one : v[i];
          v[i] = low > one ? one : low;
        }
        return;
    }
  }
};

// Where one pixel's values are: those of channel 0, also where a tile begins at another.
struct Row {
  const std::int32_t* popcounts;
  const float* residual;  // or null
  float* out;             // or null

  Row(const EpilogueTile& t, std::size_t m) : popcounts(t.popcounts + m * t.stride - t.begin) {
    const std::size_t offset = t.pixels[m] * t.channels;
    residual = t.epilogue->residual == nullptr ? nullptr : t.epilogue->residual + offset;
    out = t.epilogue->out == nullptr ? nullptr : t.epilogue->out + offset;
  }
  Row(const std::int32_t* counts, const float* added, float* result)
      : popcounts(counts), residual(added), out(result) {}
};

// Whether there is nothing between scale and bias and an output: no step to test for.
inline bool is_plain(const Epilogue& e) {
  return (e.out != nullptr || e.bits != nullptr) && e.first_activation == Activation::kNone &&
         e.affine_scale == nullptr && e.affine_shift == nullptr &&
         e.residual_at == ResidualAt::kNone && e.second_shift_in == nullptr &&
         e.second_activation == Activation::kNone && e.second_shift_out == nullptr;
}

// The steps for V vectors of channels from c on. Returns their bits.
template <int V>
inline word_t channels(const Epilogue& e, const Row& row, std::int32_t k, std::size_t c) {
  Block<V> block;
  block.c = c;
  for (int i = 0; i < V; ++i) {
    Ints count;
    __builtin_memcpy(&count, row.popcounts + c + i * BNN_LANES, sizeof(count));
    block.v[i] = __builtin_convertvector(k - (count + count), Floats);
  }
  block.multiply(e.scale);
  block.add(e.bias);
  block.activate(e.first_activation, e.first_slope);
  block.multiply(e.affine_scale);
  block.add(e.affine_shift);
  if (e.residual_at == ResidualAt::kBeforeActivation) block.add(row.residual);
  block.add(e.second_shift_in);
  block.activate(e.second_activation, e.second_slope);
  block.add(e.second_shift_out);
  if (e.residual_at == ResidualAt::kAfterActivation) block.add(row.residual);
  if (row.out != nullptr) {
    for (int i = 0; i < V; ++i) store(row.out + c + i * BNN_LANES, block.v[i]);
  }
  if (e.bits == nullptr) return 0;
  block.multiply(e.bit_scale);
  block.add(e.bit_shift);
  word_t bits = 0;
  for (int i = 0; i < V; ++i) bits |= negative(block.v[i]) << (i * BNN_LANES);
  return bits;
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

  word_t run(const Row& row, std::int32_t k) const {
    std::int32_t counts[kTail] = {};
    float added[kTail] = {}, result[kTail];
    __builtin_memcpy(counts, row.popcounts + first, count * sizeof(std::int32_t));
    if (row.residual != nullptr) {
      __builtin_memcpy(added, row.residual + first, count * sizeof(float));
    }
    const word_t bits = channels<kTail / BNN_LANES>(epilogue, Row(counts, added, result), k, 0);
    if (row.out != nullptr) __builtin_memcpy(row.out + first, result, count * sizeof(float));
    return bits & ((word_t{1} << count) - 1);
  }
};

inline void integers(const EpilogueTile& t) {
  for (std::size_t m = 0; m < t.m; ++m) {
    const std::int32_t* popcounts = t.popcounts + m * t.stride;
    std::int32_t* out = t.epilogue->out_int32 + t.pixels[m] * t.channels + t.begin;
    for (std::size_t c = 0; c < t.end - t.begin; ++c) out[c] = t.k - 2 * popcounts[c];
  }
}

inline void put(const EpilogueTile& t, std::size_t m, std::size_t channel, word_t bits) {
  if (t.epilogue->bits == nullptr) return;
  t.epilogue->bits[t.pixels[m] * words(t.channels) + channel / kWordBits] = bits;
}

// The last channels, fewer than 64.
inline void last_channels(const EpilogueTile& t, std::size_t first) {
  const std::size_t left = (t.end - first) % kTail, whole = t.end - left;
  const Tail tail(*t.epilogue, whole, left);
  for (std::size_t m = 0; m < t.m; ++m) {
    const Row row(t, m);
    word_t bits = 0;
    for (std::size_t c = first; c < whole; c += kTail) {
      bits |= channels<kTail / BNN_LANES>(*t.epilogue, row, t.k, c) << (c - first);
    }
    if (left != 0) bits |= tail.run(row, t.k) << (whole - first);
    put(t, m, first, bits);
  }
}

constexpr int kVectors = kWordBits / BNN_LANES;

// A plain epilogue of fewer rows is not worth loading its parameters first.
constexpr std::size_t kFewRows = 4;

// Outputs of rows 4 KB apart share a set of the first-level cache, which holds 8 lines or more.
constexpr std::size_t kPlainRows = 8;

// 64 values of a parameter; where it is absent, what changes no value: x * 1 and x + -0.0 are x.
inline void take(const float* parameter, std::size_t c, float absent, Floats (&to)[kVectors]) {
  for (int i = 0; i < kVectors; ++i) {
    to[i] = parameter == nullptr ? absent - Floats{} : load(parameter + c + i * BNN_LANES);
  }
}

// A plain epilogue for 64 channels of some rows: the parameters stay in registers, and no step is
// tested for.
template <bool kOut, bool kBits>
void plain(const EpilogueTile& t, std::size_t first, std::size_t rows, std::size_t c) {
  const Epilogue& e = *t.epilogue;
  Floats scale[kVectors], bias[kVectors], bit_scale[kVectors], bit_shift[kVectors];
  take(e.scale, c, 1.0f, scale);
  take(e.bias, c, -0.0f, bias);
  if (kBits) take(e.bit_scale, c, 1.0f, bit_scale);
  if (kBits) take(e.bit_shift, c, -0.0f, bit_shift);
  const Ints k = Ints{} + t.k;
  const std::int32_t* counts = t.popcounts + first * t.stride + c - t.begin;
  float* const out = kOut ? e.out + c : nullptr;
  word_t* const bits = kBits ? e.bits + c / kWordBits : nullptr;
  // Copies: as far as the compiler knows, a store may change the tile.
  const std::size_t *const pixels = t.pixels + first, stride = t.stride;
  const std::size_t channels = t.channels, row_words = words(channels);
  for (std::size_t m = 0; m < rows; ++m, counts += stride) {
    const std::size_t pixel = pixels[m];
    float* const to = kOut ? out + pixel * channels : nullptr;
    word_t word = 0;
    for (int i = 0; i < kVectors; ++i) {
      Ints count;
      __builtin_memcpy(&count, counts + i * BNN_LANES, sizeof(count));
      Floats v = __builtin_convertvector(k - (count + count), Floats) * scale[i];
      v += bias[i];
      if (kOut) store(to + i * BNN_LANES, v);
      if (!kBits) continue;
      v *= bit_scale[i];
      v += bit_shift[i];
      word |= negative(v) << (i * BNN_LANES);
    }
    if (kBits) bits[pixel * row_words] = word;
  }
}

// Pixel by pixel, so that stores go to consecutive lines.
void steps(const EpilogueTile& t, std::size_t whole) {
  const Epilogue e = *t.epilogue;  // a copy: stores to `out` cannot change it
  for (std::size_t m = 0; m < t.m; ++m) {
    const Row row(t, m);
    for (std::size_t c = t.begin; c < whole; c += kWordBits) {
      put(t, m, c, channels<kVectors>(e, row, t.k, c));
    }
  }
}

inline void floats(const EpilogueTile& t) {
  const Epilogue& e = *t.epilogue;
  const std::size_t whole = t.begin + (t.end - t.begin) / kWordBits * kWordBits;
  if (t.m >= kFewRows && is_plain(e)) {
    const auto run = e.bits == nullptr  ? plain<true, false>
                     : e.out == nullptr ? plain<false, true>
                                        : plain<true, true>;
    const std::size_t together = whole - t.begin > kWordBits ? kPlainRows : t.m;
    for (std::size_t m = 0; m < t.m; m += together) {
      const std::size_t rows = t.m - m < together ? t.m - m : together;
      for (std::size_t c = t.begin; c < whole; c += kWordBits) run(t, m, rows, c);
    }
  } else {
    steps(t, whole);
  }
  if (whole < t.end) last_channels(t, whole);
}

inline void run_tile(const EpilogueTile& tile) {
  if (tile.epilogue->out_int32 != nullptr) return integers(tile);
  floats(tile);
}

}  // namespace
}  // namespace bnn
