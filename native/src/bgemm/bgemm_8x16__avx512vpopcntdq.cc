// Binary product, 8 rows by 16 filters, AVX-512 with VPOPCNTDQ and carry-save counting.
//
//   popcounts[n] = popcount(row xor filter n) over the words of all runs
//
// Lanes are filters: a 32-bit half word of a row is broadcast and meets the same half word of 16
// filters, so no sum is ever taken across lanes. Three half words x1, x2, x3 (x = row xor filter)
// are counted with two popcounts:
//
//   s = x1 ^ x2 ^ x3         the parity of the row's three ^ the parity of the filter's three
//   c = majority(x1, x2, x3) from x1, x2 and s: where x1 == x2 it is x1, else it is not s
//   popcount(x1) + popcount(x2) + popcount(x3) = popcount(s) + 2 * popcount(c)
//
// The row's parities come with it (RowForm::kHalvesWithParity), so x3 is never formed: 8 operations
// for 3 half words, where XOR, VPOPCNTD and VPADDD for each are 9. What is left of a run after its
// threes is counted plainly, so a run may begin and end anywhere.
//
// Panel: blocks of 16 filters, each [half word of the filter][filter]. Half words that hold only
// pad bits are not in it. Filters beyond the last are 0; their sums are written to the excess of
// `stride` and mean nothing.
#include <immintrin.h>

#include "bgemm/bgemm.h"

// In all loops over M and V: else GCC keeps the sums in memory.
#define BNN_UNROLL _Pragma("GCC unroll 16")

namespace bnn::bgemm_8x16__avx512vpopcntdq {

namespace {

constexpr std::size_t kLanes = 16;

// Half words of a tap that hold values.
std::size_t tap_halves(const PanelShape& shape) { return (shape.tap_bits + 31) / 32; }

std::size_t blocks(const PanelShape& shape) { return (shape.n + kLanes - 1) / kLanes; }

inline __m512i broadcast(std::uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }

// sum += the counts of x. In assembly, for GCC gives each turn's sum another register and copies it
// back at the end of the loop. A copy takes a port, as an addition does.
inline __attribute__((always_inline)) void add_counts(__m512i& sum, __m512i x) {
  asm("vpaddd %1, %0, %0" : "+v"(sum) : "v"(_mm512_popcnt_epi32(x)));
}

// Where half words are, in 32-bit words: from a row's base (each has its parity behind it), and in
// 16 filters of the panel.
struct Step {
  std::ptrdiff_t row;
  std::size_t panel;
};

constexpr std::size_t kSteps = 256;

// The half words of a tile as one list, the same for all its rows and filters: three side by side
// are a step, and so is each that is left over. Blocks of 8 x 16 then have no loop over runs, whose
// ends cost 8 % where a run has 4 steps.
struct Steps {
  std::size_t three_count, one_count;
  Step threes[kSteps], ones[kSteps];
};

// Walks the runs of a tile; gives as many steps at a time as a list holds.
class Cursor {
 public:
  explicit Cursor(const TileArgs& args)
      : args_(args), halves_(tap_halves(args.shape)), whole_(halves_ == 2 * args.shape.tap_words) {}

  bool more() const { return run_ < args_.run_count; }

  void next(Steps& steps) {
    steps.three_count = steps.one_count = 0;
    for (; more(); ++run_, tap_ = 0) {
      const Run& run = args_.runs[run_];
      const std::size_t stretches = whole_ ? 1 : run.taps;  // of half words side by side
      const std::size_t length = whole_ ? 2 * run.count : halves_;
      for (; tap_ < stretches; ++tap_, half_ = 0) {
        // A word of the weight is two words of a row.
        const std::ptrdiff_t row =
            2 * (run.offset + static_cast<std::ptrdiff_t>(2 * tap_ * args_.shape.tap_words));
        const std::size_t panel = (run.tap + tap_) * halves_;
        const auto step = [&]() -> Step {
          return {row + static_cast<std::ptrdiff_t>(2 * half_), (panel + half_) * kLanes};
        };
        for (; half_ + 3 <= length; half_ += 3) {
          if (steps.three_count == kSteps) return;
          steps.threes[steps.three_count++] = step();
        }
        for (; half_ < length; ++half_) {
          if (steps.one_count == kSteps) return;
          steps.ones[steps.one_count++] = step();
        }
      }
    }
  }

