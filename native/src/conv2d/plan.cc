// Float convolution and pooling: cuts the output into tiles, and calls a kernel for each and the
// epilogue for some of them at a time.
#include "conv2d/plan.h"

#include <algorithm>

#include "bnn/map.h"
#include "bnn/threads.h"
#include "pool/window.h"
#include "thread_memory.h"

namespace bnn {

namespace {

constexpr std::size_t kGrainProducts = 1 << 20;  // multiply-adds of about 10 us
constexpr std::size_t kChunkBytes = 64 << 10;    // of x: it is read again for each 64 filters
constexpr std::size_t kGroupBytes = 8 << 10;     // of sums that an epilogue takes at once
constexpr std::size_t kShortRun = 12;            // floats: shorter runs are cut into single ones
constexpr std::size_t kPartFilters = kWordBits;
constexpr std::size_t kCopyFloats = 64 << 10;  // about 10 us
constexpr std::size_t kFewChannels = 16;       // kernels with so many lanes finish fewer by masks

bool is_pointwise(const ConvShape& s) {
  return s.kernel_h == 1 && s.kernel_w == 1 && s.stride_h == 1 && s.stride_w == 1 &&
         (s.pad_top | s.pad_bottom | s.pad_left | s.pad_right) == 0;
}

// Neighbouring pixels of a pointwise convolution are neighbours through rows and images.
ConvShape flat(ConvShape s, bool x_nchw) {
  if (!is_pointwise(s)) return s;
  s.width *= s.height;
  s.height = 1;
  if (x_nchw) return s;
  s.width *= s.batch;
  s.batch = 1;
  return s;
}

// The padding behind the image that gives as many windows.
std::size_t pad_behind(std::size_t out, std::size_t stride, std::size_t extent, std::size_t size,
                       std::size_t pad_before) {
  const std::size_t end = out == 0 ? 0 : (out - 1) * stride + extent, have = size + pad_before;
  return end > have ? end - have : 0;
}

ConvShape window_shape(const PoolShape& s) {
  ConvShape c{};
  c.batch = s.batch;
  c.height = s.height;
  c.width = s.width;
  c.channels = c.out_channels = c.groups = s.channels;
  c.kernel_h = s.kernel_h;
  c.kernel_w = s.kernel_w;
  c.stride_h = s.stride_h;
  c.stride_w = s.stride_w;
  c.dilation_h = s.dilation_h;
  c.dilation_w = s.dilation_w;
  c.pad_top = s.pad_top;
  c.pad_left = s.pad_left;
  const std::size_t extent_h = s.dilation_h * (s.kernel_h - 1) + 1;
  const std::size_t extent_w = s.dilation_w * (s.kernel_w - 1) + 1;
  c.pad_bottom = pad_behind(s.out_h, s.stride_h, extent_h, s.height, s.pad_top);
  c.pad_right = pad_behind(s.out_w, s.stride_w, extent_w, s.width, s.pad_left);
  return c;
}

// In the order of the panel's rows.
// `step`: from one float to the next.
std::vector<FloatRun> units(const std::vector<FloatRun>& runs, std::size_t row_step,
                            std::size_t step) {
  std::vector<FloatRun> result;
  for (const FloatRun& run : runs) {
    for (std::size_t i = 0; i < run.count; ++i) {
      const std::size_t at = i * step;
      result.push_back({run.offset + static_cast<std::ptrdiff_t>(at), run.row + i * row_step, 1});
    }
  }
  std::sort(result.begin(), result.end(),
            [](const FloatRun& a, const FloatRun& b) { return a.row < b.row; });
  return result;
}

Window window_of(const ConvShape& s) {
  return is_depthwise(s) ? Window::kDepthwise : Window::kProducts;
}

}  // namespace

// The place of a tile.
struct FloatPlan::Cursor {
  std::size_t image, oy;
  std::size_t part, tile;  // of the row's parts; of the part's tiles
  std::size_t ox, m;       // the tile's pixels

