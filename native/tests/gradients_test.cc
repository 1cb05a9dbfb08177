// The gradient kernels of every ISA against one element at a time, to the last bit.
#include "bnn/gradients.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "naive.h"

namespace bnn::test {
namespace {

// Values on and beside the edges of sign and clip, in the place of some random ones.
std::vector<float> elements(std::size_t count) {
  const float one = 1.0f, inf = INFINITY, small = std::numeric_limits<float>::denorm_min();
  const float edges[] = {0.0f,   -0.0f, one,  -one,  std::nextafter(one, 2.0f), -NAN, NAN,
                         -small, inf,   -inf, small, -std::nextafter(one, 2.0f)};
  std::vector<float> x(count);
  for (float& v : x) {
    v = 2 * random().real();
    if (random().one_in(4)) v = edges[random().between(0, 11)];
  }
  return x;
}

std::size_t random_count() {
  return random().one_in(2) ? random().between(0, 300)
                            : random().pick({0, 1, 15, 16, 17, 63, 64, 65, 128, 1000, 300000});
}

bool same(float a, float b) { return std::memcmp(&a, &b, sizeof(a)) == 0; }

void clip_random(Isa isa) {
  for (int round = 0; round < effort(200); ++round) {
    const Threads restore(random().one_in(4) ? 3 : 1);
    const std::size_t count = random_count();
    const auto x = elements(count);
    std::vector<word_t> out(words(count), ~word_t{0});
    clip_bits(x.data(), count, out.data(), isa);
    for (std::size_t i = 0; i < count; ++i) {
      const bool got = (out[i / kWordBits] >> (i % kWordBits) & 1) != 0;
      check(got == (std::fabs(x[i]) <= 1), "%.9g at %zu of %zu gives %d", x[i], i, count, got);
    }
    check(pad_bits_are_zero(out, count), "pad bits are not 0 (%zu)", count);
  }
}

void keep_random(Isa isa) {
  for (int round = 0; round < effort(200); ++round) {
    const Threads restore(random().one_in(4) ? 3 : 1);
    const std::size_t count = random_count();
    const auto before = elements(count);
    auto x = before;
    const Fill fills[] = {Fill::kRandom, Fill::kRandom, Fill::kZeros, Fill::kOnes};
    const auto bits = packed_rows(random(), 1, count, fills[random().between(0, 3)]);
    keep_bits(x.data(), count, bits.data(), isa);
    for (std::size_t i = 0; i < count; ++i) {
      const bool kept = (bits[i / kWordBits] >> (i % kWordBits) & 1) != 0;
      check(same(x[i], kept ? before[i] : 0.0f), "%.9g at %zu of %zu, kept %d, is %.9g", before[i],
            i, count, kept, x[i]);
    }
  }
}

struct Rows {
  std::size_t rows, columns;
  std::vector<float> weight, scale;
  const float* scale_or_null;
};

Rows random_rows() {
  Rows r;
  r.rows = random().between(1, 5);
  r.columns = random().one_in(2) ? random().between(1, 100)
                                 : random().pick({1, 15, 16, 17, 32, 33, 576, 60000});
  r.weight = elements(r.rows * r.columns);
  r.scale.resize(r.rows);
  for (float& v : r.scale) v = random().one_in(8) ? 0.0f : random().real();
  r.scale_or_null = random().one_in(3) ? nullptr : r.scale.data();
  return r;
}

void signs_random(Isa isa) {
  for (int round = 0; round < effort(200); ++round) {
    const Threads restore(random().one_in(4) ? 3 : 1);
    Rows r = random_rows();
    std::vector<float> out(r.weight.size());
    const bool in_place = random().one_in(3);
    const auto before = r.weight;
    write_signs({r.weight.data(), r.rows, r.columns, r.scale_or_null,
                 in_place ? r.weight.data() : out.data()},
                isa);
    if (in_place) out = r.weight;
    for (std::size_t i = 0; i < out.size(); ++i) {
      const float scale = r.scale_or_null == nullptr ? 1.0f : r.scale[i / r.columns];
      const float want = before[i] < 0 ? -scale : scale;
      check(same(out[i], want), "%.9g with scale %.9g gives %.9g", before[i], scale, out[i]);
    }
  }
}

// In the order of the API header.
float along_of(const float* w, const float* grad, std::size_t columns) {
  float parts[16] = {};
  for (std::size_t i = 0; i < columns; ++i) parts[i % 16] += w[i] < 0 ? -grad[i] : grad[i];
  for (std::size_t apart : {8, 4, 2, 1}) {
    for (std::size_t i = 0; i < apart; ++i) parts[i] += parts[i + apart];
  }
  return parts[0];
}

void latent_random(Isa isa) {
  for (int round = 0; round < effort(200); ++round) {
    const Threads restore(random().one_in(4) ? 3 : 1);
    const Rows r = random_rows();
    std::vector<float> before(r.weight.size()), along(r.rows, -77.0f);
    for (float& v : before) v = random().real();
    const bool mean = random().one_in(2), wanted = random().one_in(2);
    if (random().one_in(4)) before[random().between(0, before.size() - 1)] = INFINITY;
    auto grad = before;
    latent_gradient({r.weight.data(), r.rows, r.columns, r.scale_or_null, mean, grad.data(),
                     wanted ? along.data() : nullptr},
                    isa);
    for (std::size_t row = 0; row < r.rows; ++row) {
      const std::size_t first = row * r.columns;
      const float sum = along_of(&r.weight[first], &before[first], r.columns);
      if (wanted) check(same(along[row], sum), "along is %.9g, not %.9g", along[row], sum);
      const float scale = r.scale_or_null == nullptr ? 1.0f : r.scale[row];
      const float step = sum / static_cast<float>(r.columns);
      for (std::size_t i = first; i < first + r.columns; ++i) {
        const float w = r.weight[i];
        float want = std::fabs(w) <= 1 ? before[i] * scale : 0.0f;
        if (mean) want += w > 0 ? step : w < 0 ? -step : 0.0f;
        check(grad[i] == want || (std::isnan(grad[i]) && std::isnan(want)),
              "w %.9g, grad %.9g, scale %.9g, mean %d gives %.9g, not %.9g", w, before[i], scale,
              mean, grad[i], want);
      }
    }
  }
}

void prelu_random(Isa isa) {
  for (int round = 0; round < effort(200); ++round) {
    const Threads restore(random().one_in(4) ? 3 : 1);
    const bool last = random().one_in(2);
    const std::size_t batch = random().between(1, 3), channels = random().between(1, 70);
    const std::size_t pixels = random().one_in(20) ? 20000 : random().between(1, 80);
    const auto x = elements(batch * channels * pixels);
    std::vector<float> grad(x.size()), slope(channels), grad_x(x.size()), along(batch * channels);
    for (float& v : grad) v = random().real();
    for (float& v : slope) v = random().real();
    prelu_gradient({x.data(), batch, channels, pixels, last, slope.data(), grad.data(),
                    grad_x.data(), along.data()},
                   isa);
    for (std::size_t i = 0; i < batch * channels; ++i) {
      const std::size_t b = i / channels, c = i % channels;
      float parts[16] = {};
      for (std::size_t p = 0; p < pixels; ++p) {
        const std::size_t at = last ? (b * pixels + p) * channels + c : i * pixels + p;
        parts[last ? 0 : p % 16] += x[at] > 0 ? 0.0f : grad[at] * x[at];
        const float want = x[at] > 0 ? grad[at] : grad[at] * slope[c];
        check(same(grad_x[at], want), "x %.9g, grad %.9g, slope %.9g gives %.9g", x[at], grad[at],
              slope[c], grad_x[at]);
      }
      for (std::size_t apart : {8, 4, 2, 1}) {
        for (std::size_t j = 0; j < apart; ++j) parts[j] += parts[j + apart];
      }
      check(along[i] == parts[0] || (std::isnan(along[i]) && std::isnan(parts[0])),
            "along is %.9g, not %.9g (%zu pixels, last %d)", along[i], parts[0], pixels, last);
    }
  }
}

const Registration table([] {
  add_for_each_isa("gradients", "clip", clip_random);
  add_for_each_isa("gradients", "keep", keep_random);
  add_for_each_isa("gradients", "signs", signs_random);
  add_for_each_isa("gradients", "latent", latent_random);
  add_for_each_isa("gradients", "prelu", prelu_random);
});

}  // namespace
}  // namespace bnn::test
