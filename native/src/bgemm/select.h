// The table of tile kernels, and which of its rows serves a product.
#pragma once

#include "bgemm/bgemm.h"

namespace bnn {

// All rows of bgemm.inc that are compiled in.
const BgemmKernel* bgemm_kernels(std::size_t* count);

// The row for a product of `rows` rows where `isa` was asked for.
const BgemmKernel& select_bgemm(std::size_t rows, Isa isa);

}  // namespace bnn
