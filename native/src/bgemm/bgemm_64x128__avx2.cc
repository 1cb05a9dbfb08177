// Binary product, 64 rows by 128 filters, AVX2: a look-up that is xor and
// popcount in one.
//
//   popcounts[n] = popcount(row xor filter n) over the words of all runs
//
// AVX2 has no vector popcount, but VPSHUFB looks 32 bytes up in a table of 16.
// Here a byte is a filter, the index a "group": 4 bits of its weight. The table
// is chosen by the same 4 bits of two rows, a and b, and holds popcount(i xor
// a) + 16 * popcount(i xor b): one instruction for 256 bit products. Three such
// bytes can be added before a's count, 12 at most, leaves its 4 bits:
//
//   s = t0[w0] + t1[w1] + t2[w2],   sums += s,   high += (s as 16-bit words) >>
//   4
//
// The shift needs no mask: it leaves b's count in an odd byte, and in an even
// one b's and above it a part of the odd byte's a, which unmix() takes out
// again. All is modulo 256, so a part of K has 63 groups (252) at most; then
// bytes are added to 16-bit sums, and those, slice by slice, to 32-bit.
//
// Order of work: the bytes (a, b) of all pairs of rows are gathered for a slice
// of K. Then 8 pairs at a time meet the weights of 128 filters, part by part: 8
// KB, which stay in the first-level cache. All scratch is on the stack, 60 KB
// whatever the shape. A last row without a partner is its own.
//
// Panel: blocks of 128 filters, the last one of whole 32s, each [group][filter]
// in bytes. Groups that hold only pad bits are not in it. Filters beyond n are
// 0; their sums go to the excess of `stride`. In 32 filters, byte 4 * j + r is
// filter 8 * r + j: 16-bit and then 32-bit sums are split off as odd and even
// halves, and so end in the right order. The panel is aligned to 32 bytes.
#include <immintrin.h>

#include "bgemm/bgemm.h"
#include "bgemm/slices_avx2.h"

namespace bnn::bgemm_64x128__avx2 {

namespace {

constexpr std::size_t kLanes = 32;                                  // filters of a vector
constexpr std::size_t kVectors = 4;                                 // vectors of a block
constexpr std::size_t kPairs = 32;                                  // of rows
constexpr std::size_t kBatch = 8;                                   // pairs between widenings
constexpr std::size_t kPairBytes = kSliceGroups + 4 * kWordGroups;  // for gather()'s excess

static_assert(kFilterBlock % (kVectors * kLanes) == 0, "a part of the panel has whole blocks");

struct Tables {
  alignas(64) std::uint8_t entry[256][16];
  constexpr Tables() : entry() {
    constexpr int kBits[16] = {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4};
    for (int pair = 0; pair < 256; ++pair) {
      for (int i = 0; i < 16; ++i) {
        const int count = kBits[i ^ (pair & 15)] + 16 * kBits[i ^ (pair >> 4)];
        entry[pair][i] = static_cast<std::uint8_t>(count);
      }
    }
  }
};

constexpr Tables kTables;

// The bytes a + 16 b of 4 words.
inline void pair_up(__m256i a, __m256i b, __m256i* out) {
  const __m256i nibble = _mm256_set1_epi8(15);
  const __m256i even = _mm256_or_si256(_mm256_and_si256(a, nibble),
                                       _mm256_slli_epi16(_mm256_and_si256(b, nibble), 4));
  const __m256i odd = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(a, 4), nibble),
                                      _mm256_andnot_si256(nibble, b));
  const __m256i words02 = _mm256_unpacklo_epi8(even, odd);
  const __m256i words13 = _mm256_unpackhi_epi8(even, odd);
  _mm256_storeu_si256(out, _mm256_permute2x128_si256(words02, words13, 0x20));
  _mm256_storeu_si256(out + 1, _mm256_permute2x128_si256(words02, words13, 0x31));
}

// All pairs of rows over a slice. 4 words are written where fewer are left; the
// next stretch comes after them.
void gather(const TileArgs& args, const Slice& slice, std::uint8_t* pairs) {
  for (std::size_t s = 0; s < slice.stretch_count; ++s) {
    const Stretch& stretch = slice.stretches[s];
    for (std::size_t i = 0; i < stretch.words; i += 4) {
      const __m256i left = _mm256_set1_epi64x(static_cast<long long>(stretch.words - i));
      const __m256i mask = _mm256_cmpgt_epi64(left, _mm256_setr_epi64x(0, 1, 2, 3));
      const std::ptrdiff_t from = stretch.from + static_cast<std::ptrdiff_t>(i);
      std::uint8_t* out = pairs + stretch.at + i * kWordGroups;
      for (std::size_t m = 0; m < args.m; m += 2, out += kPairBytes) {
        const word_t* a = args.rows[m] + from;
        const word_t* b = args.rows[m + 1 < args.m ? m + 1 : m] + from;
        pair_up(_mm256_maskload_epi64(reinterpret_cast<const long long*>(a), mask),
                _mm256_maskload_epi64(reinterpret_cast<const long long*>(b), mask),
                reinterpret_cast<__m256i*>(out));
      }
    }
  }
}

