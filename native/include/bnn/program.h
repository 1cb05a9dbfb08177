// A network as a list of operations, run by one call.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "bnn/conv2d.h"
#include "bnn/map.h"
#include "bnn/pool.h"

namespace bnn {

// The operations read and write buffers that are known when the program runs: a slot is an index
// into an array of their addresses. Weights and other constants are given by address when the
// program is built, and must live as long as it does.
//
// Whether Program::conv2d_maxpool2d computes the two.
bool fuses_maxpool2d(const ConvShape& conv, const Epilogue& between, const PoolShape& pool);

// Build it, then run it: from any number of threads at once, each with its own addresses.
class Program {
 public:
  using Slot = int;
  static constexpr Slot kNone = -1;
  using Addresses = void* const*;

  explicit Program(Isa isa) : isa_(isa) {}

  // Each operation is the function of that name in this folder's headers. Of an epilogue, `out`,
  // `bits` and `residual` come from the slots, of which each may be kNone.
  void bconv2d(const ConvShape& shape, Slot x, const word_t* weight, const void* panel, Slot out,
               Slot bits, Slot residual, const Epilogue& epilogue);
  void pack(Slot x, std::size_t batch, std::size_t channels, std::size_t pixels, bool channels_last,
            const float* scale, const float* shift, Slot out);  // of float32
  void unpack(Slot x, std::size_t batch, std::size_t channels, std::size_t pixels,
              bool channels_last, Slot out);  // to float32
  void bmaxpool2d(const PoolShape& shape, Slot x, Slot out);
  void bglobal_avgpool(std::size_t batch, std::size_t pixels, std::size_t channels, Slot x,
                       Slot out);
  void bconcat(std::size_t rows, const std::vector<Slot>& x,
               const std::vector<std::size_t>& channels, Slot out);
  void bchannel_shuffle(std::size_t rows, std::size_t channels, std::size_t groups, Slot x,
                        Slot out);
  void weight_only_conv2d(const ConvShape& shape, Slot x, const word_t* weight, const float* scale,
                          const float* bias, Slot out);

  // Floats, NHWC.
  void conv2d(const ConvShape& shape, bool x_nchw, Slot x, const void* panel, Slot out, Slot bits,
              Slot residual, const Epilogue& epilogue);
  // The maximum of a convolution's outputs, which are no tensor, if fuses_maxpool2d says so.
  void conv2d_maxpool2d(const ConvShape& shape, bool x_nchw, Slot x, const void* panel,
                        const Epilogue& between, const PoolShape& pool, Slot out, Slot bits,
                        Slot residual, const Epilogue& epilogue);
  void maxpool2d(const PoolShape& shape, Slot x, Slot out, Slot bits, Slot residual,
                 const Epilogue& epilogue);
  void avgpool2d(const PoolShape& shape, bool count_include_pad, Slot x, Slot out, Slot bits,
                 Slot residual, const Epilogue& epilogue);
  void global_avgpool(std::size_t batch, std::size_t pixels, std::size_t channels, Slot x, Slot out,
                      Slot bits, Slot residual, const Epilogue& epilogue);
  void map(std::size_t rows, std::size_t channels, Slot x, Slot out, Slot bits, Slot residual,
           const Epilogue& epilogue);
  void multiply(std::size_t rows, std::size_t channels, Slot x, Slot by, std::size_t rows_by,
                Slot out, Slot bits, Slot residual, const Epilogue& epilogue);
  void level(std::size_t rows, std::size_t channels, Slot x, std::size_t levels, std::size_t plane,
             Slot out, Slot bits, Slot residual, const Epilogue& epilogue);
  void concat(std::size_t rows, const std::vector<Slot>& x,
              const std::vector<std::size_t>& channels, Slot out, Slot bits, Slot residual,
              const Epilogue& epilogue);
  void to_nhwc(std::size_t batch, std::size_t channels, std::size_t pixels, Slot x, Slot out);
  void to_nchw(std::size_t batch, std::size_t channels, std::size_t pixels, Slot x, Slot out);

  // `addresses` has at least slots() elements.
  void run(Addresses addresses) const;

  // The same, and writes how many nanoseconds each operation took.
  void run_timed(Addresses addresses, std::int64_t* nanoseconds) const;

  std::size_t size() const { return operations_.size(); }
  std::size_t slots() const { return slots_; }

  // The operation's name and, where there is a choice, its kernel's.
  const std::string& describe(std::size_t i) const { return operations_[i].name; }

 private:
  struct Operation {
    std::string name;
    std::function<void(Addresses)> run;
  };

  void use(Slot slot);
  void add(std::string name, std::initializer_list<Slot> used,
           std::function<void(Addresses)> operation);

  Isa isa_;
  std::vector<Operation> operations_;
  std::size_t slots_ = 0;
};

}  // namespace bnn
