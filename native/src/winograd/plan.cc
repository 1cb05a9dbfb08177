#include "winograd/plan.h"

#include <algorithm>

#include "bnn/map.h"
#include "bnn/threads.h"
#include "thread_memory.h"

namespace bnn {

namespace {

constexpr std::size_t kTile = Winograd::kTile, kPoints = Winograd::kPoints;
constexpr std::size_t kColumns = kWinogradColumns;
constexpr std::size_t kRowStride = kWordBits;   // filters that an epilogue takes at once
constexpr std::size_t kGrainFloats = 32 << 10;  // about 10 us of copying

// Transforming the input must be little beside using it, and most of a block's filters must exist.
constexpr std::size_t kMostChannels = 4, kLeastFilters = 48;

constexpr std::size_t whole_vectors(std::size_t floats) { return (floats + 15) / 16 * 16; }

}  // namespace

bool is_winograd(const ConvShape& s) {
  return s.kernel_h == 7 && s.kernel_w == 7 && s.stride_h == 2 && s.stride_w == 2 &&
         s.dilation_h == 1 && s.dilation_w == 1 && s.groups == 1 && s.channels <= kMostChannels &&
         s.out_channels >= kLeastFilters;
}

std::size_t winograd_panel_floats(const ConvShape& s, Isa isa) {
  const std::size_t block = select_winograd(isa).block;
  return (s.out_channels + block - 1) / block * block * Winograd::kRows * s.channels;
}

// In double, rounded once: U[i][j] = sum of G[i][a] * G[j][b] * weight[2 a + p][2 b + q].
void make_winograd_panel(const ConvShape& s, const float* weight, float* panel, Isa isa) {
  const std::size_t block = select_winograd(isa).block;
  const auto factor = [](int parity, int point, int tap) {
    if (parity == 0) return Winograd::kG4[point][tap];
    return Winograd::kG3[point - (point > Winograd::kMissing)][tap];
  };
  for (std::size_t first = 0; first < s.out_channels; first += block) {
    for_each_product(s.channels, [&](int i, int j, std::size_t c, int p, int q) {
      for (std::size_t n = first; n < first + block; ++n, ++panel) {
        double sum = 0;
        for (int a = 0; n < s.out_channels && a < 4 - p; ++a) {
          for (int b = 0; b < 4 - q; ++b) {
            const std::size_t tap = (2 * a + p) * 7 + 2 * b + q;
            sum += factor(p, i, a) * factor(q, j, b) * weight[(n * 49 + tap) * s.channels + c];
          }
        }
        *panel = static_cast<float>(sum);
      }
    });
  }
}

WinogradPlan::WinogradPlan(const ConvShape& shape, bool x_nchw, Isa isa)
    : shape_(shape),
      x_nchw_(x_nchw),
      isa_(isa),
      kernel_(select_winograd(isa)),
      epilogue_(select_epilogue(isa)),
      tiles_h_((shape.out_h() + kTile - 1) / kTile),
      tiles_w_((shape.out_w() + kTile - 1) / kTile),
      part_(kernel_.part == 0 ? tiles_w_ : kernel_.part),
      part_width_(whole_vectors(part_ + 1)),
      width_(whole_vectors((tiles_w_ - 1) / part_ * part_ + part_width_)) {}

// A few tiles of row `ty`, the first of which is at `transformed`: all filters, and their epilogue.
void WinogradPlan::run_tiles(const Job& job, std::size_t ty, std::size_t tile,
                             const float* transformed, float* memory) const {
  const ConvShape& s = shape_;
  const std::size_t oy = ty * kTile, ox = tile * kTile;
  WinogradTiles tiles{};
  tiles.transformed = transformed;
  tiles.width = part_width_;
  tiles.channels = s.channels;
  tiles.m = std::min(kernel_.tiles, tiles_w_ - tile);
  tiles.memory = memory;
  tiles.stride = kRowStride;
  WinogradPool pool{};
  pool.rows = std::min(kTile, s.out_h() - oy);
  pool.columns = s.out_w() - ox;
  pool.stride = s.out_channels;
  tiles.pool = job.maxima == nullptr ? nullptr : &pool;
  const bool whole =
      tiles.pool != nullptr || (oy + kTile <= s.out_h() && ox + tiles.m * kTile <= s.out_w());
  tiles.steps = whole ? job.steps : nullptr;
  float* const rows = memory + kWinogradSums * kernel_.tiles * kernel_.block;
  const std::size_t row_size = kernel_.tiles * kTile * kRowStride;
  const std::size_t rows_floats = Winograd::kRows * s.channels;
  EpilogueTile out{};
  out.epilogue = job.epilogue;
  out.channels = s.out_channels;
  out.m = std::min(tiles.m * kTile, s.out_w() - ox);
  out.stride = kRowStride;
  const auto pixel = [&](std::size_t a) { return job.first_pixel + (oy + a) * s.out_w() + ox; };
  for (std::size_t first = 0; first < s.out_channels; first += kRowStride) {
    out.begin = first;
    out.end = std::min(first + kRowStride, s.out_channels);
    for (std::size_t n = out.begin; n < out.end; n += kernel_.block) {
      tiles.panel = static_cast<const float*>(job.panel) + n * rows_floats;
      tiles.first = n;
      for (std::size_t a = 0; a < kTile; ++a) {
        tiles.pixels[a] = pixel(a);
        tiles.out[a] = rows + a * row_size + (n - first);
      }
      if (tiles.pool != nullptr) {
        const std::size_t at = ox / 2 * s.out_channels + n;
        pool.left = job.left + n * kTile;
        pool.above = job.above + at;
        pool.out[0] = job.maxima + at;
        pool.out[1] = pool.out[0] + kTile / 2 * tiles_w_ * s.out_channels;
      }
      kernel_.multiply(tiles);
    }
    if (tiles.steps != nullptr) continue;
    for (std::size_t a = 0; a < kTile && oy + a < s.out_h(); ++a) {
      out.first_pixel = pixel(a);
      out.values = rows + a * row_size;
      epilogue_(out);
    }
  }
}

void WinogradPlan::run_row(const Job& job, std::size_t ty) const {
  const ConvShape& s = shape_;
  const std::size_t row_floats = kColumns * width_;
  const std::size_t products = kWinogradSums * kernel_.tiles * kernel_.block;
  const std::size_t sums = kTile * kernel_.tiles * kTile * kRowStride;
  const std::size_t transformed = Winograd::kRows * s.channels * part_width_;
  const std::size_t scratch = std::max(kPoints * kColumns * part_width_ + 16, products + sums);
  const ThreadMemory memory((transformed + scratch) * sizeof(float));
  const float* rows[kMostChannels * kWinogradInputRows];
  for (std::size_t c = 0; c < s.channels; ++c) {
    for (std::size_t r = 0; r < kWinogradInputRows; ++r) {
      const std::size_t y = 2 * kTile * ty + r - s.pad_top;  // above the image it wraps around
      rows[c * kWinogradInputRows + r] =
          y < s.height ? job.columns + (c * s.height + y) * row_floats : nullptr;
    }
  }
  float* const base = memory.as<float>();
  for (std::size_t part = 0; part < tiles_w_; part += part_) {
    kernel_.transform({rows, width_, s.channels, part_width_, base + transformed, base});
    for (std::size_t t = 0; t < part_ && part + t < tiles_w_; t += kernel_.tiles) {
      run_tiles(job, ty, part + t, base + t, base + transformed);
    }
    for (const float*& row : rows) row = row == nullptr ? nullptr : row + part_;
  }
}

std::size_t WinogradPlan::columns_bytes() const {
  return shape_.channels * shape_.height * kColumns * width_ * sizeof(float);
}

void WinogradPlan::split(const float* x, std::size_t image, float* columns) const {
  const ConvShape& s = shape_;
  const std::size_t plane = s.height * s.width, row_floats = kColumns * width_;
  const ThreadMemory planes(x_nchw_ ? 0 : s.channels * plane * sizeof(float));
  const float* from = x + image * s.channels * plane;
  if (!x_nchw_) {
    to_nchw(1, s.channels, plane, from, planes.as<float>(), isa_);
    from = planes.as<float>();
  }
  parallel_for(s.channels * s.height, kGrainFloats / row_floats + 1,
               [&](std::size_t begin, std::size_t end) {
                 for (std::size_t i = begin; i < end; ++i) {
                   kernel_.split(from + i * s.width, s.width, s.pad_left, width_,
                                 columns + i * row_floats);
                 }
               });
}

bool WinogradPlan::takes_steps(const Epilogue& epilogue, FloatSteps* steps) const {
  steps->channels = shape_.out_channels;
  return shape_.out_channels % kernel_.block == 0 && epilogue.bits == nullptr &&
         are_kernel_steps(epilogue, steps);
}

void WinogradPlan::run(const float* x, const void* panel, const Epilogue& epilogue) const {
  const ThreadMemory columns(columns_bytes());
  FloatSteps steps;
  const FloatSteps* const taken = takes_steps(epilogue, &steps) ? &steps : nullptr;
  for (std::size_t image = 0; image < shape_.batch; ++image) {
    split(x, image, columns.as<float>());
    const std::size_t first_pixel = image * shape_.out_h() * shape_.out_w();
    const Job job{columns.as<float>(), panel, &epilogue, taken, first_pixel};
    parallel_for(tiles_h_, 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t ty = begin; ty < end; ++ty) run_row(job, ty);
    });
  }
}

}  // namespace bnn
