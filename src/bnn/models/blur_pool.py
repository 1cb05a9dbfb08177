"""Pooling by a fixed blur, which keeps a network's answer steady when the image shifts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bnn.models.grid import Grid


class BlurPool2d(nn.Module):
    """Blur each channel by the binomial filter [1, 2, 1] x [1, 2, 1] / 16, and subsample.

    The filter is a buffer of the state dict: it is not trained, but counts as stored numbers.

    Args:
        channels: Of input and output.
        stride: Of the subsampling.
        grid: The input's size and padding, see :class:`bnn.models.grid.Grid`.

    Shape:
        - Input: (N, channels, H, W).
        - Output: (N, channels, ceil(H / stride), ceil(W / stride)).

    Reference:
        Zhang, *Making Convolutional Networks Shift-Invariant Again*, ICML 2019.
        https://arxiv.org/abs/1904.11486

    Example:
        >>> BlurPool2d(1, 2, Grid((3, 3), "torch"))(torch.ones(1, 1, 3, 3))[0, 0]
        tensor([[0.5625, 0.5625],
                [0.5625, 0.5625]])
    """

    kernel: Tensor

    def __init__(self, channels: int, stride: int, grid: Grid) -> None:
        super().__init__()
        line = torch.tensor([1.0, 2.0, 1.0])
        self.register_buffer("kernel", (torch.outer(line, line) / 16).repeat(channels, 1, 1, 1))
        self.channels = channels
        self.stride = stride
        (top, bottom), (left, right) = grid.pads(3, stride)
        self.pads = (left, right, top, bottom)

    def forward(self, x: Tensor) -> Tensor:
        """Return the blurred, smaller map."""
        left, right, top, bottom = self.pads
        if (left, top) != (right, bottom):
            x = F.pad(x, self.pads)
            left = top = 0
        return F.conv2d(
            x, self.kernel, stride=self.stride, padding=(top, left), groups=self.channels
        )

    def extra_repr(self) -> str:
        """Return what ``print(module)`` shows."""
        return f"{self.channels}, stride={self.stride}, pads={self.pads}"
