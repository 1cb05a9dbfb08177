// Binary product, 64 rows by 128 filters, AVX2: a look-up that is xor and popcount in one.
//
//   popcounts[n] = popcount(row xor filter n) over the words of all runs
//
// AVX2 has no vector popcount, but VPSHUFB looks 32 bytes up in a table of 16. Here a byte is a
// filter, the index a "group": 4 bits of its weight. The table is chosen by the same 4 bits of two
// rows, a and b, and holds popcount(i xor a) + 16 * popcount(i xor b). So one instruction does 256
// bit products. Three looked-up bytes can be added before the lower count (3 * 4) leaves its 4
// bits:
//
//   s    = t0[w0] + t1[w1] + t2[w2]            per byte: low + 16 * high, each 12 at most
//   sums += s, high += (s as 16-bit words) >> 4
//
// That shift needs no mask. Of an odd byte it leaves the count of b; below an odd byte stand the
// lower bits of the odd one too, but by then known: unmix() solves for the four counts modulo 256.
// Hence at most 63 groups (252) per chunk; then bytes are widened to 16-bit, in the end 32-bit
// sums.
//
// Order of work: the table offsets of 32 pairs of rows are gathered for a slice of K; then, for 128
// filters at a time, each chunk of their weights (8 KB, it stays in the first-level cache) meets
// all pairs. All scratch is on the stack: 60 KB, whatever the shape.
//
// Panel: blocks of 128 filters, the last 384 or fewer cut as block_vectors() has it. A block is
// [group][filter] bytes with groups that hold only pad bits left out, and 2 groups beyond the last:
// triples are read whole, their surplus groups meet a table of zeros. Filters beyond n are 0; their
// sums go to the excess of `stride`. Within 32 filters, byte 4 * j + r is filter 8 * r + j: words
// and then double words are split off as low and high halves, and end in the right order.
#include <immintrin.h>

#include "bgemm/bgemm.h"

namespace bnn::bgemm_64x128__avx2 {

namespace {

constexpr std::size_t kLanes = 32;   // filters of a vector
constexpr std::size_t kVectors = 4;  // vectors of a block
constexpr std::size_t kPairs = 32;   // of rows
constexpr std::size_t kWordGroups = 16;
constexpr std::size_t kChunk = 21;             // triples: 4 * 3 * 21 < 256
constexpr std::size_t kTriples = 10 * kChunk;  // of a slice
constexpr std::size_t kGroups = 3 * kTriples;
constexpr std::size_t kPairOffsets = kGroups + 32;
constexpr std::size_t kBatch = 8;
constexpr std::size_t kStretches = 64;
constexpr std::uint16_t kZeros = 256 * 16;  // offset of the table of zeros

struct Tables {
  alignas(64) std::uint8_t entry[257][16];
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

// How words of the panel's order map to groups.
struct Order {
  std::size_t tap_words, tap_groups, last_groups;  // last: of a tap's last word

