#include "winograd/pooled.h"

#include <algorithm>
#include <limits>

#include "bnn/threads.h"
#include "thread_memory.h"

namespace bnn {

namespace {

constexpr std::size_t kTile = Winograd::kTile;
constexpr std::size_t kWholeBlocks = 32;  // filters that make whole blocks of every kernel
constexpr float kLeast = -std::numeric_limits<float>::infinity();

}  // namespace

bool is_pooled_winograd(const ConvShape& conv, const Epilogue& between, const PoolShape& pool) {
  FloatSteps steps;
  return is_winograd(conv) && conv.out_channels % kWholeBlocks == 0 &&
         between.residual_at == ResidualAt::kNone && are_kernel_steps(between, &steps) &&
         steps.slope == nullptr && conv.batch == pool.batch && conv.out_h() == pool.height &&
         conv.out_w() == pool.width && conv.out_channels == pool.channels && pool.kernel_h == 3 &&
         pool.kernel_w == 3 && pool.stride_h == 2 && pool.stride_w == 2 && pool.pad_top == 1 &&
         pool.pad_left == 1 && pool.dilation_h == 1 && pool.dilation_w == 1 &&
         pool.out_h == (pool.height + 1) / 2 && pool.out_w == (pool.width + 1) / 2;
}

PooledWinogradPlan::PooledWinogradPlan(const ConvShape& conv, bool x_nchw, const PoolShape& pool,
                                       Isa isa)
    : conv_(conv, x_nchw, isa), pool_(pool), epilogue_(select_epilogue(isa)) {}

// The rows [begin, end) of tiles. They need the last row of pixels above them: of those tiles the
// rest is computed for nothing.
void PooledWinogradPlan::run_rows(WinogradPlan::Job job, const Epilogue& epilogue,
                                  std::size_t image, std::size_t begin, std::size_t end) const {
  const std::size_t channels = pool_.channels, left = kTile * channels;
  const std::size_t row = kTile / 2 * conv_.tile_columns() * channels;
  const ThreadMemory memory((left + 3 * row) * sizeof(float));
  job.above = memory.as<float>();
  job.maxima = job.above + row;
  job.left = job.maxima + 2 * row;
  std::fill(job.above, job.above + row, kLeast);
  EpilogueTile out{};
  out.epilogue = &epilogue;
  out.channels = out.end = out.stride = channels;
  out.m = pool_.out_w;
  for (std::size_t ty = begin == 0 ? 0 : begin - 1; ty < end; ++ty) {
    std::fill(job.left, job.left + left, kLeast);
    conv_.run_row(job, ty);
    for (std::size_t i = 0; i < 2 && ty >= begin; ++i) {
      const std::size_t oy = 2 * ty + i;
      if (oy >= pool_.out_h) break;
      out.first_pixel = (image * pool_.out_h + oy) * pool_.out_w;
      out.values = job.maxima + i * row;
      epilogue_(out);
    }
  }
}

void PooledWinogradPlan::run(const float* x, const void* panel, const Epilogue& between,
                             const Epilogue& epilogue) const {
  const ThreadMemory columns(conv_.columns_bytes());
  const std::size_t threads = static_cast<std::size_t>(num_threads());
  const std::size_t grain = (conv_.tile_rows() + threads - 1) / threads;
  FloatSteps steps;
  are_kernel_steps(between, &steps);
  for (std::size_t image = 0; image < pool_.batch; ++image) {
    conv_.split(x, image, columns.as<float>());
    const WinogradPlan::Job job{columns.as<float>(), panel, &between, &steps, 0};
    parallel_for(conv_.tile_rows(), grain, [&](std::size_t begin, std::size_t end) {
      run_rows(job, epilogue, image, begin, end);
    });
  }
}

}  // namespace bnn
