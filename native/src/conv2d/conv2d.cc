#include "bnn/conv2d.h"

#include "bnn/pool.h"
#include "conv2d/plan.h"
#include "winograd/plan.h"

namespace bnn {

void conv2d(const ConvShape& shape, bool x_nchw, const float* x, const void* panel,
            const Epilogue& epilogue, Isa isa) {
  if (is_winograd(shape)) return WinogradPlan(shape, x_nchw, isa).run(x, panel, epilogue);
  FloatPlan(shape, x_nchw, isa).run(x, panel, epilogue);
}

const char* conv2d_kernel(const ConvShape& shape, Isa isa) {
  if (is_winograd(shape)) return select_winograd(isa).name;
  return is_depthwise(shape) ? select_lanes(isa).name : select_dot(isa).name;
}

void maxpool2d(const PoolShape& shape, const float* x, const Epilogue& epilogue, Isa isa) {
  FloatPlan(shape, Window::kMaximum, false, isa).run(x, nullptr, epilogue);
}

void avgpool2d(const PoolShape& shape, bool count_include_pad, const float* x,
               const Epilogue& epilogue, Isa isa) {
  FloatPlan(shape, Window::kMean, count_include_pad, isa).run(x, nullptr, epilogue);
}

PoolShape global_window(std::size_t batch, std::size_t pixels, std::size_t channels) {
  PoolShape s{};
  s.batch = batch;
  s.width = s.kernel_w = pixels;
  s.channels = channels;
  s.height = s.kernel_h = s.stride_h = s.stride_w = s.out_h = s.out_w = 1;
  return s;
}

void global_avgpool(std::size_t batch, std::size_t pixels, std::size_t channels, const float* x,
                    const Epilogue& epilogue, Isa isa) {
  avgpool2d(global_window(batch, pixels, channels), true, x, epilogue, isa);
}

}  // namespace bnn
