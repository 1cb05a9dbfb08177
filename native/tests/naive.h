// What the tests compare with: one bit, one product, one sum at a time, in the order of the text of
// the API headers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "bnn/bconv2d.h"
#include "bnn/word.h"
#include "check.h"

namespace bnn::test {

// +1 or -1.
inline int value(const word_t* row, std::size_t i) {
  return (row[i / kWordBits] >> (i % kWordBits) & 1) != 0 ? -1 : 1;
}

// How bits are drawn: at random, or all the same (the worst case of a counter).
enum class Fill { kRandom, kZeros, kOnes };

// (rows, words(bits)), pad bits 0.
inline std::vector<word_t> packed_rows(Random& random, std::size_t rows, std::size_t bits,
                                       Fill fill = Fill::kRandom) {
  const std::size_t row_words = words(bits);
  std::vector<word_t> result(rows * row_words);
  for (std::size_t i = 0; i < result.size(); ++i) {
    const word_t all = fill == Fill::kRandom ? random.bits() : fill == Fill::kOnes ? ~word_t{0} : 0;
    result[i] = all & valid_bits(bits, i % row_words);
  }
  return result;
}

inline bool pad_bits_are_zero(const std::vector<word_t>& rows, std::size_t bits) {
  const std::size_t row_words = words(bits);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if ((rows[i] & ~valid_bits(bits, i % row_words)) != 0) return false;
  }
  return true;
}

// Memory aligned to 64 bytes that ends where it says: the address sanitizer sees one byte more.
class Aligned {
 public:
  explicit Aligned(std::size_t bytes) {
    void* memory = nullptr;
    check(posix_memalign(&memory, 64, bytes == 0 ? 1 : bytes) == 0, "no memory");
    data_.reset(memory);
  }
  void* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::unique_ptr<void, Free> data_;
};

// (batch, out_h, out_w, out_channels) sums of a binary convolution.
std::vector<std::int32_t> naive_bconv2d(const ConvShape& shape, const word_t* x,
                                        const word_t* weight);

// The same with float activations (batch, height, width, channels) and padding 0, in double.
// `magnitude` is the sum of the terms' absolute values, which bounds what rounding may change.
struct FloatSum {
  double sum, magnitude;
};
std::vector<FloatSum> naive_weight_only(const ConvShape& shape, const float* x,
                                        const word_t* weight);

// The same with float weights, (out_channels, kernel_h, kernel_w, channels / groups).
std::vector<FloatSum> naive_conv2d(const ConvShape& shape, const float* x, const float* weight);

// Text for messages.
std::string describe(const ConvShape& shape);

// A convolution with sizes around word edges.
ConvShape random_conv(Random& random);

// `rows` images of one pixel.
ConvShape linear(std::size_t rows, std::size_t in, std::size_t out);

}  // namespace bnn::test
