"""DoReFa-Net: activations and weights of a few bits."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.ops.base import InputBinarizer, SignForm, WeightBinarizer, binarizers
from bnn.ops.filters import nonzero, output_count, transposed_groups
from bnn.ops.sign import SignFunction, sign

_MOST_BITS = 8


class _Round(torch.autograd.Function):
    """round(x), half to even; the gradient passes as it is."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> Tensor:  # noqa: ARG004
        return grad_output


class _UnscaledSign(SignFunction):
    """Sign of which the gradient is divided by the scale that multiplies it later.

    Of a scale of 0 it is 0 instead, and the factor that multiplies it is 1: see ``nonzero``.
    """

    @staticmethod
    def forward(x: Tensor, scale: Tensor) -> Tensor:  # type: ignore[override]
        return sign(x) * (scale != 0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        (scale,) = ctx.saved_tensors
        return grad_output / nonzero(scale), None


def _check_bits(name: str, bits: int) -> None:
    if type(bits) is not int or not 1 <= bits <= _MOST_BITS:
        raise ConfigError(f"{name}: bits is {bits!r}; it must be an int from 1 to {_MOST_BITS}.")


@binarizers.register("DoReFaInputBinarizer")
class DoReFaInputBinarizer(InputBinarizer):
    r"""Round activations to k bits between 0 and 1.

    Forward:   :math:`q(x) = \mathrm{round}(n\,\mathrm{clip}(x, 0, 1)) / n`,
    :math:`n = 2^k - 1`.
    Backward:  1 if :math:`0 \le x \le 1`, else 0.

    Args:
        bits: :math:`k`, from 1 to 8.

    Shape:
        - Input: :math:`(*)`, any floating dtype.
        - Output: same shape and dtype, of :math:`2^k` values.

    Raises:
        ConfigError: If ``bits`` is out of range.

    Reference:
        Zhou et al., *DoReFa-Net*, 2016. https://arxiv.org/abs/1606.06160

    Example:
        >>> DoReFaInputBinarizer(bits=2)(torch.tensor([-1.0, 0.3, 0.6, 2.0]))
        tensor([0.0000, 0.3333, 0.6667, 1.0000])
    """

    levels = (0.0, 1 / 3, 2 / 3, 1.0)

    def __init__(self, bits: int = 2) -> None:
        super().__init__()
        _check_bits("DoReFaInputBinarizer", bits)
        self.bits = bits

    def depends_on(self) -> Hashable | None:
        """Return the number of bits."""
        return self._state(DoReFaInputBinarizer, self.bits)

    def decompose(self, x: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """Return the integers from 0 to n, and 1 / n."""
        n = 2**self.bits - 1
        integers = _Round.apply(n * x.clamp(0, 1))
        return integers, None if n == 1 else x.new_full((), 1 / n), None

    def extra_repr(self) -> str:
        """Show the number of bits."""
        return f"bits={self.bits}"


@binarizers.register("DoReFaWeightBinarizer")
class DoReFaWeightBinarizer(WeightBinarizer):
    r"""Round a weight to k bits between -1 and 1, or to its sign and one scale for the layer.

    Forward:   :math:`q(w) = 2\,\mathrm{round}(n u) / n - 1`, :math:`n = 2^k - 1`, :math:`u =
    \tanh(w) / (2 \max |\tanh(w)|) + 1/2`; for one bit :math:`q(w) = \mathrm{sign}(w)\,
    \mathrm{mean}|w|`. Maximum and mean are the layer's, and no gradient goes through them.
    Backward:  :math:`(1 - \tanh^2(w)) / \max |\tanh(w)|`; for one bit 1, everywhere.

    Args:
        bits: :math:`k`, from 1 to 8.
        module: The layer, given by it: a transposed convolution's filters lie on other axes.

    Shape:
        - Input: a weight, ``(O, I/groups, *kernel)``, or ``(I, O/groups, *kernel)`` for a
          transposed convolution.
        - Output: same shape and dtype.

    Raises:
        ConfigError: If ``bits`` is out of range.

    Reference:
        Zhou et al., *DoReFa-Net*, 2016. https://arxiv.org/abs/1606.06160

    Example:
        >>> DoReFaWeightBinarizer()(torch.tensor([[0.5, -1.5], [0.0, 0.2]]))
        tensor([[ 0.5500, -0.5500],
                [ 0.5500,  0.5500]])
        >>> DoReFaWeightBinarizer(bits=2)(torch.tensor([[0.5, -1.5], [0.0, 0.2]]))
        tensor([[ 0.3333, -1.0000],
                [ 0.3333,  0.3333]])
    """

    def __init__(self, bits: int = 1, *, module: nn.Module | None = None) -> None:
        super().__init__()
        _check_bits("DoReFaWeightBinarizer", bits)
        self.bits = bits
        self._transposed = transposed_groups(module)

    def depends_on(self) -> Hashable | None:
        """Return the arguments."""
        return self._state(DoReFaWeightBinarizer, self.bits, self._transposed)

    def sign_form(self, x: Tensor) -> SignForm | None:
        """Return the sign that one bit is, unless all weights are 0: there the signs are none."""
        if self._state(DoReFaWeightBinarizer) is None or self.bits != 1:
            return None
        scale = x.detach().abs().mean()
        if not scale:
            return None
        scales = scale.repeat(output_count(x, self._transposed))
        return SignForm(x, _UnscaledSign, (scale,), scales)

    def decompose(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signs, or odd integers from -n to n, and the scale of shape ``(O,)``.

        Of one bit and a weight of zeros, all integers are 0 and the scale is 1.
        """
        filters = output_count(weight, self._transposed)
        if self.bits == 1:
            scale = weight.detach().abs().mean()
            return _UnscaledSign.apply(weight, scale), nonzero(scale).expand(filters)
        n = 2**self.bits - 1
        bounded = torch.tanh(weight)
        largest = torch.ones_like(bounded[:0].sum())  # of no weights at all
        if bounded.numel():
            largest = bounded.detach().abs().max().clamp_min(torch.finfo(weight.dtype).tiny)
        integers = 2 * _Round.apply(n * (bounded / (2 * largest) + 0.5)) - n
        return integers, weight.new_full((filters,), 1 / n)

    def extra_repr(self) -> str:
        """Show the number of bits."""
        return f"bits={self.bits}"
