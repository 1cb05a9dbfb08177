// Instruction sets: which include which, and which of them run.
#include <cstring>

#include "check.h"

namespace bnn::test {

BNN_TEST(isa_names_differ) {
  for (int i = 0; i < kIsaCount; ++i) {
    for (int j = 0; j < i; ++j) {
      const char* a = isa_name(static_cast<Isa>(i));
      const char* b = isa_name(static_cast<Isa>(j));
      check(std::strcmp(a, b) != 0, "both %d and %d are %s", i, j, a);
    }
  }
}

BNN_TEST(isa_portable_always_runs) {
  check(isa_runs(Isa::kPortable), "portable does not run");
  check(isa_runs(best_isa()), "the best ISA, %s, does not run", isa_name(best_isa()));
}

BNN_TEST(isa_includes_itself_and_portable) {
  for (int i = 0; i < kIsaCount; ++i) {
    const Isa isa = static_cast<Isa>(i);
    check(isa_includes(isa, isa), "%s lacks itself", isa_name(isa));
    check(isa_includes(isa, Isa::kPortable), "%s lacks portable", isa_name(isa));
  }
  check(isa_includes(Isa::kAvx512Vpopcntdq, Isa::kAvx2), "AVX-512 lacks AVX2");
  check(!isa_includes(Isa::kAvx2, Isa::kAvx512Vpopcntdq), "AVX2 has AVX-512");
  check(!isa_includes(Isa::kNeon, Isa::kAvx2), "NEON has AVX2");
  check(!isa_includes(Isa::kPortable, Isa::kNeon), "portable has NEON");
}

// What an ISA includes must run where it runs: a kernel of either may then be taken.
BNN_TEST(isa_inclusion_agrees_with_the_cpu) {
  for (int i = 0; i < kIsaCount; ++i) {
    for (int j = 0; j < kIsaCount; ++j) {
      const Isa isa = static_cast<Isa>(i), needs = static_cast<Isa>(j);
      if (!isa_runs(isa) || !isa_includes(isa, needs)) continue;
      check(isa_runs(needs), "%s runs but %s does not", isa_name(isa), isa_name(needs));
    }
  }
}

#if defined(__aarch64__)
BNN_TEST(isa_neon_is_part_of_aarch64) {
  check(best_isa() == Isa::kNeon, "the best ISA is %s", isa_name(best_isa()));
}
#endif

}  // namespace bnn::test