  void set_pixels(const Part& p) {
    ox = p.x.begin + tile * p.small + std::min(tile, p.larger);
    m = p.small + (tile < p.larger ? 1 : 0);
  }
  // How many tiles from here on are side by side and equally wide.
  std::size_t alike(const std::vector<Part>& parts) const {
    const Part& p = parts[part];
    return (tile < p.larger ? p.larger : p.tiles) - tile;
  }
  // To the tile behind so many that are alike.
  void next(std::size_t count, const std::vector<Part>& parts, std::size_t out_h) {
    tile += count;
    if (tile == parts[part].tiles) {
      tile = 0;
      if (++part == parts.size()) {
        part = 0;
        if (++oy == out_h) {
          oy = 0;
          ++image;
        }
      }
    }
    set_pixels(parts[part]);
  }
};

// Everything that is the same for all tiles of a call.
struct FloatPlan::Job {
  const float* x;
  const float* panel;
  const Epilogue* epilogue;
  const FloatSteps* steps;  // that the kernels take, or null
  std::size_t tiles;
  std::size_t together;  // tiles that a kernel is given at once at most
  std::size_t chunk;     // tiles that one thread takes at least
  std::size_t stride;    // of the sums
};

FloatPlan::FloatPlan(const ConvShape& shape, bool x_nchw, Isa isa)
    : shape_(flat(shape, x_nchw)),
      x_nchw_(x_nchw && window_of(shape) == Window::kProducts),
      copies_(x_nchw && window_of(shape) == Window::kDepthwise),
      window_(window_of(shape)),
      isa_(isa),
      epilogue_(select_epilogue(isa)),
      panel_(plan_float_panel(shape, isa)) {
  if (window_ == Window::kDepthwise) {
    const LaneKernel& kernel = select_lanes(isa);
    kernel_ = kernel.name;
    tile_ = kernel.depthwise;
    set_lanes(kernel);
  } else {
    const DotKernel& kernel = select_dot(isa);
    kernel_ = kernel.name;
    tile_ = kernel.tile;
    step_channels_ = panel_.vector;
    bit_channels_ = kernel.block == kWordBits ? panel_.vector : 0;
    set_tiles(kernel.pixels(std::min(shape.group_out_channels(), kernel.block)));
    paired_ = is_paired(shape, isa);
    copies_ = paired_ && x_nchw;
    if (paired_) x_nchw_ = false;
  }
  set_runs();
}

FloatPlan::FloatPlan(const PoolShape& shape, Window window, bool count_include_pad, Isa isa)
    : shape_(window_shape(shape)),
      x_nchw_(false),
      copies_(false),
      window_(window),
      isa_(isa),
      epilogue_(select_epilogue(isa)) {
  const LaneKernel& kernel = select_lanes(isa);
  kernel_ = kernel.name;
  tile_ = window == Window::kMaximum ? kernel.maximum : kernel.mean;
  set_lanes(kernel);
  set_runs();
  if (window == Window::kMean) set_divisors(count_include_pad);
}

void FloatPlan::set_lanes(const LaneKernel& kernel) {
  step_channels_ = kernel.lanes;
  bit_channels_ = kernel.lanes == 16 ? kWordBits : 0;
  set_tiles(kernel.pixels);
}

// Tiles of a stretch are about equally wide: a tile of one pixel is slow.
void FloatPlan::set_tiles(std::size_t most_pixels) {
  const ConvShape& s = shape_;
  most_pixels_ = most_pixels;
  out_h_ = s.out_h();
  for (const Stretch& x :
       stretches(s.width, s.out_w(), s.kernel_w, s.stride_w, s.dilation_w, s.pad_left)) {
    const std::size_t width = x.end - x.begin, tiles = (width + most_pixels - 1) / most_pixels;
    parts_.push_back({x, tiles, width / tiles, width % tiles});
    row_tiles_ += tiles;
  }
}

void FloatPlan::set_runs() {
  const ConvShape& s = shape_;
  ys_ = stretches(s.height, s.out_h(), s.kernel_h, s.stride_h, s.dilation_h, s.pad_top);
  for (std::size_t i = 0; i < ys_.size(); ++i) {
    y_of_row_.insert(y_of_row_.end(), ys_[i].end - ys_[i].begin, i);
    for (const Part& part : parts_) runs_.push_back(runs_of(ys_[i], part.x));
  }
  const bool merged = s.dilation_w == 1 && (x_nchw_ || s.groups == 1);
  const std::size_t longest = (merged ? s.kernel_w : 1) * (x_nchw_ ? 1 : s.group_channels());
  units_ = window_ == Window::kProducts && longest < kShortRun;
  if (!units_) return;
  const std::size_t row_step = x_nchw_ ? s.group_channels() : 1;
  for (std::vector<FloatRun>& runs : runs_) runs = units(runs, row_step, paired_ ? 2 : 1);
}

std::vector<FloatRun> FloatPlan::runs_of(const Stretch& y, const Stretch& x) const {
  const ConvShape& s = shape_;
  const bool lanes = window_ != Window::kProducts;
  const std::size_t channels = lanes ? 1 : s.group_channels();
  const std::size_t columns = x.tap_end - x.tap_begin;
  // Neighbouring taps are one run where they are neighbours in memory.
  const bool merge = s.dilation_w == 1 && !lanes && (x_nchw_ || s.groups == 1);
  const std::size_t pixel = x_nchw_ ? 1 : s.channels, plane = s.height * s.width;
  std::vector<FloatRun> runs;
  for (std::size_t ky = y.tap_begin; ky < y.tap_end; ++ky) {
    for (std::size_t c = 0; c < (x_nchw_ ? channels : 1); ++c) {
      for (std::size_t i = 0; i < columns; i += merge ? columns : 1) {
        const std::size_t at = (ky - y.tap_begin) * s.dilation_h * s.width + i * s.dilation_w;
        const std::size_t tap = ky * s.kernel_w + x.tap_begin + i;
        const std::size_t taps = merge ? columns : 1;
        runs.push_back({static_cast<std::ptrdiff_t>(at * pixel + c * plane), tap * channels + c,
                        x_nchw_ ? taps : taps * channels});
      }
    }
  }
  return runs;
}

// As torch.nn.AvgPool2d has it: a window that hangs over the padded image is cut there.
void FloatPlan::set_divisors(bool count_include_pad) {
  const ConvShape& s = shape_;
  const auto taps = [&](std::size_t out, std::size_t stride, std::size_t kernel, std::size_t pad,
                        std::size_t size) {
    if (count_include_pad) return taps_inside(out, stride, 1, kernel, 0, size + 2 * pad).count();
    return taps_inside(out, stride, 1, kernel, pad, size).count();
  };
  for (std::size_t oy = 0; oy < s.out_h(); ++oy) {
    divisors_h_.push_back(taps(oy, s.stride_h, s.kernel_h, s.pad_top, s.height));
  }
  for (std::size_t ox = 0; ox < s.out_w(); ++ox) {
    divisors_w_.push_back(taps(ox, s.stride_w, s.kernel_w, s.pad_left, s.width));
  }
}

const float* FloatPlan::first_tap(const float* x, const Cursor& at) const {
  const ConvShape& s = shape_;
  const Stretch &ys = ys_[y_of_row_[at.oy]], &xs = parts_[at.part].x;
  const std::size_t iy = at.oy * s.stride_h + ys.tap_begin * s.dilation_h - s.pad_top;
  const std::size_t ix = at.ox * s.stride_w + xs.tap_begin * s.dilation_w - s.pad_left;
  const std::size_t pixel = iy * s.width + ix, plane = s.height * s.width;
  if (x_nchw_) return x + at.image * s.channels * plane + pixel;
  return x + (at.image * plane + pixel) * s.channels;
}

// Some tiles that are alike, for one part of the filters: 64 of them, or all if there are groups or
// lanes. `pixel` is the first one's; `sums` is where they go if the kernels take no steps.
void FloatPlan::run_tiles(const Job& job, const Cursor& at, std::size_t count, std::size_t part,
                          std::size_t pixel, float* sums) const {
  const ConvShape& s = shape_;
  const std::vector<FloatRun>& runs = runs_[y_of_row_[at.oy] * parts_.size() + at.part];
  FloatTile tile{};
  tile.x = runs.empty() ? job.x : first_tap(job.x, at);
  tile.step = s.stride_w * (x_nchw_ ? 1 : s.channels);
  tile.runs = runs.data();
  tile.run_count = runs.size();
  tile.units = units_;
  tile.pairs = paired_;
  tile.row_step = x_nchw_ ? s.group_channels() : 1;
  tile.tiles = count;
  tile.m = at.m;
  tile.steps = job.steps;
  tile.first_pixel = pixel;
  tile.out = sums;
  tile.stride = job.stride;
  if (window_ != Window::kProducts) {
    float divisors[kMostTilePixels];
    if (window_ == Window::kMean) {
      for (std::size_t i = 0; i < count * at.m; ++i) {
        divisors[i] = static_cast<float>(divisors_h_[at.oy] * divisors_w_[at.ox + i]);
      }
      tile.divisors = divisors;
    }
    tile.panel = job.panel;
    tile.n = s.channels;
    tile_(tile);
    return;
  }
  const std::size_t merged = paired_ ? 2 : 1, filters = merged * s.group_out_channels();
  const std::size_t block = panel_.block;
  const std::size_t first = s.groups == 1 ? part * kPartFilters : 0;
  const std::size_t last = s.groups == 1 ? std::min(first + kPartFilters, filters) : filters;
  for (std::size_t g = 0; g < panel_.groups; ++g) {
    for (std::size_t n = first; n < last; n += block) {
      tile.panel = job.panel + g * panel_.group + n * panel_.rows;
      tile.n = std::min(block, last - n);
      tile.first = g * filters + n;
      tile.out = sums + g * filters + (n - first);
      tile_(tile);
    }
    tile.x += merged * s.group_channels() * (x_nchw_ ? s.height * s.width : 1);
  }
}

// Pixels of consecutive tiles are consecutive: the epilogue takes as many as stay in the cache.
void FloatPlan::run_chunk(const Job& job, std::size_t chunk, std::size_t part,
                          float* memory) const {
  const ConvShape& s = shape_;
  const std::size_t begin = chunk * job.chunk, end = std::min(begin + job.chunk, job.tiles);
  Cursor at{};
  const std::size_t row = begin / row_tiles_;
  at.image = row / out_h_;
  at.oy = row % out_h_;
  at.tile = begin % row_tiles_;
  while (at.tile >= parts_[at.part].tiles) at.tile -= parts_[at.part++].tiles;
  at.set_pixels(parts_[at.part]);
  const bool parted = window_ == Window::kProducts && s.groups == 1;
  EpilogueTile out{};
  out.epilogue = job.epilogue;
  out.channels = s.out_channels;
  out.begin = parted ? part * kPartFilters : 0;
  out.end = parted ? std::min(out.begin + kPartFilters, out.channels) : out.channels;
  out.first_pixel = (row * s.out_w()) + at.ox;
  out.values = memory;
  out.stride = job.stride;
  const std::size_t group_tiles =
      std::max<std::size_t>(kGroupBytes / (job.stride * sizeof(float) * most_pixels_), 1);
  for (std::size_t tile = begin, left = group_tiles; tile < end;) {
    std::size_t count = std::min({at.alike(parts_), job.together, end - tile});
    if (job.steps != nullptr) {
      run_tiles(job, at, count, part, out.first_pixel, memory);
      out.first_pixel += count * at.m;
    } else {
      count = std::min(count, left);
      run_tiles(job, at, count, part, 0, memory + out.m * job.stride);
      out.m += count * at.m;
      left -= count;
      if (left == 0 || tile + count == end) {
        epilogue_(out);
        out.first_pixel += out.m;
        out.m = 0;
        left = group_tiles;
      }
    }
    tile += count;
    at.next(count, parts_, out_h_);
  }
}

void FloatPlan::run(const float* x, const void* panel, const Epilogue& epilogue) const {
  const ConvShape& s = shape_;
  const std::size_t tiles = s.batch * out_h_ * row_tiles_;
  if (tiles == 0 || s.out_channels == 0) return;
  const std::size_t plane = s.height * s.width;
  const std::size_t count = s.batch * s.channels * plane;
  const ThreadMemory copy(copies_ ? count * sizeof(float) : 0);
  if (copies_) {
    to_nhwc(s.batch, s.channels, plane, x, copy.as<float>(), isa_);
    x = copy.as<float>();
  }
  const ThreadMemory pairs(paired_ ? count * sizeof(float) : 0);
  if (paired_) {
    const std::size_t row = s.width * s.channels, rows = s.batch * s.height;
    parallel_for(rows, kCopyFloats / row + 1, [&](std::size_t begin, std::size_t end) {
      select_interleave(isa_)(x + begin * row, (end - begin) * row, s.group_channels(),
                              pairs.as<float>() + begin * row);
    });
    x = pairs.as<float>();
  }
  const bool parted = window_ == Window::kProducts && s.groups == 1;
  const std::size_t parts = parted ? words(s.out_channels) : 1;
  const std::size_t filters = parted ? std::min(kPartFilters, s.out_channels) : s.out_channels;
  // A kernel may write whole blocks: 64 more than the channels is room for any. Few filters that
  // fill whole vectors lie side by side: the epilogue is fast then.
  const bool narrow = parted && (s.out_channels == 16 || s.out_channels == 32);
  FloatSteps steps;
  steps.channels = s.out_channels;
  const std::size_t bit_channels = paired_ ? 0 : bit_channels_;  // a word is of more than a pair
  const std::size_t multiple = epilogue.bits == nullptr ? step_channels_ : bit_channels;
  steps.few =
      epilogue.bits == nullptr && s.out_channels < kFewChannels && step_channels_ == kFewChannels;
  const bool direct = (parted || paired_ || window_ != Window::kProducts) && multiple != 0 &&
                      (steps.few || s.out_channels % multiple == 0) &&
                      are_kernel_steps(epilogue, &steps);
  const std::size_t stride =
      narrow ? s.out_channels : words(filters) * kWordBits + (parted ? 0 : kWordBits);
  const std::size_t tile_bytes = most_pixels_ * s.stride_w * s.channels * sizeof(float);
  const std::size_t threads = static_cast<std::size_t>(num_threads());
  std::size_t chunk = std::max<std::size_t>(kChunkBytes / std::max<std::size_t>(tile_bytes, 1), 4);
  if (threads > 1) {
    const std::size_t wanted = (8 * threads + parts - 1) / parts;
    chunk = std::min(chunk, (tiles + wanted - 1) / wanted);
  }
  const std::size_t chunks = (tiles + chunk - 1) / chunk;
  // Blocks that are read again should still be in the first-level cache.
  std::size_t together =
      std::max<std::size_t>(kGroupBytes / std::max<std::size_t>(tile_bytes, 1), 1);
  if (window_ != Window::kProducts) together = tiles;
  if (window_ == Window::kMean) together = kMostTilePixels / most_pixels_;
  if (direct && parted && filters <= panel_.block) together = tiles;
  const Job job{x,         static_cast<const float*>(panel),
                &epilogue, direct ? &steps : nullptr,
                tiles,     together,
                chunk,     stride};
  const std::size_t products = chunk * most_pixels_ * filters * s.kernel_h * s.kernel_w *
                               (window_ == Window::kProducts ? s.group_channels() : 16);
  const std::size_t grain = kGrainProducts / std::max<std::size_t>(products, 1) + 1;
  const std::size_t group_tiles =
      std::max<std::size_t>(kGroupBytes / (stride * sizeof(float) * most_pixels_), 1);
  parallel_for(chunks * parts, grain, [&](std::size_t begin, std::size_t end) {
    const ThreadMemory memory(group_tiles * most_pixels_ * stride * sizeof(float));
    for (std::size_t item = begin; item < end; ++item) {
      run_chunk(job, item / parts, item % parts, memory.as<float>());
    }
  });
}

}  // namespace bnn
