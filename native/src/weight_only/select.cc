#include "weight_only/kernel.h"

namespace bnn {

#define BNN_WEIGHT_ONLY(name, needs, pixels, filters, table_floats)                \
  namespace name {                                                                 \
  void expand(const float* x, std::size_t channels, float* tables);                \
  void arrange(const word_t* const* rows, std::size_t count, std::uint32_t* bits); \
  void tile(const WeightOnlyTile& tile);                                           \
  void lane_row(const LaneRow& row);                                               \
  }
#include "weight_only/weight_only.inc"
#undef BNN_WEIGHT_ONLY

namespace {

constexpr WeightOnlyKernel kKernels[] = {
#define BNN_WEIGHT_ONLY(name, needs, pixels, filters, table_floats)      \
  {#name,        needs,         pixels,     filters,       table_floats, \
   name::expand, name::arrange, name::tile, name::lane_row},
#include "weight_only/weight_only.inc"
#undef BNN_WEIGHT_ONLY
};

}  // namespace

const WeightOnlyKernel& select_weight_only(Isa isa) {
  const WeightOnlyKernel* best = kKernels;  // the portable one
  for (const WeightOnlyKernel& kernel : kKernels) {
    if (isa_includes(isa, kernel.needs)) best = &kernel;
  }
  return *best;
}

}  // namespace bnn