 private:
  const TileArgs& args_;
  std::size_t halves_;
  bool whole_;  // a run is one stretch of half words
  std::size_t run_ = 0, tap_ = 0, half_ = 0;
};

// M rows with V vectors of filters, each `block_size` after the one before. `add`: to what is in
// `out`.
template <int M, int V>
void block(const TileArgs& args, const Steps& steps, bool add, std::size_t row,
           const std::uint32_t* panel, std::size_t block_size, std::int32_t* out) {
  const std::uint32_t* a[M];  // half word i is a[2 * i], its parity a[2 * i + 1]
  __m512i ones[V][M], twos[V][M];
  BNN_UNROLL for (int m = 0; m < M; ++m) {
    a[m] = reinterpret_cast<const std::uint32_t*>(args.rows[row + m]);
    BNN_UNROLL for (int v = 0; v < V; ++v) ones[v][m] = twos[v][m] = _mm512_setzero_si512();
  }
  for (const Step *step = steps.threes, *end = step + steps.three_count; step != end; ++step) {
    const std::ptrdiff_t at = step->row;  // one index serves all rows: no pointer is moved
    BNN_UNROLL for (int v = 0; v < V; ++v) {
      const std::uint32_t* w = panel + step->panel + v * block_size;
      const __m512i w1 = _mm512_loadu_si512(w), w2 = _mm512_loadu_si512(w + kLanes);
      const __m512i parity =
          _mm512_ternarylogic_epi32(w1, w2, _mm512_loadu_si512(w + 2 * kLanes), 0x96);  // xor
      BNN_UNROLL for (int m = 0; m < M; ++m) {
        const __m512i x1 = _mm512_xor_si512(w1, broadcast(a[m][at]));
        const __m512i x2 = _mm512_xor_si512(w2, broadcast(a[m][at + 2]));
        const __m512i s = _mm512_xor_si512(parity, broadcast(a[m][at + 1]));
        add_counts(ones[v][m], s);
        add_counts(twos[v][m], _mm512_ternarylogic_epi32(x1, x2, s, 0xd4));
      }
    }
  }
  for (const Step *step = steps.ones, *end = step + steps.one_count; step != end; ++step) {
    BNN_UNROLL for (int v = 0; v < V; ++v) {
      const __m512i weights = _mm512_loadu_si512(panel + step->panel + v * block_size);
      BNN_UNROLL for (int m = 0; m < M; ++m) {
        add_counts(ones[v][m], _mm512_xor_si512(weights, broadcast(a[m][step->row])));
      }
    }
  }
  BNN_UNROLL for (int v = 0; v < V; ++v) {
    BNN_UNROLL for (int m = 0; m < M; ++m) {
      std::int32_t* to = out + m * args.stride + v * kLanes;
      __m512i sum = _mm512_add_epi32(ones[v][m], _mm512_add_epi32(twos[v][m], twos[v][m]));
      if (add) sum = _mm512_add_epi32(sum, _mm512_loadu_si512(to));
      _mm512_storeu_si512(to, sum);
    }
  }
}

// All rows with 16 filters, whose weights stay in the first-level cache.
void filters(const TileArgs& args, const Steps& steps, bool add, const std::uint32_t* panel,
             std::int32_t* out) {
  std::size_t row = 0;
  for (; row + 8 <= args.m; row += 8) {
    block<8, 1>(args, steps, add, row, panel, 0, out + row * args.stride);
  }
  constexpr decltype(&block<1, 1>) kRest[] = {block<1, 1>, block<2, 1>, block<3, 1>, block<4, 1>,
                                              block<5, 1>, block<6, 1>, block<7, 1>};
  if (row == args.m) return;
  kRest[args.m - row - 1](args, steps, add, row, panel, 0, out + row * args.stride);
}

}  // namespace

std::size_t panel_bytes(const PanelShape& shape) {
  return blocks(shape) * kLanes * shape.taps * tap_halves(shape) * sizeof(std::uint32_t);
}

void make_panel(const PanelShape& shape, const word_t* weight, void* panel) {
  std::uint32_t* out = static_cast<std::uint32_t*>(panel);
  for (std::size_t n0 = 0; n0 < shape.n; n0 += kLanes) {
    for (std::size_t tap = 0; tap < shape.taps; ++tap) {
      for (std::size_t half = 0; half < tap_halves(shape); ++half) {
        for (std::size_t n = n0; n < n0 + kLanes; ++n) {
          const word_t* filter = weight + (n * shape.taps + tap) * shape.tap_words;
          *out++ =
              n < shape.n ? static_cast<std::uint32_t>(filter[half / 2] >> (half % 2 * 32)) : 0;
        }
      }
    }
  }
}

void tile(const TileArgs& args) {
  const std::size_t block_size = args.shape.taps * tap_halves(args.shape) * kLanes;
  Steps steps;
  Cursor cursor(args);
  bool add = false;
  do {
    cursor.next(steps);
    const std::uint32_t* panel = static_cast<const std::uint32_t*>(args.panel);
    std::size_t n = 0;
    // Of one or two rows there is little to do in a step: 4 vectors of filters share its cost.
    for (; args.m <= 2 && n + 4 * kLanes <= args.shape.n; n += 4 * kLanes) {
      const auto wide = args.m == 1 ? block<1, 4> : block<2, 4>;
      wide(args, steps, add, 0, panel, block_size, args.popcounts + n);
      panel += 4 * block_size;
    }
    for (; n < args.shape.n; n += kLanes, panel += block_size) {
      filters(args, steps, add, panel, args.popcounts + n);
    }
    add = true;
  } while (cursor.more());
}

}  // namespace bnn::bgemm_8x16__avx512vpopcntdq
