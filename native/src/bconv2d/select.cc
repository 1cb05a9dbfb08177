#include "bconv2d/depthwise_kernel.h"

namespace bnn {

#define BNN_DEPTHWISE(name, needs) \
  namespace name {                 \
  void tile(const TileArgs& args); \
  }
#include "bconv2d/depthwise.inc"
#undef BNN_DEPTHWISE

namespace {

constexpr DepthwiseKernel kKernels[] = {
#define BNN_DEPTHWISE(name, needs) {#name, needs, name::tile},
#include "bconv2d/depthwise.inc"
#undef BNN_DEPTHWISE
};

}  // namespace

const DepthwiseKernel& select_depthwise(Isa isa) {
  const DepthwiseKernel* best = kKernels;
  for (const DepthwiseKernel& kernel : kKernels) {
    if (isa_includes(isa, kernel.needs)) best = &kernel;
  }
  return *best;
}

}  // namespace bnn
