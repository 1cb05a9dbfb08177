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

 private:
  struct Job;

  void run_row(const Job& job, std::size_t ty) const;
  void run_tiles(const Job& job, std::size_t ty, std::size_t tile, const float* transformed,
                 float* memory) const;

  ConvShape shape_;
  bool x_nchw_;
  Isa isa_;
  const WinogradKernel& kernel_;
  EpilogueKernel epilogue_;
  std::size_t tiles_h_, tiles_w_;
  std::size_t width_;  // of a column
};

}  // namespace bnn
