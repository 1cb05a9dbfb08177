// The contract of a tile kernel: the inner part of binary matrix products and convolutions.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bnn/isa.h"
#include "bnn/word.h"

namespace bnn {

// A row of A is given by a base pointer and runs: consecutive words that begin `offset` words after
// the base. A run is a tap of the convolution's kernel, or several that lie side by side; in a
// linear layer it is the whole row. Offsets are the same for all rows of a tile.
struct Run {
  std::ptrdiff_t offset;  // from the row's base, in words of the row's form
  std::size_t tap, taps;  // the taps that lie here
  std::size_t k, count;   // the same in words of a filter: tap * tap_words, taps * tap_words
};

// What the panel of a kernel holds: n filters of k_words words each, of which the trailing
// `tap_words` words of every tap carry tap_bits bits.
struct PanelShape {
  std::size_t n;          // filters
  std::size_t taps;       // taps of the convolution's kernel
  std::size_t tap_bits;   // channels of a tap
  std::size_t tap_words;  // words(tap_bits)
};

// A kernel may ask for rows in which every half word has its parity beside it:
//
//   word j = half[j] | (half[j] ^ half[j + 1] ^ half[j + 2]) << 32
//
// with j through all half words of the image. Rows and offsets are then twice as long.
enum class RowForm { kWords, kHalvesWithParity };

struct TileArgs {
  PanelShape shape;
  const void* panel;          // made by the kernel's own make_panel
  const word_t* weight;       // (n, taps, tap_words), as it is
  std::size_t m;              // rows of this tile, 1 to the kernel's `mr`
  const word_t* const* rows;  // m base pointers
  const Run* runs;
  std::size_t run_count;
  std::int32_t* popcounts;  // (m, stride): popcount(row xor filter) over the runs
  std::size_t stride;       // at least n rounded up to a multiple of 32; excess is scratch
};

// Threads share the filters of a layer in multiples of this.
inline constexpr std::size_t kFilterBlock = 128;

struct BgemmKernel {
  const char* name;
  Isa needs;
  std::size_t mr;  // most rows of a tile
  // A kernel serves products of at least min_rows rows; of those that do, the highest priority
  // wins.
  std::size_t min_rows;
  int priority;
  RowForm rows;
  // The panel of the first n filters, n a multiple of kFilterBlock, is the first part of the whole
  // panel: work is shared among threads by such parts.
  std::size_t (*panel_bytes)(const PanelShape& shape);
  void (*make_panel)(const PanelShape& shape, const word_t* weight, void* panel);
  void (*tile)(const TileArgs& args);
};

}  // namespace bnn