// What a part of K adds for 32 filters and a pair of rows.
struct Bytes {
  __m256i sums, high;
};

// Sums of bytes of rows a and b: of all, as 16-bit words modulo 65536, and of
// the odd ones.
struct Counts {
  __m256i a, a_odd, b, b_odd;
};

// Modulo 256, sums = a + 16 b in every byte; high = b in the odd ones, b + 16 *
// (the next byte's a) in the even ones. So a = sums - 16 high, for 16 * 16 is
// 0, and b follows as simply.
inline void unmix(const Bytes& bytes, Counts& counts) {
  const __m256i upper = _mm256_set1_epi8(static_cast<char>(0xf0));
  const __m256i even_upper = _mm256_set1_epi16(0x00f0);
  const __m256i a =
      _mm256_sub_epi8(bytes.sums, _mm256_and_si256(_mm256_slli_epi16(bytes.high, 4), upper));
  const __m256i b =
      _mm256_sub_epi8(bytes.high, _mm256_and_si256(_mm256_srli_epi16(bytes.sums, 4), even_upper));
  counts.a = _mm256_add_epi16(counts.a, a);
  counts.b = _mm256_add_epi16(counts.b, b);
  counts.a_odd = _mm256_add_epi16(counts.a_odd, _mm256_srli_epi16(a, 8));
  counts.b_odd = _mm256_add_epi16(counts.b_odd, _mm256_srli_epi16(b, 8));
}

inline void widen(__m256i all, __m256i odd, bool add, std::int32_t* out) {
  const __m256i even = _mm256_sub_epi16(all, _mm256_slli_epi16(odd, 8));
  const __m256i half = _mm256_set1_epi32(0xffff);
  __m256i* to = reinterpret_cast<__m256i*>(out);
  __m256i r[4] = {_mm256_and_si256(even, half), _mm256_and_si256(odd, half),
                  _mm256_srli_epi32(even, 16), _mm256_srli_epi32(odd, 16)};
  for (int i = 0; i < 4; ++i) {
    if (add) r[i] = _mm256_add_epi32(r[i], _mm256_loadu_si256(to + i));
    _mm256_storeu_si256(to + i, r[i]);
  }
}

inline __m256i table(std::uint8_t pair) {
  return _mm256_broadcastsi128_si256(*reinterpret_cast<const __m128i*>(kTables.entry[pair]));
}

// Loops over vectors must be unrolled before GCC decides what is kept in
// registers.
#define BNN_UNROLL _Pragma("GCC unroll 4")

// Some pairs of rows with C vectors of filters, over a part of K. Not inlined:
// GCC would keep the constants of the code around it in registers, and sums in
// memory. Four vectors make 8 sums, 3 tables and temporaries: what 16 registers
// hold.
template <std::size_t C>
__attribute__((noinline)) void multiply(const std::uint8_t* pairs, std::size_t count,
                                        const __m256i* weights, std::size_t groups, Bytes* out) {
  for (; count != 0; --count, pairs += kPairBytes, out += C) {
    __m256i sums[C], high[C];
    BNN_UNROLL for (std::size_t v = 0; v < C; ++v) sums[v] = high[v] = _mm256_setzero_si256();
    const std::uint8_t* p = pairs;
    const __m256i* w = weights;
    std::size_t left = groups;
    _Pragma("GCC unroll 2") for (; left >= 3; left -= 3, p += 3, w += 3 * C) {
      const __m256i t0 = table(p[0]), t1 = table(p[1]), t2 = table(p[2]);
      BNN_UNROLL for (std::size_t v = 0; v < C; ++v) {
        const __m256i s = _mm256_add_epi8(
            _mm256_add_epi8(_mm256_shuffle_epi8(t0, w[v]), _mm256_shuffle_epi8(t1, w[C + v])),
            _mm256_shuffle_epi8(t2, w[2 * C + v]));
        sums[v] = _mm256_add_epi8(sums[v], s);
        high[v] = _mm256_add_epi8(high[v], _mm256_srli_epi16(s, 4));
      }
    }
    for (; left != 0; --left, ++p, w += C) {
      const __m256i t = table(*p);
      BNN_UNROLL for (std::size_t v = 0; v < C; ++v) {
        const __m256i s = _mm256_shuffle_epi8(t, w[v]);
        sums[v] = _mm256_add_epi8(sums[v], s);
        high[v] = _mm256_add_epi8(high[v], _mm256_srli_epi16(s, 4));
      }
    }
    BNN_UNROLL for (std::size_t v = 0; v < C; ++v) out[v] = {sums[v], high[v]};
  }
}

