#include "bnn/map.h"

#include <algorithm>
#include <cstring>

#include "bnn/threads.h"
#include "epilogue/epilogue.h"
#include "thread_memory.h"

namespace bnn {

namespace {

constexpr std::size_t kGrainFloats = 64 << 10;  // about 10 us
constexpr std::size_t kGroupFloats = 4 << 10;   // that stay in the first-level cache
constexpr std::size_t kInputRows = 128;  // of an input, before the next one's: longer streams

// Added and subtracted, it leaves a small number that is not negative as an integer, ties to even.
constexpr float kRounding = 3 << 22;

EpilogueTile tile_of(const Epilogue& epilogue, std::size_t channels) {
  EpilogueTile tile{};
  tile.epilogue = &epilogue;
  tile.channels = tile.end = tile.stride = channels;
  return tile;
}

bool is_copy(const Epilogue& e) {
  return e.bits == nullptr && e.scale == nullptr && e.bias == nullptr &&
         e.first_activation == Activation::kNone && e.post_scale == nullptr &&
         e.affine_scale == nullptr && e.affine_shift == nullptr &&
         e.residual_at == ResidualAt::kNone && e.second_shift_in == nullptr &&
         e.second_activation == Activation::kNone && e.second_shift_out == nullptr;
}

// Rows [first, first + count) of all inputs side by side.
void join(std::size_t first, std::size_t count, std::size_t inputs, const float* const* x,
          const std::size_t* channels, float* out) {
  for (std::size_t row = first; row < first + count; ++row) {
    for (std::size_t i = 0; i < inputs; ++i) {
      std::memcpy(out, x[i] + row * channels[i], channels[i] * sizeof(float));
      out += channels[i];
    }
  }
}

// The epilogue of a tile's rows, from `row` on, where each input lies.
void run_inputs(std::size_t row, std::size_t inputs, const float* const* x,
                const std::size_t* channels, EpilogueKernel run, EpilogueTile tile) {
  tile.end = 0;
  for (std::size_t i = 0; i < inputs; ++i) {
    tile.begin = tile.end;
    tile.end += channels[i];
    tile.stride = channels[i];
    tile.values = x[i] + row * channels[i];
    if (channels[i] != 0) run(tile);
  }
}

// A map of rows that are computed first: compute(row, count, to) writes (count, channels).
template <typename Compute>
void map_computed(std::size_t rows, std::size_t channels, const Epilogue& epilogue, Isa isa,
                  const Compute& compute) {
  if (channels == 0) return;
  const EpilogueKernel run = select_epilogue(isa);
  const std::size_t group = std::max<std::size_t>(kGroupFloats / channels, 1);
  parallel_for(rows, kGrainFloats / channels + 1, [&](std::size_t begin, std::size_t end) {
    const ThreadMemory memory(group * channels * sizeof(float));
    EpilogueTile tile = tile_of(epilogue, channels);
    tile.values = memory.as<float>();
    for (std::size_t row = begin; row < end; row += group) {
      tile.first_pixel = row;
      tile.m = std::min(group, end - row);
      compute(row, tile.m, memory.as<float>());
      run(tile);
    }
  });
}

// Factors that are the same for all pixels of an image are the epilogue's first step.
void scale_images(std::size_t rows, std::size_t channels, const float* x, const float* by,
                  std::size_t pixels, const Epilogue& epilogue, Isa isa) {
  if (channels == 0) return;
  const EpilogueKernel run = select_epilogue(isa);
  parallel_for(rows, kGrainFloats / channels + 1, [&](std::size_t begin, std::size_t end) {
    Epilogue scaled = epilogue;
    EpilogueTile tile = tile_of(scaled, channels);
    for (std::size_t row = begin; row < end; row += tile.m) {
      const std::size_t image = row / pixels;
      scaled.scale = by + image * channels;
      tile.first_pixel = row;
      tile.m = std::min((image + 1) * pixels, end) - row;
      tile.values = x + row * channels;
      run(tile);
    }
  });
}

// (rows, columns) to (columns, rows), in squares that stay in the cache.
void transpose(const float* x, std::size_t rows, std::size_t columns, std::size_t begin,
               std::size_t end, float* __restrict out) {
  constexpr std::size_t kSquare = 16;
  for (std::size_t c0 = begin; c0 < end; c0 += kSquare) {
    const std::size_t c1 = std::min(c0 + kSquare, end);
    for (std::size_t r0 = 0; r0 < rows; r0 += kSquare) {
      const std::size_t r1 = std::min(r0 + kSquare, rows);
      for (std::size_t c = c0; c < c1; ++c) {
        for (std::size_t r = r0; r < r1; ++r) out[c * rows + r] = x[r * columns + c];
      }
    }
  }
}

void transpose_images(std::size_t batch, std::size_t rows, std::size_t columns, const float* x,
                      float* out) {
  const std::size_t grain = kGrainFloats / std::max<std::size_t>(rows, 1) + 1;
  for (std::size_t image = 0; image < batch; ++image) {
    parallel_for(columns, grain, [&](std::size_t begin, std::size_t end) {
      transpose(x, rows, columns, begin, end, out);
    });
    x += rows * columns;
    out += rows * columns;
  }
}

}  // namespace

void map(std::size_t rows, std::size_t channels, const float* x, const Epilogue& epilogue,
         Isa isa) {
  if (channels == 0) return;
  const EpilogueKernel run = select_epilogue(isa);
  parallel_for(rows, kGrainFloats / channels + 1, [&](std::size_t begin, std::size_t end) {
    EpilogueTile tile = tile_of(epilogue, channels);
    tile.first_pixel = begin;
    tile.m = end - begin;
    tile.values = x + begin * channels;
    run(tile);
  });
}

void multiply(std::size_t rows, std::size_t channels, const float* x, const float* by,
              std::size_t rows_by, const Epilogue& epilogue, Isa isa) {
  if (rows_by > 1 && epilogue.scale == nullptr) {
    return scale_images(rows, channels, x, by, rows_by, epilogue, isa);
  }
  map_computed(rows, channels, epilogue, isa, [=](std::size_t row, std::size_t m, float* to) {
    for (std::size_t i = 0; i < m; ++i, ++row, to += channels) {
      const float *from = x + row * channels, *factor = by + row / rows_by * channels;
      for (std::size_t c = 0; c < channels; ++c) to[c] = from[c] * factor[c];
    }
  });
}

void level(std::size_t rows, std::size_t channels, const float* x, std::size_t levels,
           std::size_t plane, const Epilogue& epilogue, Isa isa) {
  const float most = static_cast<float>(levels), half = most / 2;
  map_computed(rows, channels, epilogue, isa, [=](std::size_t row, std::size_t m, float* to) {
    const float* const from = x + row * channels;
    const std::size_t count = m * channels;
    for (std::size_t i = 0; i < count; ++i) {
      const float v = from[i] < 0 ? 0 : from[i] > 1 ? 1 : from[i];  // NaN stays
      to[i] = ((v * most + kRounding) - kRounding) - half;
    }
    float factor = most + 1;
    for (std::size_t j = 0; j < plane; ++j) {
      factor /= 2;
      const float part = factor / 2;
      for (std::size_t i = 0; i < count; ++i) to[i] -= to[i] < 0 ? -part : part;
    }
  });
}

void concat(std::size_t rows, std::size_t inputs, const float* const* x,
            const std::size_t* channels, const Epilogue& epilogue, Isa isa) {
  std::size_t total = 0;
  bool whole_words = true;  // of bits: no input begins inside one
  for (std::size_t i = 0; i < inputs; ++i) {
    whole_words = whole_words && total % kWordBits == 0;
    total += channels[i];
  }
  if (total == 0) return;
  const EpilogueKernel run = select_epilogue(isa);
  const std::size_t group =
      whole_words ? kInputRows : std::max<std::size_t>(kGroupFloats / total, 1);
  parallel_for(rows, kGrainFloats / total + 1, [&](std::size_t begin, std::size_t end) {
    if (is_copy(epilogue)) {
      join(begin, end - begin, inputs, x, channels, epilogue.out + begin * total);
      return;
    }
    const ThreadMemory memory(whole_words ? 0 : group * total * sizeof(float));
    EpilogueTile tile = tile_of(epilogue, total);
    for (std::size_t row = begin; row < end; row += group) {
      tile.first_pixel = row;
      tile.m = std::min(group, end - row);
      if (whole_words) {
        run_inputs(row, inputs, x, channels, run, tile);
        continue;
      }
      join(row, tile.m, inputs, x, channels, memory.as<float>());
      tile.values = memory.as<float>();
      run(tile);
    }
  });
}

void to_nhwc(std::size_t batch, std::size_t channels, std::size_t pixels, const float* x,
             float* out, Isa) {
  transpose_images(batch, channels, pixels, x, out);
}

void to_nchw(std::size_t batch, std::size_t channels, std::size_t pixels, const float* x,
             float* out, Isa) {
  transpose_images(batch, pixels, channels, x, out);
}

}  // namespace bnn
