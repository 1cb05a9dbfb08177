"""PReLU with a vectorized backward pass on the CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnn.ops.compact import is_compact, kernels_for


class PReLU(nn.PReLU):
    """``nn.PReLU``, whose gradient is computed by a kernel where there is one.

    On the CPU torch takes longer for the gradient of a PReLU than for that of a convolution of 16
    channels. Values and the input's gradient are the same to the last bit; the slopes' are sums in
    another order. :func:`bnn.layers.set_compact` turns it off too. It has the state of
    ``nn.PReLU``; the models of :mod:`bnn.models` use it where they are given that.

    Example:
        >>> PReLU(2)(torch.tensor([[-1.0, -2.0], [3.0, 4.0]]))
        tensor([[-0.2500, -0.5000],
                [ 3.0000,  4.0000]], grad_fn=<_PReLUBackward>)
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - nn.PReLU's name
        """Return ``max(0, x) + slope * min(0, x)``, of the same shape."""
        return prelu(input, self.weight)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """Compute ``torch.nn.functional.prelu``; its gradient is a kernel's where there is one.

    Args:
        x: ``(N, C, *)``, or any shape with one slope.
        slope: ``(C,)`` or ``(1,)``.

    Returns:
        The same shape.

    Example:
        >>> prelu(torch.tensor([[-1.0, 1.0]]), torch.tensor([0.5]))
        tensor([[-0.5000,  1.0000]])
    """
    kernels = kernels_for(x, slope) if is_compact() and torch.is_grad_enabled() else None
    if kernels is None or not (x.is_contiguous() or _is_channels_last(x)):
        return F.prelu(x, slope)
    if slope.numel() != 1 and (x.dim() < 2 or slope.shape != (x.shape[1],)):
        return F.prelu(x, slope)
    return _PReLU.apply(x, slope, kernels)  # type: ignore[no-any-return]  # untyped in torch


def _is_channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


class _PReLU(torch.autograd.Function):
    """PReLU forward, the kernel backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor, kernels: Any) -> Tensor:
        ctx.save_for_backward(x, slope)
        ctx.kernels = kernels
        return F.prelu(x, slope)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, slope = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody wants second derivatives
            needs = [t for t, n in zip((x, slope), ctx.needs_input_grad, strict=False) if n]
            found = iter(torch.autograd.grad(F.prelu(x, slope), needs, grad, create_graph=True))
            grads = [next(found) if needed else None for needed in ctx.needs_input_grad[:2]]
            return grads[0], grads[1], None
        if grad.stride() != x.stride():
            grad = grad.new_empty_strided(x.shape, x.stride()).copy_(grad)
        grad_x, along = ctx.kernels.prelu_gradient(x, slope, grad)
        return grad_x, along, None
