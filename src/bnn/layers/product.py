"""What a binary layer multiplies and adds, apart from where the operands come from.

A product knows how to compute itself and its two gradients with floats, and, where there is a
1-bit kernel for it, with bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Gradients = tuple[Tensor | None, Tensor | None]


@dataclass(frozen=True)
class LinearProduct:
    """``x @ weight.T``, of ``(N, C)`` and ``(O, C)``."""

    axes = 0
    has_kernel = True

    def fits(self, x: torch.Size, weight: torch.Size) -> bool:
        """Say whether there is a product of such operands; if not, torch says what is wrong."""
        return len(x) >= 1 and x[-1] == weight[1]

    def floats(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the product."""
        return F.linear(x, weight)

    def bits(self, kernels: Any, x: Tensor, weight: Tensor, channels: int, **steps: Any) -> Tensor:
        """Return the product of two packed operands, after the steps."""
        out: Tensor = kernels.bconv(x, weight, channels, (), (), (), 1, 0, **steps)
        return out

    def gradients(
        self,
        grad: Tensor,
        x: Callable[[bool], Tensor],
        weight: Callable[[], Tensor],
        needs: tuple[bool, bool],
    ) -> Gradients:
        """Return the gradients of ``x`` and ``weight`` that are needed."""
        return (
            grad @ weight() if needs[0] else None,
            grad.t() @ x(False) if needs[1] else None,
        )

    def spread(self, scale: Tensor, weight: Tensor) -> Tensor:  # noqa: ARG002
        """Return one value for each filter so that it multiplies the weight."""
        return scale.view(-1, 1)

    def gather(self, values: Tensor) -> Tensor:
        """Return the sum over each filter of what has the weight's shape."""
        return values.sum(1)


@dataclass(frozen=True)
class ConvProduct:
    """A convolution, of ``(N, C, *)`` with a weight as ``nn`` has it.

    Attributes:
        stride: Like the next, one number for each axis.
        dilation: Of the kernel.
        groups: Of channels.
        pads: As ``F.pad`` takes them, for what ``padding`` does not say.
        pad_value: What ``pads`` are filled with.
        padding: With 0, the same on both sides; for a transposed convolution, what is cropped.
        transposed: Whether it is a transposed convolution.
        output_padding: Of a transposed one.
    """

    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    pads: tuple[int, ...]
    pad_value: int
    padding: tuple[int, ...]
    transposed: bool = False
    output_padding: tuple[int, ...] = ()

    @property
    def axes(self) -> int:
        """The spatial ones."""
        return len(self.stride)

    def fits(self, x: torch.Size, weight: torch.Size) -> bool:
        """Say whether there is a product of such operands; if not, torch says what is wrong."""
        if len(x) not in (self.axes + 1, self.axes + 2):
            return False
        channels, *image = x[-1 - self.axes :]
        if self.transposed:
            return channels == weight[0]
        kernel = zip(weight[2:], self.dilation, strict=True)
        extents = [dilation * (size - 1) + 1 for size, dilation in kernel]
        return channels == weight[1] * self.groups and all(
            before + size + after >= extent
            for (before, after), size, extent in zip(self._ends(), image, extents, strict=True)
        )

    def _ends(self) -> list[tuple[int, int]]:
        """Return how much is padded before and after each axis, the first one first."""
        if not self.pads:
            return [(size, size) for size in self.padding]
        pairs = list(zip(self.pads[::2], self.pads[1::2], strict=True))
        return pairs[::-1]  # F.pad begins with the last axis

    @property
    def has_kernel(self) -> bool:
        """Whether the 1-bit kernels compute it."""
        return not self.transposed and self.axes <= 2

    def floats(self, x: Tensor, weight: Tensor) -> Tensor:
        """Return the product."""
        out: Tensor = torch.ops.aten.convolution(self._padded(x), weight, None, *self._arguments())
        return out

    def bits(self, kernels: Any, x: Tensor, weight: Tensor, channels: int, **steps: Any) -> Tensor:
        """Return the product of two packed operands, after the steps."""
        ends = tuple(pad for pair in self._ends() for pad in pair)
        out: Tensor = kernels.bconv(
            x, weight, channels, self.stride, ends, self.dilation, self.groups,
            self.pad_value, **steps,
        )  # fmt: skip
        return out

    def gradients(
        self,
        grad: Tensor,
        x: Callable[[bool], Tensor],
        weight: Callable[[], Tensor],
        needs: tuple[bool, bool],
    ) -> Gradients:
        """Return the gradients of ``x`` and ``weight`` that are needed."""
        channels_last = self._wants_channels_last(grad)
        layout = torch.channels_last if channels_last else torch.contiguous_format
        grad = grad.contiguous(memory_format=layout)
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
            grad, self._padded(x(channels_last)), weight(), None, *self._arguments(),
            [*needs, False],
        )  # fmt: skip
        return self._cropped(grad_x), grad_weight

    def _wants_channels_last(self, grad: Tensor) -> bool:
        # Measured: a reordered weight costs more than it brings where few pixels share it.
        return self.axes == 2 and grad.shape[-1] * grad.shape[-2] >= _PIXELS_FOR_CHANNELS_LAST

    def _arguments(self) -> tuple[Any, ...]:
        none = (0,) * self.axes
        output_padding = self.output_padding or none
        return (
            self.stride, self.padding, self.dilation, self.transposed, output_padding, self.groups,
        )  # fmt: skip

    def _padded(self, x: Tensor) -> Tensor:
        return F.pad(x, self.pads, value=self.pad_value) if self.pads else x

    def _cropped(self, grad: Tensor | None) -> Tensor | None:
        if grad is None or not self.pads:
            return grad
        cropped: Tensor = F.pad(grad, [-pad for pad in self.pads])
        return cropped

    def spread(self, scale: Tensor, weight: Tensor) -> Tensor:
        """Return one value for each filter so that it multiplies the weight."""
        ones = (1,) * self.axes
        if not self.transposed:
            return scale.view(-1, 1, *ones)
        rows = weight.shape[0] // self.groups
        each = scale.view(self.groups, 1, -1).expand(-1, rows, -1)
        return each.reshape(weight.shape[0], -1, *ones)

    def gather(self, values: Tensor) -> Tensor:
        """Return the sum over each filter of what has the weight's shape."""
        if not self.transposed:
            return values.flatten(1).sum(1)
        rows: Tensor = values.flatten(2).sum(2)
        return rows.view(self.groups, -1, rows.shape[1]).sum(1).flatten()


Product = LinearProduct | ConvProduct

_PIXELS_FOR_CHANNELS_LAST = 64
