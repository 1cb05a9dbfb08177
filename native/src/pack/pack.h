// The contract of a pack kernel. It gets a part of the work, whose outputs no other part writes.
#pragma once

#include "bnn/pack.h"

namespace bnn {

// Planes are cut into blocks of so many pixels.
inline constexpr std::size_t kBlockPixels = 64;

struct PackKernel {
  const char* name;
  Isa needs;
  // channels_last: the rows [begin, end) of batch * pixels.
  void (*pack_rows)(const PackArgs& args, std::size_t begin, std::size_t end);
  void (*unpack_rows)(const UnpackArgs& args, std::size_t begin, std::size_t end);
  // Else: the items [begin, end) of batch * blocks of pixels * words; words vary fastest.
  void (*pack_planes)(const PackArgs& args, std::size_t begin, std::size_t end);
  void (*unpack_planes)(const UnpackArgs& args, std::size_t begin, std::size_t end);
};

}  // namespace bnn
