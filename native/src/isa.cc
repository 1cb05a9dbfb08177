#include "bnn/isa.h"

namespace bnn {

namespace {

#if defined(__x86_64__)
bool cpu_runs(Isa isa) {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c") && __builtin_cpu_supports("bmi2");
  if (isa == Isa::kAvx2) return avx2;
  if (isa != Isa::kAvx512Vpopcntdq) return false;
  return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vpopcntdq");
}
#elif defined(__aarch64__)
bool cpu_runs(Isa isa) { return isa == Isa::kNeon; }  // part of AArch64 itself
#else
bool cpu_runs(Isa) { return false; }
#endif

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kNeon:
      return "neon";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512Vpopcntdq:
      return "avx512vpopcntdq";
    default:
      return "portable";
  }
}

bool isa_runs(Isa isa) { return isa == Isa::kPortable || cpu_runs(isa); }

bool isa_includes(Isa isa, Isa needs) {
  return needs == Isa::kPortable || needs == isa ||
         (needs == Isa::kAvx2 && isa == Isa::kAvx512Vpopcntdq);
}

Isa best_isa() {
  for (int i = kIsaCount - 1; i > 0; --i) {
    if (isa_runs(static_cast<Isa>(i))) return static_cast<Isa>(i);
  }
  return Isa::kPortable;
}

}  // namespace bnn
