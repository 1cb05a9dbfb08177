// The K of a tile, cut up for bgemm_64x128__avx2: slices that its scratch
// holds, and in each the parts that lie side by side in the panel.
//
// K is counted in "groups": 4 bits. A word has 16, but groups that hold only
// pad bits are neither in the panel nor in a slice. Anonymous, for what is
// compiled with -mavx2 must not be shared.
#pragma once

#include "bgemm/bgemm.h"

namespace bnn::bgemm_64x128__avx2 {

namespace {

constexpr std::size_t kWordGroups = 16;
constexpr std::size_t kPartGroups = 63;                 // counts of 4 * 63 fit a byte
constexpr std::size_t kSliceGroups = 10 * kPartGroups;  // and of a slice 16 bits
constexpr std::size_t kStretches = 64;
constexpr std::size_t kSpans = 6;  // of parts that follow each other in the panel
constexpr std::size_t kParts = kSpans + kSliceGroups / kPartGroups;

constexpr std::size_t tap_groups(const PanelShape& shape) { return (shape.tap_bits + 3) / 4; }

// Words that lie side by side in a row; all but the last one have 16 groups.
struct Stretch {
  std::ptrdiff_t from;  // in words, from the row's base
  std::size_t words;
  std::size_t at;  // its first group in the slice
};

// Groups that lie side by side in the panel: the first one there and in the
// slice.
struct Part {
  std::size_t panel, at, count;
};

struct Slice {
  std::size_t stretch_count, part_count;
  Stretch stretches[kStretches];
  Part parts[kParts];

  // Cut evenly, in whole triples but for the last part.
  void add_span(std::size_t panel, std::size_t at, std::size_t count) {
    for (std::size_t left = (count + kPartGroups - 1) / kPartGroups; left != 0; --left) {
      const std::size_t even = (count + left * 3 - 1) / (left * 3) * 3;
      const std::size_t size = even < count ? even : count;
      parts[part_count++] = {panel, at, size};
      panel += size;
      at += size;
      count -= size;
    }
  }
};

// Walks the runs of a tile, slice by slice.
class Cursor {
 public:
  explicit Cursor(const TileArgs& args)
      : args_(args),
        tap_groups_(tap_groups(args.shape)),
        whole_(tap_groups_ == args.shape.tap_words * kWordGroups) {}

  bool more() const { return run_ < args_.run_count; }

  void next(Slice& slice) {
    std::size_t at = 0, spans = 1;
    std::size_t begin = 0,
                panel = 0;  // of the span, in the slice and in the panel
    slice.stretch_count = slice.part_count = 0;
    while (more() && slice.stretch_count < kStretches) {
      const Run& run = args_.runs[run_];
      const std::size_t k = run.k + word_;
      const std::size_t room = (kSliceGroups - at) / kWordGroups;
      if (room == 0) break;
      if (group(k) != panel + (at - begin)) {
        if (at != 0 && spans++ == kSpans) break;
        slice.add_span(panel, begin, at - begin);
        begin = at;
        panel = group(k);
      }
      const std::size_t length = stretch(run);
      const std::size_t words = length < room ? length : room;
      slice.stretches[slice.stretch_count++] = {run.offset + static_cast<std::ptrdiff_t>(word_),
                                                words, at};
      at += group(k + words) - group(k);
      word_ += words;
      if (word_ == run.count) {
        ++run_;
        word_ = 0;
      }
    }
    slice.add_span(panel, begin, at - begin);
  }

 private:
  // The place in the panel of a word of the filter.
  std::size_t group(std::size_t k) const {
    const std::size_t tap_words = args_.shape.tap_words;
    return k / tap_words * tap_groups_ + k % tap_words * kWordGroups;
  }

  // Words from here to the next gap: in a tap's last word, or where the run
  // ends.
  std::size_t stretch(const Run& run) const {
    if (whole_) return run.count - word_;
    return args_.shape.tap_words - (run.k + word_) % args_.shape.tap_words;
  }

  const TileArgs& args_;
  std::size_t tap_groups_;
  bool whole_;  // the last word of a tap has 16 groups, too
  std::size_t run_ = 0, word_ = 0;
};

}  // namespace

}  // namespace bnn::bgemm_64x128__avx2
