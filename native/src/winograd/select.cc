#include "winograd/kernel.h"

namespace bnn {

#define BNN_WINOGRAD(name, needs, block)     \
  namespace name {                           \
  void transform(const WinogradRow& row);    \
  void multiply(const WinogradTiles& tiles); \
  }
#include "winograd/winograd.inc"
#undef BNN_WINOGRAD

namespace {

constexpr WinogradKernel kKernels[] = {
#define BNN_WINOGRAD(name, needs, block) {#name, needs, block, name::transform, name::multiply},
#include "winograd/winograd.inc"
#undef BNN_WINOGRAD
};

}  // namespace

const WinogradKernel& select_winograd(Isa isa) {
  const WinogradKernel* best = kKernels;  // the portable one
  for (const WinogradKernel& kernel : kKernels) {
    if (isa_includes(isa, kernel.needs)) best = &kernel;
  }
  return *best;
}

}  // namespace bnn
