"""Binary layers. ``BINARY_LAYERS`` says which float layer becomes which binary one."""

from torch import nn

from bnn.layers.base import BinaryLayer
from bnn.layers.conv import Conv1d, Conv2d, Conv3d
from bnn.layers.conv_transpose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from bnn.layers.linear import Linear
from bnn.layers.prelu import PReLU
from bnn.layers.recompute import recompute_outputs
from bnn.layers.rprelu import RPReLU
from bnn.ops.compact import is_compact, set_compact

BINARY_LAYERS: dict[type[nn.Module], type[BinaryLayer]] = {
    nn.Linear: Linear,
    nn.Conv1d: Conv1d,
    nn.Conv2d: Conv2d,
    nn.Conv3d: Conv3d,
    nn.ConvTranspose1d: ConvTranspose1d,
    nn.ConvTranspose2d: ConvTranspose2d,
    nn.ConvTranspose3d: ConvTranspose3d,
}

__all__ = [
    "BINARY_LAYERS",
    "BinaryLayer",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Linear",
    "PReLU",
    "RPReLU",
    "is_compact",
    "recompute_outputs",
    "set_compact",
]
