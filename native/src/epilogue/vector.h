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

// The same steps with the parameters of channel c and those after it.
inline Epilogue from_channel(Epilogue epilogue, std::size_t c) {
  for (const auto parameter : kParameters) {
    if (epilogue.*parameter != nullptr) epilogue.*parameter += c;
  }
  return epilogue;
}

template <int V>
struct Block {
  Floats v[V];

  void multiply(const float* by) {
    if (by == nullptr) return;
    for (int i = 0; i < V; ++i) v[i] *= load(by + i * BNN_LANES);
  }
  void add(const float* what) {
    if (what == nullptr) return;
    for (int i = 0; i < V; ++i) v[i] += load(what + i * BNN_LANES);
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
        for (int i = 0; i < V; ++i) v[i] = v[i] < zero ? v[i] * load(slope + i * BNN_LANES) : v[i];
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

// V vectors of channels of one pixel. Returns their bits.
template <int V>
inline word_t channels(const Epilogue& e, const std::int32_t* popcounts, std::int32_t k,
                       const float* residual, float* out) {
  Block<V> block;
  for (int i = 0; i < V; ++i) {
    Ints count;
    __builtin_memcpy(&count, popcounts + i * BNN_LANES, sizeof(count));
    block.v[i] = __builtin_convertvector(k - (count + count), Floats);
  }
  block.multiply(e.scale);
  block.add(e.bias);
  block.activate(e.first_activation, e.first_slope);
  block.multiply(e.affine_scale);
  block.add(e.affine_shift);
  if (e.residual_at == ResidualAt::kBeforeActivation) block.add(residual);
  block.add(e.second_shift_in);
  block.activate(e.second_activation, e.second_slope);
  block.add(e.second_shift_out);
  if (e.residual_at == ResidualAt::kAfterActivation) block.add(residual);
  if (out != nullptr) {
    for (int i = 0; i < V; ++i) store(out + i * BNN_LANES, block.v[i]);
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
  std::size_t count;

  Tail(const Epilogue& whole, std::size_t c, std::size_t n)
      : epilogue(from_channel(whole, c)), count(n) {
    for (int i = 0; i < kParameterCount; ++i) {
      const float*& parameter = epilogue.*kParameters[i];
      if (parameter == nullptr) continue;
      __builtin_memcpy(copies[i], parameter, n * sizeof(float));
      parameter = copies[i];
    }
  }
  Tail(const Tail&) = delete;

  word_t run(const std::int32_t* popcounts, std::int32_t k, const float* residual,
             float* out) const {
    std::int32_t counts[kTail] = {};
    float added[kTail] = {}, result[kTail];
    __builtin_memcpy(counts, popcounts, count * sizeof(std::int32_t));
    if (residual != nullptr) __builtin_memcpy(added, residual, count * sizeof(float));
    const word_t bits = channels<kTail / BNN_LANES>(epilogue, counts, k, added, result);
    if (out != nullptr) __builtin_memcpy(out, result, count * sizeof(float));
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

// Where one row's values are, of some channels.
struct Row {
  const std::int32_t* popcounts;
  const float* residual;  // or null
  float* out;             // or null

  Row(const EpilogueTile& t, std::size_t m, std::size_t channel)
      : popcounts(t.popcounts + m * t.stride + channel - t.begin) {
    const std::size_t offset = t.pixels[m] * t.channels + channel;
    residual = t.epilogue->residual == nullptr ? nullptr : t.epilogue->residual + offset;
    out = t.epilogue->out == nullptr ? nullptr : t.epilogue->out + offset;
  }
};

inline void put(const EpilogueTile& t, std::size_t m, std::size_t channel, word_t bits) {
  if (t.epilogue->bits == nullptr) return;
  t.epilogue->bits[t.pixels[m] * words(t.channels) + channel / kWordBits] = bits;
}

// The last channels, fewer than 64.
inline void last_channels(const EpilogueTile& t, std::size_t first) {
  const std::size_t left = (t.end - first) % kTail, whole = t.end - left;
  const Tail tail(*t.epilogue, whole, left);
  for (std::size_t m = 0; m < t.m; ++m) {
    word_t bits = 0;
    for (std::size_t c = first; c < t.end; c += kTail) {
      const Row row(t, m, c);
      const word_t some =
          c < whole ? channels<kTail / BNN_LANES>(from_channel(*t.epilogue, c), row.popcounts, t.k,
                                                  row.residual, row.out)
                    : tail.run(row.popcounts, t.k, row.residual, row.out);
      bits |= some << (c - first);
    }
    put(t, m, first, bits);
  }
}

inline void floats(const EpilogueTile& t) {
  const std::size_t whole = t.begin + (t.end - t.begin) / kWordBits * kWordBits;
  for (std::size_t m = 0; m < t.m; ++m) {
    // Row by row, so that stores go to consecutive lines.
    for (std::size_t c = t.begin; c < whole; c += kWordBits) {
      const Row row(t, m, c);
      put(t, m, c,
          channels<kWordBits / BNN_LANES>(from_channel(*t.epilogue, c), row.popcounts, t.k,
                                          row.residual, row.out));
    }
  }
  if (whole < t.end) last_channels(t, whole);
}

inline void run_tile(const EpilogueTile& tile) {
  if (tile.epilogue->out_int32 != nullptr) return integers(tile);
  floats(tile);
}

}  // namespace
}  // namespace bnn
