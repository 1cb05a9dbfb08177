// Minimal filtering, blocks of 4 vectors of 16 filters, AVX-512. How: vector.h.
#define BNN_LANES 16
#include <immintrin.h>

#include "winograd/vector.h"

namespace bnn {
namespace {

inline Floats multiply_add(Floats a, Floats b, Floats sum) { return _mm512_fmadd_ps(a, b, sum); }

}  // namespace

namespace winograd_6x64__avx512vpopcntdq {

void transform(const WinogradRow& row) { run_transform(row); }
void multiply(const WinogradTiles& tiles) { multiply_of<kWinogradTiles, 4>(tiles); }

}  // namespace winograd_6x64__avx512vpopcntdq

}  // namespace bnn