  explicit Order(const PanelShape& shape)
      : tap_words(shape.tap_words),
        tap_groups((shape.tap_bits + 3) / 4),
        last_groups(tap_groups - (tap_words - 1) * kWordGroups) {}
  std::size_t group(std::size_t word) const {
    return word / tap_words * tap_groups + word % tap_words * kWordGroups;
  }
};

// Consecutive words of a row. All have 16 groups, but the last one may have fewer.
struct Stretch {
  std::ptrdiff_t from;  // from the row's base
  std::uint32_t words;
  std::uint32_t at, end;  // groups of the slice
};

// As much of K as the scratch holds.
struct Slice {
  std::size_t count, triples;
  Stretch stretches[kStretches];
  std::uint32_t first[kTriples];  // the triples' first groups in the panel
};

struct Cursor {
  std::size_t run, word;
};

// The next slice. Where runs do not follow each other in the panel a new triple begins.
void next_slice(const TileArgs& args, const Order& order, Cursor& cursor, Slice& slice) {
  const bool whole = order.last_groups == kWordGroups;
  std::size_t at = 0, expected = 0;
  slice.count = 0;
  while (cursor.run < args.run_count && slice.count < kStretches) {
    const Run& run = args.runs[cursor.run];
    const std::size_t k = run.k + cursor.word;
    const std::size_t group = order.group(k);
    if (group != expected) at = (at + 2) / 3 * 3;
    const std::size_t room = at < kGroups ? (kGroups - at) / kWordGroups : 0;
    if (room == 0) break;
    std::size_t words = whole ? run.count - cursor.word : order.tap_words - k % order.tap_words;
    if (words > room) words = room;
    expected = order.group(k + words);
    const std::size_t end = at + (expected - group);
    for (std::size_t t = (at + 2) / 3; t * 3 < end; ++t) {
      slice.first[t] = static_cast<std::uint32_t>(group + (t * 3 - at));
    }
    slice.stretches[slice.count++] = {
        run.offset + static_cast<std::ptrdiff_t>(cursor.word), static_cast<std::uint32_t>(words),
        static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(end)};
    at = end;
    cursor.word += words;
    if (cursor.word == run.count) cursor = {cursor.run + 1, 0};
  }
  slice.triples = (at + 2) / 3;
}

// Offsets of the tables of 16 groups, from bytes that hold a | b << 4 for one group each.
inline void store_offsets(__m128i pairs, std::uint16_t* out) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out),
                      _mm256_slli_epi16(_mm256_cvtepu8_epi16(pairs), 4));
}

struct PairBytes {
  __m128i low, high;
};

inline PairBytes pair_bytes(__m128i a, __m128i b) {
  const __m128i nibble = _mm_set1_epi8(15);
  const __m128i even =
      _mm_or_si128(_mm_and_si128(a, nibble), _mm_slli_epi16(_mm_and_si128(b, nibble), 4));
  const __m128i odd =
      _mm_or_si128(_mm_and_si128(_mm_srli_epi16(a, 4), nibble), _mm_andnot_si128(nibble, b));
  return {_mm_unpacklo_epi8(even, odd), _mm_unpackhi_epi8(even, odd)};
}

void gather(const Slice& slice, const word_t* a, const word_t* b, std::uint16_t* out) {
  for (std::size_t s = 0; s < slice.count; ++s) {
    const Stretch& stretch = slice.stretches[s];
    const word_t* pa = a + stretch.from;
    const word_t* pb = b + stretch.from;
    std::uint16_t* to = out + stretch.at;
    std::size_t i = 0;
    for (; i + 2 <= stretch.words; i += 2, to += 2 * kWordGroups) {
      const PairBytes bytes = pair_bytes(_mm_loadu_si128(reinterpret_cast<const __m128i*>(pa + i)),
                                         _mm_loadu_si128(reinterpret_cast<const __m128i*>(pb + i)));
      store_offsets(bytes.low, to);
      store_offsets(bytes.high, to + kWordGroups);
    }
    if (i < stretch.words) {
      const PairBytes bytes = pair_bytes(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(pa + i)),
                                         _mm_loadl_epi64(reinterpret_cast<const __m128i*>(pb + i)));
      store_offsets(bytes.low, to);
    }
    // What a short last word wrote too much, and the surplus of a triple; the next stretch comes
    // after it.
    out[stretch.end] = out[stretch.end + 1] = kZeros;
  }
}

// 16-bit counts of 32 filters: of row a in the even and odd bytes, and of row b.
struct Counts {
  __m256i a_even, a_odd, b_even, b_odd;
};

// sums = a + 16 b in every byte, modulo 256. high = b in odd bytes, b + 16 * (a of the odd byte
// above) in even ones, modulo 256.
inline Counts unmix(__m256i sums, __m256i high) {
  const __m256i byte = _mm256_set1_epi16(255);
  Counts c;
  c.b_odd = _mm256_srli_epi16(high, 8);
  c.a_odd = _mm256_and_si256(
      _mm256_sub_epi16(_mm256_srli_epi16(sums, 8), _mm256_slli_epi16(c.b_odd, 4)), byte);
  c.b_even = _mm256_and_si256(_mm256_sub_epi16(high, _mm256_slli_epi16(c.a_odd, 4)), byte);
  c.a_even = _mm256_and_si256(_mm256_sub_epi16(sums, _mm256_slli_epi16(c.b_even, 4)), byte);
  return c;
}

