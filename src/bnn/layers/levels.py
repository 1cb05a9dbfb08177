"""Layers whose operands have levels of their own: integers times a scale plus an offset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from bnn.ops.base import InputBinarizer
from bnn.ops.filters import by_filter, transposed_groups

if TYPE_CHECKING:
    from bnn.layers.base import BinaryLayer


class Factors(NamedTuple):
    """An operand, ``integers * scale + offset``; what is None is left out.

    The scale and the offset of an input have no axes; those of a weight have one, of its filters.
    """

    integers: Tensor
    scale: Tensor | None = None
    offset: Tensor | None = None

    @property
    def are_plain(self) -> bool:
        """Whether there is nothing but integers."""
        return self.scale is None and self.offset is None


def gives_factors(binarizer: nn.Module, base: type[nn.Module]) -> bool:
    """Say whether a binarizer can be asked for factors: not if it has a forward of its own."""
    return isinstance(binarizer, base) and type(binarizer).forward is base.forward


def input_factors(binarizer: nn.Module, x: Tensor) -> Factors:
    """Return what an ``activation_pre_process`` makes of a layer's input."""
    if gives_factors(binarizer, InputBinarizer):
        return Factors(*binarizer(x, factors=True))
    return Factors(binarizer(x))


def product_of_levels(
    layer: BinaryLayer, x: Factors, w: Factors, *args: Any, **kwargs: Any
) -> Tensor:
    """Return a layer's output, bias included, for operands with levels of their own.

    With x = a s + b and, in filter f, w = alpha_f r + beta_f, a sum of products over the taps
    within the image is four sums of integers, each of them exact::

        y = (sum(s r) * (a alpha_f) + bias_f) + (T * (b alpha_f) + U * beta_f)
        T = sum(r),   U = sum(s) * a + K * b,   K = sum(1)

    Where zero padding leaves no tap out, T is the same at all places, and its term is added to the
    bias first. The steps are float operations in this order, here and in a packed network.

    Args:
        layer: Its ``_compute``, bias and geometry are used.
        x: The input.
        w: The weight.
        args: Of ``layer.forward``, after the input.
        kwargs: Likewise.
    """
    terms = terms_of(layer, x, w, *args, **kwargs)
    out = layer._compute(x.integers, w.integers, None, *args, **kwargs)
    seen = None
    if terms.offset is not None:
        seen = layer._compute(x.integers, box(layer, w.integers), None, *args, **kwargs)
    return terms.added(out, seen)


class Terms(NamedTuple):
    """What makes a layer's output of sums of integers; each can multiply or be added to it.

    Attributes:
        scale: ``a alpha_f``.
        vector: The bias, and what is the same at all places.
        shift: ``T * (b alpha_f)``, where it differs.
        offset: ``beta_f``.
        seen_scale: ``a``, of the sums of the input.
        seen_shift: ``K * b``, which is added to them.
    """

    scale: Tensor | None
    vector: Tensor | None
    shift: Tensor | None
    offset: Tensor | None
    seen_scale: Tensor | None
    seen_shift: Tensor | None

    def added(self, out: Tensor, seen: Tensor | None) -> Tensor:
        """Return the output for the sums of the products and, of one channel a group, the input."""
        rest = self.shift
        if self.offset is not None and seen is not None:
            if self.seen_scale is not None:
                seen = seen * self.seen_scale
            if self.seen_shift is not None:
                seen = seen + self.seen_shift
            spatial = self.offset.dim() - 1
            groups = seen.shape[-spatial - 1]
            if groups > 1:
                seen = seen.repeat_interleave(len(self.offset) // groups, -spatial - 1)
            seen = seen * self.offset
            rest = seen if rest is None else rest + seen
        if self.scale is not None:
            out = out * self.scale
        if self.vector is not None:
            out = out + self.vector
        return out if rest is None else out + rest


def terms_of(layer: BinaryLayer, x: Factors, w: Factors, *args: Any, **kwargs: Any) -> Terms:
    """Return all of :func:`product_of_levels` but the sums; of x, only the shape is used."""
    spatial = w.integers.dim() - 2

    def along(factor: Tensor | None) -> Any:
        if factor is None:
            return None
        factor = factor.to(x.integers.dtype)
        return factor.view(-1, *[1] * spatial) if factor.dim() else factor

    vector, shift, seen_shift = along(layer.bias), None, None
    if x.offset is not None:
        ones = _sums_of_ones(layer, x.integers, w.integers, *args, **kwargs)
        shift = ones * along(times(x.offset, w.scale))
        if not leaves_taps_out(layer):
            vector, shift = shift if vector is None else shift + vector, None
        if w.offset is not None:
            count = _sums_of_ones(layer, x.integers, box(layer, w.integers), *args, **kwargs)
            seen_shift = count * along(x.offset)
    scale = along(times(x.scale, w.scale))
    seen_scale = None if w.offset is None else along(x.scale)
    return Terms(scale, vector, shift, along(w.offset), seen_scale, seen_shift)


def leaves_taps_out(layer: nn.Module) -> bool:
    """Say whether zeros beyond the image stand in for taps, so that border sums have fewer."""
    if transposed_groups(layer) is not None:
        return True
    if getattr(layer, "padding_mode", "zeros") != "zeros" or getattr(layer, "padding_value", 0):
        return False
    return any(getattr(layer, "_reversed_padding_repeated_twice", ()))


def times(a: Tensor | None, b: Tensor | None) -> Any:
    """Return the product of what is given; None if nothing is."""
    if a is None or b is None:
        return b if a is None else a
    return a * b


def _sums_of_ones(
    layer: BinaryLayer, x: Tensor, weight: Tensor, *args: Any, **kwargs: Any
) -> Tensor:
    """Return the sums for an input of ones, of which zero padding leaves some out at the border."""
    grouped, axes = by_filter(weight, transposed_groups(layer))
    if getattr(layer, "padding_value", 0):  # each tap is within the padded image
        return grouped.sum(axes).view(-1, *[1] * (weight.dim() - 2))
    # One channel of ones for each group meets the sums over the group's channels.
    channels = grouped.sum(axes[0], keepdim=True)
    if transposed_groups(layer) is not None:
        channels = channels.flatten(1, 2)
    groups = getattr(layer, "groups", 1)
    if weight.dim() == 2:
        shape: tuple[int, ...] = (1,)
    else:
        batch = (1,) if x.dim() == weight.dim() else ()
        shape = (*batch, groups, *x.shape[x.dim() - weight.dim() + 2 :])
    # As the class has it: no input goes through, so nobody who counts operations need know.
    compute: Any = type(layer)._compute
    result: Tensor = compute(layer, x.new_ones(shape), channels, None, *args, **kwargs)
    return result


def box(layer: nn.Module, weight: Tensor) -> Tensor:
    """Return one filter of ones for each group."""
    if transposed_groups(layer) is not None:
        return weight.new_ones((weight.shape[0], 1, *weight.shape[2:]))
    return weight.new_ones((getattr(layer, "groups", 1), *weight.shape[1:]))
