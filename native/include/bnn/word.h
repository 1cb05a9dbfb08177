// The packed word, defined once.
//
// bit = (x < 0): +1 -> 0, -1 -> 1. Least significant bit first. Pad bits, the unused ones of a last
// word, are 0 in both operands and cancel in the xor:
//
//   dot(a, b) over k elements = k - 2 * popcount(a xor b)
#pragma once

#include <cstddef>
#include <cstdint>

namespace bnn {

using word_t = std::uint64_t;

inline constexpr std::size_t kWordBits = 64;

// Words that hold `bits` bits.
constexpr std::size_t words(std::size_t bits) { return (bits + kWordBits - 1) / kWordBits; }

// The bits of word `index` that hold values, where a row has `bits` of them.
constexpr word_t valid_bits(std::size_t bits, std::size_t index) {
  const std::size_t left = bits - index * kWordBits;
  return left >= kWordBits ? ~word_t{0} : (word_t{1} << left) - 1;
}

}  // namespace bnn
