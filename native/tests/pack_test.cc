// pack and unpack for every ISA against one element at a time, exactly.
#include "bnn/pack.h"

#include <sys/mman.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "naive.h"

namespace bnn::test {
namespace {

constexpr DType kTypes[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kInt8};
constexpr const char* kTypeNames[] = {"float32", "float16", "bfloat16", "int8"};

float float_from_bits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// IEEE half precision: sign, 5 bits of exponent, 10 of fraction.
float float_from_half(std::uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  float value;
  if (exponent == 31) {
    value = fraction == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    value = std::ldexp(static_cast<float>(fraction), -24);
  } else {
    value = std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  }
  return (half & 0x8000) != 0 ? -value : value;
}

float read(const std::vector<unsigned char>& x, DType type, std::size_t i) {
  if (type == DType::kInt8) return static_cast<signed char>(x[i]);
  if (type == DType::kFloat32) {
    std::uint32_t bits;
    std::memcpy(&bits, &x[4 * i], sizeof(bits));
    return float_from_bits(bits);
  }
  std::uint16_t bits;
  std::memcpy(&bits, &x[2 * i], sizeof(bits));
  return type == DType::kFloat16 ? float_from_half(bits)
                                 : float_from_bits(static_cast<std::uint32_t>(bits) << 16);
}

// Any bit pattern, so NaN of both signs and subnormals too; often 0, -0 and the smallest numbers.
std::vector<unsigned char> elements(std::size_t count, DType type) {
  const std::size_t size = dtype_size(type);
  std::vector<unsigned char> x(count * size);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint64_t bits = random().bits();
    if (random().one_in(4)) bits = random().between(0, 1);
    if (random().one_in(8)) bits = std::uint64_t{1} << (8 * size - 1);  // -0, or -128
    if (random().one_in(2) && type == DType::kFloat32) {
      const float tame = random().real();
      std::uint32_t pattern;
      std::memcpy(&pattern, &tame, sizeof(tame));
      bits = pattern;
    }
    std::memcpy(&x[i * size], &bits, size);
  }
  return x;
}

struct Layout {
  std::size_t batch, channels, pixels;
  bool channels_last;

