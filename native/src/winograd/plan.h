// 7x7 convolutions with stride 2 of few channels, the stems of residual networks, by minimal
// filtering: 32 multiplications for each output instead of 147.
#pragma once

#include "bnn/conv2d.h"
#include "epilogue/epilogue.h"
#include "winograd/kernel.h"

namespace bnn {

// Whether WinogradPlan computes it. Neither the batch nor the image's size decides.
bool is_winograd(const ConvShape& shape);

std::size_t winograd_panel_floats(const ConvShape& shape, Isa isa);
void make_winograd_panel(const ConvShape& shape, const float* weight, float* panel, Isa isa);

// Constant once made: many threads may run one plan at once.
class WinogradPlan {
 public:
  WinogradPlan(const ConvShape& shape, bool x_nchw, Isa isa);
  void run(const float* x, const void* panel, const Epilogue& epilogue) const;
  const char* kernel() const { return kernel_.name; }

  // What `run` does for each image, for others that do so row by row of tiles.
  struct Job {
    const float* columns;  // of `split`
    const void* panel;
    const Epilogue* epilogue;
    const FloatSteps* steps;  // of that epilogue, if the kernels take them, or null
    std::size_t first_pixel;  // of the image in the outputs
    // If the maximum of 3x3 pixels with stride 2 takes their place, of each channel: the last
    // kTile pixels, the maxima along the row above, and two rows of maxima. Else null.
    float* left = nullptr;    // (kTile, channels)
    float* above = nullptr;   // (kTile / 2 * tile_columns(), channels)
    float* maxima = nullptr;  // (2, kTile / 2 * tile_columns(), channels)
  };
  std::size_t tile_columns() const { return tiles_w_; }
  std::size_t tile_rows() const { return tiles_h_; }
  std::size_t columns_bytes() const;
  void split(const float* x, std::size_t image, float* columns) const;
  bool takes_steps(const Epilogue& epilogue, FloatSteps* steps) const;
  void run_row(const Job& job, std::size_t ty) const;

 private:
  void run_tiles(const Job& job, std::size_t ty, std::size_t tile, const float* transformed,
                 float* memory) const;

  ConvShape shape_;
  bool x_nchw_;
  Isa isa_;
  const WinogradKernel& kernel_;
  EpilogueKernel epilogue_;
  std::size_t tiles_h_, tiles_w_;
  std::size_t part_;        // tiles whose input is transformed at once
  std::size_t part_width_;  // of their products' rows
  std::size_t width_;       // of a column
};

}  // namespace bnn