inline void widen(__m256i even, __m256i odd, bool add, std::int32_t* out) {
  const __m256i half = _mm256_set1_epi32(0xffff);
  __m256i* to = reinterpret_cast<__m256i*>(out);
  __m256i r[4] = {_mm256_and_si256(even, half), _mm256_and_si256(odd, half),
                  _mm256_srli_epi32(even, 16), _mm256_srli_epi32(odd, 16)};
  for (int i = 0; i < 4; ++i) {
    if (add) r[i] = _mm256_add_epi32(r[i], _mm256_loadu_si256(to + i));
    _mm256_storeu_si256(to + i, r[i]);
  }
}

// Where the counts of a chunk go.
struct Sink {
  Counts* sums;      // [pair][vector]
  bool first, last;  // of the slice's chunks
  bool add;          // the slice is not the first one
};

inline void deliver(Counts c, Counts& sum, const Sink& sink, std::int32_t* a, std::int32_t* b) {
  if (!sink.first) {
    c.a_even = _mm256_add_epi16(c.a_even, sum.a_even);
    c.a_odd = _mm256_add_epi16(c.a_odd, sum.a_odd);
    c.b_even = _mm256_add_epi16(c.b_even, sum.b_even);
    c.b_odd = _mm256_add_epi16(c.b_odd, sum.b_odd);
  }
  if (!sink.last) {
    sum = c;
    return;
  }
  widen(c.a_even, c.a_odd, sink.add, a);
  if (b != nullptr) widen(c.b_even, c.b_odd, sink.add, b);
}

inline __m256i table(std::uint16_t offset) {
  return _mm256_broadcastsi128_si256(*reinterpret_cast<const __m128i*>(kTables.entry[0] + offset));
}

#define BNN_UNROLL _Pragma("GCC unroll 4")

// What a chunk adds to 32 filters, before unmix().
struct Bytes {
  __m256i sums, high;
};

// Some pairs of rows with C vectors of filters, over a chunk. Out of line: then the sums stay in
// registers, for GCC would rather keep what comes after the loop there.
template <std::size_t C>
__attribute__((noinline)) void chunk(const std::uint16_t* offsets, std::size_t pairs,
                                     const std::uint32_t* first, std::size_t triples,
                                     const __m256i* block, Bytes* out) {
  for (std::size_t p = 0; p < pairs; ++p, offsets += kPairOffsets, out += C) {
    __m256i sums[C], high[C];
    BNN_UNROLL for (std::size_t v = 0; v < C; ++v) sums[v] = high[v] = _mm256_setzero_si256();
    for (std::size_t t = 0; t < triples; ++t) {
      const __m256i* w = block + first[t] * C;
      const __m256i t0 = table(offsets[3 * t]), t1 = table(offsets[3 * t + 1]),
                    t2 = table(offsets[3 * t + 2]);
      BNN_UNROLL for (std::size_t v = 0; v < C; ++v) {
        const __m256i s = _mm256_add_epi8(
            _mm256_add_epi8(_mm256_shuffle_epi8(t0, w[v]), _mm256_shuffle_epi8(t1, w[C + v])),
            _mm256_shuffle_epi8(t2, w[2 * C + v]));
        sums[v] = _mm256_add_epi8(sums[v], s);
        high[v] = _mm256_add_epi8(high[v], _mm256_srli_epi16(s, 4));
      }
    }
    BNN_UNROLL for (std::size_t v = 0; v < C; ++v) out[v] = {sums[v], high[v]};
  }
}