  std::size_t element(std::size_t b, std::size_t c, std::size_t p) const {
    return channels_last ? (b * pixels + p) * channels + c : (b * channels + c) * pixels + p;
  }
};

Layout random_layout() {
  Layout layout;
  layout.batch = random().one_in(20) ? 0 : random().between(1, 3);
  layout.channels = random().one_in(2) ? random().between(1, 200)
                                       : random().pick({1, 3, 32, 33, 63, 64, 65, 128, 129, 500});
  layout.pixels = random().one_in(2) ? random().between(1, 150)
                                     : random().pick({1, 2, 15, 16, 17, 63, 64, 65, 128, 1000});
  layout.channels_last = random().one_in(2);
  return layout;
}

// Thresholds that some elements meet exactly: products and sums of 0 decide nothing by rounding.
const float* parameters(std::vector<float>& values, std::size_t count) {
  if (random().one_in(3)) return nullptr;
  values.resize(count);
  for (float& value : values) {
    const std::size_t kind = random().between(0, 5);
    value = kind == 0   ? 0.0f
            : kind == 1 ? -1.0f
            : kind == 2 ? 0.5f
            : kind == 3 ? float_from_bits(static_cast<std::uint32_t>(random().bits()))
                        : random().real();
  }
  return values.data();
}

void pack_random(Isa isa) {
  for (int round = 0; round < effort(400); ++round) {
    const Threads restore(random().one_in(4) ? 3 : 1);
    const Layout layout = random_layout();
    const DType type = kTypes[random().between(0, 3)];
    const auto x = elements(layout.batch * layout.channels * layout.pixels, type);
    std::vector<float> scale, shift;
    PackArgs args{x.data(),        type,          layout.batch,
                  layout.channels, layout.pixels, layout.channels_last,
                  nullptr,         nullptr,       nullptr};
    args.scale = parameters(scale, layout.channels);
    args.shift = parameters(shift, layout.channels);
    const std::size_t row_words = words(layout.channels);
    std::vector<word_t> out(layout.batch * layout.pixels * row_words, ~word_t{0});
    args.out = out.data();
    pack(args, isa);
    for (std::size_t b = 0; b < layout.batch; ++b) {
      for (std::size_t p = 0; p < layout.pixels; ++p) {
        for (std::size_t c = 0; c < layout.channels; ++c) {
          float v = read(x, type, layout.element(b, c, p));
          v = std::fma(v, args.scale == nullptr ? 1 : args.scale[c],
                       args.shift == nullptr ? 0 : args.shift[c]);
          const int want = v < 0 ? -1 : 1;
          const int got = value(&out[(b * layout.pixels + p) * row_words], c);
          check(got == want, "%s (%zu, %zu, %zu) channels_last %d: %.9g at %zu, %zu, %zu is %+d",
                kTypeNames[static_cast<int>(type)], layout.batch, layout.channels, layout.pixels,
                layout.channels_last, v, b, c, p, got);
        }
      }
    }
    check(pad_bits_are_zero(out, layout.channels), "pad bits are not 0 (%zu channels)",
          layout.channels);
  }
}

void unpack_random(Isa isa) {
  constexpr std::uint32_t kPlus[] = {0x3f800000, 0x3c00, 0x3f80, 1};
  constexpr std::uint32_t kMinus[] = {0xbf800000, 0xbc00, 0xbf80, 0xff};
  for (int round = 0; round < effort(400); ++round) {
    const Threads restore(random().one_in(4) ? 3 : 1);
    const Layout layout = random_layout();
    const int type = static_cast<int>(random().between(0, 3));
    const std::size_t size = dtype_size(kTypes[type]), row_words = words(layout.channels);
    const auto x = packed_rows(random(), layout.batch * layout.pixels, layout.channels);
    std::vector<unsigned char> out(layout.batch * layout.pixels * layout.channels * size, 0xa5);
    unpack({x.data(), kTypes[type], layout.batch, layout.channels, layout.pixels,
            layout.channels_last, out.data()},
           isa);
    for (std::size_t b = 0; b < layout.batch; ++b) {
      for (std::size_t p = 0; p < layout.pixels; ++p) {
        for (std::size_t c = 0; c < layout.channels; ++c) {
          const bool minus = value(&x[(b * layout.pixels + p) * row_words], c) < 0;
          const std::uint32_t want = minus ? kMinus[type] : kPlus[type];
          std::uint32_t got = 0;
          std::memcpy(&got, &out[layout.element(b, c, p) * size], size);
          check(got == want, "%s (%zu, %zu, %zu) channels_last %d: %x, not %x at %zu, %zu, %zu",
                kTypeNames[type], layout.batch, layout.channels, layout.pixels,
                layout.channels_last, got, want, b, c, p);
        }
      }
    }
  }
}

// x * scale would be rounded to -shift, but is less: the bit is 0 if the product is rounded before
// the sum, and 1 if they are fused, as they are in torch's batch norm.
void product_is_not_rounded(Isa isa) {
  const float x = -(1 + 0x1p-12f), s = 1 + 0x1p-12f, product = -(1 + 0x1p-11f);
  for (const bool channels_last : {false, true}) {
    for (const std::size_t channels : {1, 64, 100}) {
      for (const std::size_t pixels : {1, 3, 70}) {
        const std::vector<float> values(channels * pixels, x), scale(channels, s),
            shift(channels, -product);
        std::vector<word_t> out(pixels * words(channels), ~word_t{0});
        pack({values.data(), DType::kFloat32, 1, channels, pixels, channels_last, scale.data(),
              shift.data(), out.data()},
             isa);
        for (const word_t word : out) {
          check(word != 0, "not fused, %zu x %zu", channels, pixels);
        }
      }
    }
  }
}

// Every float16: what each ISA converts in its own way.
void every_half(Isa isa) {
  std::vector<unsigned char> x(2 * 65536);
  for (std::size_t i = 0; i < 65536; ++i) {
    const std::uint16_t half = static_cast<std::uint16_t>(i);
    std::memcpy(&x[2 * i], &half, sizeof(half));
  }
  // 1024 channels: each threshold meets a sixty-fourth of all values.
  constexpr std::size_t kChannels = 1024, kPixels = 64;
  std::vector<float> scale(kChannels, 1.0f), shift(kChannels);
  for (std::size_t c = 0; c < kChannels; ++c) {
    shift[c] = -float_from_half(static_cast<std::uint16_t>(c * 61));
  }
  for (const bool thresholds : {false, true}) {
    std::vector<word_t> out(kPixels * words(kChannels));
    pack({x.data(), DType::kFloat16, 1, kChannels, kPixels, true,
          thresholds ? scale.data() : nullptr, thresholds ? shift.data() : nullptr, out.data()},
         isa);
    for (std::size_t i = 0; i < 65536; ++i) {
      const float v = float_from_half(static_cast<std::uint16_t>(i));
      const bool want = (thresholds ? v + shift[i % kChannels] : v) < 0;
      check((value(out.data(), i) < 0) == want, "half %04zx with threshold %.9g", i,
            thresholds ? -shift[i % kChannels] : 0.0f);
    }
  }
}

// More than 2^31 elements, of which few are not 0: the kernel maps one page of zeros for the rest.
void more_than_int32_elements(Isa isa) {
  if (effort(100) < 100) skip("takes a gigabyte and some seconds; only with full effort");
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  skip("takes a gigabyte and some seconds; not under sanitizers");
#endif
  constexpr std::size_t kChannels = 64, kPixels = (std::size_t{1} << 25) + 77;
  constexpr std::size_t kBytes = kChannels * kPixels;
  void* memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  check(memory != MAP_FAILED, "no address space");
  signed char* x = static_cast<signed char*>(memory);
  std::vector<word_t> out(kPixels);
  for (const bool channels_last : {false, true}) {
    const Layout layout{1, kChannels, kPixels, channels_last};
    const std::size_t places[][2] = {{0, 0}, {63, kPixels - 1}, {40, 0}, {17, kPixels - 65}};
    for (const auto& place : places) x[layout.element(0, place[0], place[1])] = -1;
    pack({x, DType::kInt8, 1, kChannels, kPixels, channels_last, nullptr, nullptr, out.data()},
         isa);
    std::size_t ones = 0;
    for (const word_t word : out) ones += __builtin_popcountll(word);
    check(ones == 4, "%zu bits, not 4", ones);
    for (const auto& place : places) {
      check((out[place[1]] >> place[0] & 1) != 0, "channel %zu of pixel %zu", place[0], place[1]);
      x[layout.element(0, place[0], place[1])] = 0;
    }
  }
  munmap(memory, kBytes);
}

const Registration table([] {
  add_for_each_isa("pack", "random", pack_random);
  add_for_each_isa("pack", "product_is_not_rounded", product_is_not_rounded);
  add_for_each_isa("pack", "every_half", every_half);
  add_for_each_isa("pack", "more_than_int32_elements", more_than_int32_elements);
  add_for_each_isa("unpack", "random", unpack_random);
});

}  // namespace
}  // namespace bnn::test