// All rows with C vectors of filters, over a slice. `add`: to what is in `out`.
template <std::size_t C>
void sweep(const TileArgs& args, const Slice& slice, const std::uint8_t* pairs,
           const __m256i* block, bool add, std::int32_t* out) {
  Bytes bytes[kParts][kBatch][C];
  const std::size_t pair_count = (args.m + 1) / 2;
  for (std::size_t p0 = 0; p0 < pair_count; p0 += kBatch) {
    const std::size_t batch = pair_count - p0 < kBatch ? pair_count - p0 : kBatch;
    for (std::size_t i = 0; i < slice.part_count; ++i) {
      const Part& part = slice.parts[i];
      multiply<C>(pairs + p0 * kPairBytes + part.at, batch, block + part.panel * C, part.count,
                  bytes[i][0]);
    }
    for (std::size_t p = 0; p < batch; ++p) {
      const std::size_t row = 2 * (p0 + p);
      std::int32_t* a = out + row * args.stride;
      std::int32_t* b = row + 1 < args.m ? a + args.stride : nullptr;
      for (std::size_t v = 0; v < C; ++v) {
        const __m256i zero = _mm256_setzero_si256();
        Counts counts = {zero, zero, zero, zero};
        for (std::size_t i = 0; i < slice.part_count; ++i) unmix(bytes[i][p][v], counts);
        widen(counts.a, counts.a_odd, add, a + v * kLanes);
        if (b != nullptr) widen(counts.b, counts.b_odd, add, b + v * kLanes);
      }
    }
  }
}

std::size_t vectors(const PanelShape& shape) { return (shape.n + kLanes - 1) / kLanes; }

std::size_t panel_groups(const PanelShape& shape) { return shape.taps * tap_groups(shape); }

}  // namespace

std::size_t panel_bytes(const PanelShape& shape) {
  return vectors(shape) * panel_groups(shape) * kLanes;
}

void make_panel(const PanelShape& shape, const word_t* weight, void* panel) {
  const std::size_t groups = panel_groups(shape);
  const std::size_t k_words = shape.taps * shape.tap_words;
  const std::size_t lanes = vectors(shape) * kLanes, block = kVectors * kLanes;
  std::uint8_t* out = static_cast<std::uint8_t*>(panel);
  for (std::size_t n0 = 0; n0 < lanes; n0 += block) {
    const std::size_t end = n0 + block < lanes ? n0 + block : lanes;
    for (std::size_t g = 0; g < groups; ++g) {
      const std::size_t in_tap = g % tap_groups(shape);
      const std::size_t k = g / tap_groups(shape) * shape.tap_words + in_tap / kWordGroups;
      for (std::size_t lane = n0; lane < end; ++lane) {
        const std::size_t n = lane / kLanes * kLanes + lane % 4 * 8 + lane % kLanes / 4;
        const word_t word = n < shape.n ? weight[n * k_words + k] : 0;
        *out++ = word >> (in_tap % kWordGroups * 4) & 15;
      }
    }
  }
}

void tile(const TileArgs& args) {
  std::uint8_t pairs[kPairs][kPairBytes];
  Slice slice;
  Cursor cursor(args);
  bool add = false;
  do {
    cursor.next(slice);
    gather(args, slice, pairs[0]);
    const __m256i* block = static_cast<const __m256i*>(args.panel);
    std::int32_t* out = args.popcounts;
    for (std::size_t left = vectors(args.shape), count; left != 0; left -= count) {
      count = left < kVectors ? left : kVectors;
      const auto sweep_block = count == 4   ? sweep<4>
                               : count == 3 ? sweep<3>
                               : count == 2 ? sweep<2>
                                            : sweep<1>;
      sweep_block(args, slice, pairs[0], block, add, out);
      block += count * panel_groups(args.shape);
      out += count * kLanes;
    }
    add = true;
  } while (cursor.more());
}

}  // namespace bnn::bgemm_64x128__avx2
