// What of a float convolution or pooling does not depend on its tensors: made once, run many times.
#pragma once

#include <vector>

#include "bconv2d/regions.h"
#include "bnn/conv2d.h"
#include "bnn/pool.h"
#include "conv2d/tile.h"
#include "epilogue/epilogue.h"

namespace bnn {

enum class Window { kProducts, kDepthwise, kMaximum, kMean };

// Whether a convolution is computed by pairs of groups: see Interleave. One of them is a group
// here.
bool is_paired(const ConvShape& shape, Isa isa);

// The size of a panel's parts, in floats. A depthwise convolution has one group of one block.
struct FloatPanel {
  std::size_t rows;    // of a block: taps times channels of a group
  std::size_t vector;  // a kernel writes multiples of so many filters
  std::size_t block;   // filters of a block, but for the last one of a group
  std::size_t last;    // floats in a row of the last block, 0 if all are whole
  std::size_t whole;   // whole blocks of a group
  std::size_t group;   // floats of a group
  std::size_t groups;
};

FloatPanel plan_float_panel(const ConvShape& shape, Isa isa);

// Constant once made: many threads may run one plan at once.
class FloatPlan {
 public:
  FloatPlan(const ConvShape& shape, bool x_nchw, Isa isa);
  FloatPlan(const PoolShape& shape, Window window, bool count_include_pad, Isa isa);

  // `panel` is null for pooling.
  void run(const float* x, const void* panel, const Epilogue& epilogue) const;

  const char* kernel() const { return kernel_; }

 private:
  // The tiles of one stretch of an output row.
  struct Part {
    Stretch x;
    std::size_t tiles;
    std::size_t small, larger;  // pixels of a tile; the first `larger` tiles have one more
  };
  struct Cursor;
  struct Job;

  void set_lanes(const LaneKernel& kernel);
  void set_tiles(std::size_t most_pixels);
  void set_runs();
  void set_divisors(bool count_include_pad);
  std::vector<FloatRun> runs_of(const Stretch& y, const Stretch& x) const;
  const float* first_tap(const float* x, const Cursor& at) const;
  void run_tiles(const Job& job, const Cursor& at, std::size_t count, std::size_t part,
                 std::size_t pixel, float* sums) const;
  void run_chunk(const Job& job, std::size_t chunk, std::size_t part, float* memory) const;

  ConvShape shape_;
  bool x_nchw_;  // as the kernels see x
  bool copies_;  // x is NCHW and is copied to NHWC first
  bool paired_ = false;
  Window window_;
  Isa isa_;
  const char* kernel_;
  void (*tile_)(const FloatTile&);
  EpilogueKernel epilogue_;
  FloatPanel panel_{};
  std::size_t most_pixels_ = 0;
  std::size_t step_channels_ = 0;  // of multiples of so many channels the kernels take the steps;
  std::size_t bit_channels_ = 0;   // those that give bits: never if 0
  std::size_t out_h_ = 0;          // kept: it takes a division
  std::vector<Stretch> ys_;
  std::vector<std::size_t> y_of_row_;
  std::vector<Part> parts_;
  std::size_t row_tiles_ = 0;
  std::vector<std::vector<FloatRun>> runs_;  // of each y stretch and x stretch
  bool units_ = false;                       // see FloatTile
  std::vector<std::size_t> divisors_h_, divisors_w_;
};

}  // namespace bnn
