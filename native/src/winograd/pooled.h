// The stem of residual networks: a 7x7 convolution with stride 2 and, behind it, the maximum of 3x3
// with stride 2, which is taken before the pixels are ever written.
#pragma once

#include "bnn/pool.h"
#include "winograd/plan.h"

namespace bnn {

// Whether PooledWinogradPlan computes them; `between` is the convolution's epilogue, which has no
// outputs yet; what changes the order of values, as PReLU may, comes before a maximum.
bool is_pooled_winograd(const ConvShape& conv, const Epilogue& between, const PoolShape& pool);

// Constant once made: many threads may run one plan at once.
class PooledWinogradPlan {
 public:
  PooledWinogradPlan(const ConvShape& conv, bool x_nchw, const PoolShape& pool, Isa isa);
  void run(const float* x, const void* panel, const Epilogue& between,
           const Epilogue& epilogue) const;
  const char* kernel() const { return conv_.kernel(); }

 private:
  void run_rows(WinogradPlan::Job job, const Epilogue& epilogue, std::size_t image,
                std::size_t begin, std::size_t end) const;

  WinogradPlan conv_;
  PoolShape pool_;
  EpilogueKernel epilogue_;
};

}  // namespace bnn
