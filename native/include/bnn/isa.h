// Instruction sets: what the kernels are compiled for, and which of them this CPU runs.
#pragma once

#include <cstddef>

namespace bnn {

// In the order of preference: the last one that runs is the default.
enum class Isa : int { kPortable = 0, kNeon = 1, kAvx2 = 2, kAvx512Vpopcntdq = 3 };

inline constexpr int kIsaCount = 4;

// "portable", "neon", "avx2", "avx512vpopcntdq": as in BNN_ISA and in the kernels' names.
const char* isa_name(Isa isa);

// Whether this library holds kernels of that ISA and this CPU runs them.
bool isa_runs(Isa isa);

// Whether a kernel of ISA `needs` may be used where `isa` was asked for.
bool isa_includes(Isa isa, Isa needs);

// The most preferred ISA that runs.
Isa best_isa();

}  // namespace bnn
