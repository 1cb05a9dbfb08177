#include "bgemm/select.h"

namespace bnn {

#define BNN_BGEMM(name, needs, mr, min_rows, priority, rows)             \
  namespace name {                                                       \
  std::size_t panel_bytes(const PanelShape& shape);                      \
  void make_panel(const PanelShape&, const word_t* weight, void* panel); \
  void tile(const TileArgs& args);                                       \
  }
#include "bgemm/bgemm.inc"
#undef BNN_BGEMM

namespace {

constexpr BgemmKernel kKernels[] = {
#define BNN_BGEMM(name, needs, mr, min_rows, priority, rows) \
  {#name, needs, mr, min_rows, priority, rows, name::panel_bytes, name::make_panel, name::tile},
#include "bgemm/bgemm.inc"
#undef BNN_BGEMM
};

}  // namespace

const BgemmKernel* bgemm_kernels(std::size_t* count) {
  *count = sizeof(kKernels) / sizeof(kKernels[0]);
  return kKernels;
}

const BgemmKernel& select_bgemm(std::size_t rows, Isa isa) {
  const BgemmKernel* best = nullptr;
  for (const BgemmKernel& kernel : kKernels) {
    if (!isa_includes(isa, kernel.needs) || rows < kernel.min_rows) continue;
    if (best == nullptr || kernel.priority > best->priority) best = &kernel;
  }
  return *best;  // the portable kernel serves everything
}

}  // namespace bnn