// All rows with C vectors of filters, over a slice.
template <std::size_t C>
void sweep(const TileArgs& args, const Slice& slice, const std::uint16_t* offsets,
           const __m256i* block, bool add, std::int32_t* out) {
  Counts sums[kPairs][C];
  Bytes bytes[kBatch][C];
  const std::size_t pairs = (args.m + 1) / 2;
  for (std::size_t t = 0; t == 0 || t < slice.triples; t += kChunk) {
    const std::size_t triples = slice.triples - t < kChunk ? slice.triples - t : kChunk;
    const Sink sink = {nullptr, t == 0, t + triples == slice.triples, add};
    for (std::size_t p0 = 0; p0 < pairs; p0 += kBatch) {
      const std::size_t count = pairs - p0 < kBatch ? pairs - p0 : kBatch;
      chunk<C>(offsets + p0 * kPairOffsets + 3 * t, count, slice.first + t, triples, block,
               bytes[0]);
      for (std::size_t p = 0; p < count; ++p) {
        std::int32_t* a = out + (p0 + p) * 2 * args.stride;
        std::int32_t* b = (p0 + p) * 2 + 1 < args.m ? a + args.stride : nullptr;
        for (std::size_t v = 0; v < C; ++v) {
          deliver(unmix(bytes[p][v].sums, bytes[p][v].high), sums[p0 + p][v], sink, a + v * kLanes,
                  b == nullptr ? b : b + v * kLanes);
        }
      }
    }
  }
}

inline std::size_t block_vectors(std::size_t left) { return left < kVectors ? left : kVectors; }

std::size_t vectors(const PanelShape& shape) { return (shape.n + kLanes - 1) / kLanes; }

// Groups of a block.
std::size_t block_groups(const PanelShape& shape) {
  return shape.taps * Order(shape).tap_groups + 2;
}

}  // namespace

std::size_t panel_bytes(const PanelShape& shape) {
  return vectors(shape) * block_groups(shape) * kLanes;
}

void make_panel(const PanelShape& shape, const word_t* weight, void* panel) {
  const Order order(shape);
  const std::size_t k_words = shape.taps * shape.tap_words;
  std::uint8_t* out = static_cast<std::uint8_t*>(panel);
  for (std::size_t v0 = 0, count; v0 < vectors(shape); v0 += count) {
    count = block_vectors(vectors(shape) - v0);
    for (std::size_t g = 0; g < block_groups(shape); ++g) {
      const std::size_t tap = g / order.tap_groups, nibble = g % order.tap_groups;
      const std::size_t word = tap * shape.tap_words + nibble / kWordGroups;
      for (std::size_t i = 0; i < count * kLanes; ++i) {
        const std::size_t n = v0 * kLanes + i / kLanes * kLanes + i % 4 * 8 + i % kLanes / 4;
        const bool used = n < shape.n && tap < shape.taps;
        *out++ = used ? weight[n * k_words + word] >> (nibble % kWordGroups * 4) & 15 : 0;
      }
    }
  }
}

void tile(const TileArgs& args) {
  const Order order(args.shape);
  const std::size_t groups = block_groups(args.shape);
  alignas(64) std::uint16_t offsets[kPairs][kPairOffsets];  // a last word may be written whole
  Slice slice;
  Cursor cursor = {0, 0};
  bool add = false;
  do {
    next_slice(args, order, cursor, slice);
    for (std::size_t m = 0; m < args.m; m += 2) {
      gather(slice, args.rows[m], args.rows[m + 1 < args.m ? m + 1 : m], offsets[m / 2]);
    }
    const __m256i* block = static_cast<const __m256i*>(args.panel);
    std::int32_t* out = args.popcounts;
    for (std::size_t left = vectors(args.shape), count; left != 0; left -= count) {
      count = block_vectors(left);
      switch (count) {
        case 4:
          sweep<4>(args, slice, offsets[0], block, add, out);
          break;
        case 3:
          sweep<3>(args, slice, offsets[0], block, add, out);
          break;
        case 2:
          sweep<2>(args, slice, offsets[0], block, add, out);
          break;
        default:
          sweep<1>(args, slice, offsets[0], block, add, out);
      }
      block += count * groups;
      out += count * kLanes;
    }
    add = true;
  } while (cursor.run < args.run_count);
}

}  // namespace bnn::bgemm_64x128__avx2
