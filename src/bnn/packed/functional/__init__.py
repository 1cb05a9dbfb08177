"""1-bit operations on tensors: pack, convolve, pool, and what lies between.

Bits are ``int64`` words with the channels last, ``(N, *spatial, words(C))``: see
:mod:`bnn.packed.layout`. Their unused bits must be 0, as every function here leaves them. Floats
are ``(N, C, *spatial)`` as everywhere in torch, in channels_last memory. How many channels the
words hold is an argument, since the words do not tell.

On the CPU the native kernels compute, elsewhere plain torch, with the same result. There are no
gradients: call these under ``torch.no_grad()`` or ``torch.inference_mode()`` where an argument
requires one.

Every function raises :class:`bnn.errors.PackedError` for an argument that it cannot take.
"""

from bnn.packed.epilogue import Epilogue
from bnn.packed.functional.convolution import bconv1d, bconv2d, blinear
from bnn.packed.functional.pooling import avg_pool2d, global_avg_pool, max_pool2d
from bnn.packed.functional.weight_only import weight_only_conv2d, weight_only_linear
from bnn.packed.functional.words import channel_shuffle, concat, pack, unpack

__all__ = [
    "Epilogue",
    "avg_pool2d",
    "bconv1d",
    "bconv2d",
    "blinear",
    "channel_shuffle",
    "concat",
    "global_avg_pool",
    "max_pool2d",
    "pack",
    "unpack",
    "weight_only_conv2d",
    "weight_only_linear",
]
