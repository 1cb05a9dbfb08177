// Element types of unpacked tensors.
#pragma once

#include <cstddef>

namespace bnn {

enum class DType : int { kFloat32 = 0, kFloat16 = 1, kBFloat16 = 2, kInt8 = 3 };

constexpr std::size_t dtype_size(DType dtype) {
  return dtype == DType::kFloat32 ? 4 : dtype == DType::kInt8 ? 1 : 2;
}

}  // namespace bnn
