// Minimal filtering, 8 tiles and 2 vectors of 16 filters, AVX-512. How: vector.h.
//
// The products of 8 tiles and 32 filters, 36 KiB, stay in the first-level cache.
#define BNN_LANES 16
#include <immintrin.h>

#include "winograd/vector.h"

namespace bnn {
namespace {

inline Floats multiply_add(Floats a, Floats b, Floats sum) { return _mm512_fmadd_ps(a, b, sum); }

}  // namespace

namespace winograd_8x32__avx512vpopcntdq {

void transform(const WinogradRow& row) { run_transform(row); }
void multiply(const WinogradTiles& tiles) { multiply_of<8, 8, 2>(tiles); }

}  // namespace winograd_8x32__avx512vpopcntdq

}  // namespace bnn
