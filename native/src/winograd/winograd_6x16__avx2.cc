// Minimal filtering, blocks of 2 vectors of 8 filters, AVX2. How: vector.h.
#define BNN_LANES 8
#include <immintrin.h>

#include "winograd/vector.h"

namespace bnn {
namespace {

inline Floats multiply_add(Floats a, Floats b, Floats sum) { return _mm256_fmadd_ps(a, b, sum); }

}  // namespace

namespace winograd_6x16__avx2 {

void transform(const WinogradRow& row) { run_transform(row); }
void multiply(const WinogradTiles& tiles) { multiply_of<kWinogradTiles, 2>(tiles); }

}  // namespace winograd_6x16__avx2

}  // namespace bnn
