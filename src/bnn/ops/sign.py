"""The sign function of the whole package, and the straight-through estimator (STE)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from bnn.ops.base import BinarizerBase, SignForm, binarizers, check_above_zero
from bnn.ops.compact import is_compact, is_watched, kernels_for


def sign(x: Tensor) -> Tensor:
    """Return -1 where ``x < 0``, else +1: never a third value.

    0, -0.0 and NaN give +1, unlike ``torch.sign``, so that one bit (``x < 0``) holds the result.

    Args:
        x: Any shape, any real dtype.

    Returns:
        Same shape and dtype. No gradient: use a binarizer for that.

    Example:
        >>> sign(torch.tensor([-0.5, -0.0, 0.0, 3.0, float("nan")]))
        tensor([-1.,  1.,  1.,  1.,  1.])
    """
    if x.is_floating_point():
        # torch.sign is 0 at 0, -0.0 and NaN. Three vectorized passes: where() with numbers has one
        # that is not, and takes 15 times as long on a CPU.
        return x.sign().add_(0.5).sign_()
    return torch.where(x < 0, -1, 1).to(x.dtype)


class SignFunction(torch.autograd.Function):
    """Base of the surrogates: sign forward; a subclass writes backward with its slope.

    Where the slope depends on more than x, the subclass writes ``forward(x, more)`` too: backward
    finds what follows x in ``ctx.parameters``, and its result has a None for each.

    There is no ``jvp`` (forward-mode differentiation): torch.compile refuses functions with one.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        """Return ``sign(x)``."""
        return sign(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        """Keep x, on which the slope depends, and the slope's parameters."""
        x, *parameters = inputs
        ctx.save_for_backward(x)
        ctx.parameters = tuple(parameters)


def apply_sign(function: type[SignFunction], x: Tensor, *parameters: Any) -> Tensor:
    """Return ``function.apply(x, *parameters)``.

    Where no graph is recorded only its forward runs: what ``apply`` does besides takes several
    times as long as the signs of a small image, and packs bits that nobody asks for.
    """
    if torch.is_grad_enabled() or is_watched():
        return function.apply(x, *parameters)  # type: ignore[no-any-return]  # untyped in torch
    return function.forward(x, *parameters)


class SignActivation(SignFunction):
    r"""Straight-through sign, as ``SignActivation.apply(x)``.

    Forward:   :math:`q(x) = +1` if :math:`x \ge 0`, else :math:`-1`.
    Backward:  :math:`\partial q / \partial x = 1` if :math:`|x| \le 1`, else 0.

    Reference:
        Hubara et al., *Binarized Neural Networks*, NeurIPS 2016. https://arxiv.org/abs/1602.02830

    Example:
        >>> x = torch.tensor([-2.0, -1.0, 0.0, 1.5], requires_grad=True)
        >>> SignActivation.apply(x).sum().backward()
        >>> x.grad
        tensor([0., 1., 1., 0.])
    """

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:  # noqa: ARG004
        """Keep one bit for each x, or, where there are no kernels for that, x."""
        (x,) = inputs
        ctx.kernels = kernels_for(x) if is_compact() else None
        ctx.save_for_backward(x if ctx.kernels is None else ctx.kernels.clip_bits(x))
        ctx.stride = x.stride()

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:
        """Pass the gradient where abs(x) <= 1."""
        (kept,) = ctx.saved_tensors
        if ctx.kernels is None:
            return torch.where(kept.abs() <= 1, grad_output, 0)
        return KeepBits.apply(grad_output, kept, ctx.stride, ctx.kernels)  # type: ignore[no-any-return]


class KeepBits(torch.autograd.Function):
    """Set a tensor to 0 wherever a bit, in memory order of the given strides, is 0."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bits: Tensor, stride: tuple[int, ...], kernels: Any) -> Tensor:
        """Return a new tensor of these strides."""
        ctx.save_for_backward(bits)
        ctx.arguments = stride, kernels
        out: Tensor = x.new_empty_strided(x.shape, stride).copy_(x)
        return kernels.keep_bits_(out, bits)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        """Pass the gradient where the bit is 1."""
        (bits,) = ctx.saved_tensors
        return KeepBits.apply(grad_output, bits, *ctx.arguments), None, None, None


class ClippedSign(SignFunction):
    """Sign, as ``ClippedSign.apply(x, clip)``; its slope is 1 up to and with the clip.

    None passes the gradient everywhere.
    """

    @staticmethod
    def forward(x: Tensor, clip: float | None) -> Tensor:  # type: ignore[override]  # noqa: ARG004
        """Return ``sign(x)``."""
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        """Pass the gradient where abs(x) <= clip."""
        (x,) = ctx.saved_tensors
        (clip,) = ctx.parameters
        if clip is None:
            return grad_output, None
        return torch.where(x.abs() <= clip, grad_output, 0), None


@binarizers.register("BasicInputBinarizer")
class BasicInputBinarizer(BinarizerBase):
    r"""Binarize to {-1, +1} with the straight-through estimator.

    Forward:   :math:`q(x) = +1` if :math:`x \ge 0`, else :math:`-1`.
    Backward:  :math:`\partial q / \partial x = 1` if :math:`|x| \le clip`, else 0.

    A latent weight beyond the clip gets no gradient and stays there: see
    :func:`bnn.training.clamp_latent_weights_`.

    Args:
        clip: Up to where the gradient passes. QuickNet has 1.25, the binary DenseNets 1.3; None
            passes it everywhere.

    Shape:
        - Input: :math:`(*)`, any floating dtype.
        - Output: same shape and dtype; every entry is -1 or +1, also at 0.

    Raises:
        ConfigError: If ``clip`` is not above 0.

    Reference:
        Hubara et al., *Binarized Neural Networks*, NeurIPS 2016. https://arxiv.org/abs/1602.02830

    Example:
        >>> BasicInputBinarizer()(torch.tensor([-0.3, 0.0, 2.0]))
        tensor([-1.,  1.,  1.])
    """

    signs_input = True
    clip: float | None = 1.0  # of one that was pickled before it had the argument

    def __init__(self, clip: float | None = 1.0) -> None:
        super().__init__()
        if clip is not None:
            check_above_zero("BasicInputBinarizer", clip=clip)
        if clip != 1:
            self.clip = clip

    def depends_on(self) -> Hashable | None:
        """Return that it depends on nothing."""
        return None if type(self).forward is not BasicInputBinarizer.forward else ()

    def sign_form(self, x: Tensor) -> SignForm | None:
        """Return the straight-through sign of ``x``."""
        if type(self).forward is not BasicInputBinarizer.forward:
            return None
        if self.clip == 1:
            return SignForm(x, SignActivation)
        return SignForm(x, ClippedSign, (self.clip,))

    def forward(self, x: Tensor) -> Tensor:
        """Return the signs of ``x``."""
        if self.clip == 1:
            return apply_sign(SignActivation, x)
        return apply_sign(ClippedSign, x, self.clip)

    def extra_repr(self) -> str:
        """Show the clip where it is not 1."""
        return "" if self.clip == 1 else f"clip={self.clip}"
