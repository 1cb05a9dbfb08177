#include "winograd/kernel.h"

namespace bnn {

#define BNN_WINOGRAD(name, needs, tiles, block, part)                                           \
  namespace name {                                                                              \
  void split(const float* x, std::size_t size, std::size_t pad, std::size_t width, float* out); \
  void transform(const WinogradRow& row);                                                       \
  void multiply(const WinogradTiles& args);                                                     \
  }
#include "winograd/winograd.inc"
#undef BNN_WINOGRAD

namespace {

constexpr WinogradKernel kKernels[] = {
#define BNN_WINOGRAD(name, needs, tiles, block, part) \
  {#name, needs, tiles, block, part, name::split, name::transform, name::multiply},
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
