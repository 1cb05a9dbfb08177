"""The product of two operands that are signs, with bits kept for the backward pass.

The plain computation keeps the sign of every activation, every sign of the weight and every sum
as floats. Here one function does all of it: its forward pass is a 1-bit kernel, and it keeps a bit
for each sign of the input and one for each place where the gradient goes through; the signs of the
weight come from the weight again, which is there anyway. The backward pass makes floats of them
for as long as it takes.

The scale's gradient needs no sums either: with G the gradient of the weight's signs before the
scale, the sum over a filter of G * sign(w) is that of grad_output * sums over all pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bnn.layers.product import Product
from bnn.layers.recompute import Modes, is_recomputing, note_output
from bnn.ops.base import BinarizerBase, SignForm
from bnn.ops.sign import KeepBits, SignActivation, SignFunction, sign


@dataclass(frozen=True)
class Sign:
    """A sign and its gradient."""

    function: type[torch.autograd.Function]
    parameters: tuple[Any, ...]

    @classmethod
    def of(cls, form: SignForm) -> Sign:
        """Return that of a binarizer's form."""
        return cls(form.function, form.parameters)

    @property
    def is_clipped(self) -> bool:
        """Whether the gradient takes one bit for each place."""
        return self.function.backward is SignActivation.backward

    def apply(self, x: Tensor) -> Tensor:
        """Return the signs, with the graph; of those that are drawn, only the graph is right."""
        function = SignActivation if self.is_clipped else self.function
        return function.apply(x, *self.parameters)  # type: ignore[no-any-return]

    def backward(self, x: Tensor, grad: Tensor) -> Tensor:
        """Return the gradient of ``x`` from that of the signs."""
        if self.function.setup_context in _KNOWN_CONTEXTS:
            found = self.function.backward(_Context(x, self.parameters), grad)
            return found[0] if isinstance(found, tuple) else found  # type: ignore[no-any-return]
        with torch.enable_grad():  # it keeps something of its own for its backward pass
            leaf = x.detach().requires_grad_()
            return torch.autograd.grad(self.apply(leaf), leaf, grad)[0]


_KNOWN_CONTEXTS = (SignFunction.setup_context, SignActivation.setup_context)


@dataclass(frozen=True)
class Operand:
    """What is multiplied, in the forward pass alone.

    Attributes:
        latent: What the signs are taken of, without a graph.
        drawn: The signs, where they are not those of the latent.
        scale: Of a weight.
    """

    latent: Tensor
    drawn: Tensor | None = None
    scale: Tensor | None = None

    @classmethod
    def of(cls, form: SignForm) -> Operand:
        """Return what a binarizer's form says; signs that are random are drawn now."""
        latent = form.latent.detach()
        drawn = None
        if form.draws:
            drawn = form.function.forward(latent, *form.parameters)
        scale = None if form.scale is None else form.scale.detach()
        return cls(latent, drawn, scale)

    @property
    def signs(self) -> Tensor:
        """As floats."""
        return sign(self.latent) if self.drawn is None else self.drawn

    def bits(self, kernels: Any) -> Tensor:
        """Return the packed signs."""
        return kernels.sign_bits(  # type: ignore[no-any-return]
            self.latent if self.drawn is None else self.drawn
        )


@dataclass
class SignCall:
    """What the function is called with, apart from tensors.

    Attributes:
        kernels: Of :mod:`bnn.packed.training`.
        product: What the layer does with its operands.
        x_sign: Of the input.
        weight_sign: Of the weight.
        mean: See :class:`bnn.ops.base.SignForm`.
        derives: Makes the weight's latent, or a scale that has a gradient; done again. None: the
            latent is the weight.
        modes: Of that.
        changeable: What the gradients depend on besides; refused if it changes.
    """

    kernels: Any
    product: Product
    x_sign: Sign
    weight_sign: Sign
    mean: bool
    derives: BinarizerBase | None
    modes: Modes
    changeable: tuple[Tensor, ...]


class _Context:
    """What a SignFunction's backward reads."""

    kernels = None  # of SignActivation: it has x

    def __init__(self, x: Tensor, parameters: tuple[Any, ...]) -> None:
        self.saved_tensors, self.parameters = (x,), parameters


class Revealed(torch.autograd.Function):
    """The straight-through signs of the tensor that an edge stands for."""

    @staticmethod
    def forward(
        ctx: Any,
        edge: Tensor,  # noqa: ARG004 - takes the gradient
        signs: Tensor,
        bits: Tensor,
        stride: tuple[int, ...],
        kernels: Any,
    ) -> Tensor:
        """Return the signs."""
        ctx.save_for_backward(bits)
        ctx.arguments = stride, kernels
        return signs.view_as(signs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Pass the gradient where the bit is 1."""
        (bits,) = ctx.saved_tensors
        return KeepBits.apply(grad, bits, *ctx.arguments), None, None, None, None


class SignProduct(torch.autograd.Function):
    """The product of the signs of two latent tensors, times a scale, plus a bias.

    The gradient of ``x`` goes to ``edge``, which is its place in the graph; ``learnt`` are the
    parameters from which the weight's latent or scale is derived.
    """

    @staticmethod
    def forward(
        ctx: Any,
        edge: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        call: SignCall,
        x: Operand,
        w: Operand,
        *learnt: Tensor,  # noqa: ARG004 - they take the gradient
    ) -> Tensor:
        """Compute with bits where there is a kernel; keep bits."""
        k, product, scale = call.kernels, call.product, w.scale
        x_bits = x.bits(k)
        weight_bits = w.bits(k) if product.has_kernel or w.drawn is not None else None
        if product.has_kernel:
            channels, layout = x.latent.shape[1], output_layout(x.latent, w.latent)
            compute = _product_of_bits(k, product, channels, layout)
            out = compute(x_bits, weight_bits, scale, bias)
            if is_recomputing():  # an optimizer may change the vectors before the backward pass
                vectors = (None if v is None else v.detach().clone() for v in (scale, bias))
                note_output(out, compute, x_bits, weight_bits, *vectors)
        else:
            out = product.floats(x.signs, w.signs)
            shape = (-1, *[1] * product.axes)
            out = out if scale is None else out.mul_(scale.view(shape))
            out = out if bias is None else out.add_(bias.view(shape))
        ctx.call, ctx.x_shape, ctx.x_stride = call, x.latent.shape, x.latent.stride()
        clip = None
        if call.x_sign.is_clipped and ctx.needs_input_grad[0]:
            clip = k.clip_bits(x.latent)
        drawn = None if w.drawn is None else weight_bits
        # The last are there to be refused if they change.
        ctx.save_for_backward(edge, x_bits, clip, weight, drawn, scale, bias, *call.changeable)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of all that has one."""
        call: SignCall = ctx.call
        if torch.is_grad_enabled():  # somebody wants second derivatives
            return _differentiable_gradients(ctx, grad)
        k, product = call.kernels, call.product
        edge, x_bits, clip, weight, drawn, scale, *_ = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, _, _, _, *needs_learnt = ctx.needs_input_grad
        form, leaf = _derived_again(call, weight)
        latent = weight if form is None else form.latent.detach()
        needs_scale = form is not None and form.scale is not None and form.scale.requires_grad
        needs_weight = needs_weight or any(needs_learnt)
        grad_x, grad_signs = product.gradients(
            grad,
            lambda channels_last: k.signs_of_bits(x_bits, ctx.x_shape[1], channels_last),
            lambda: _scaled_signs(call, latent, drawn, scale),
            (needs_x, needs_weight),
        )
        if grad_x is not None:
            grad_x = like(grad_x, ctx.x_shape, ctx.x_stride)
            if call.x_sign.is_clipped:
                grad_x = k.keep_bits_(grad_x, clip)
            else:
                grad_x = call.x_sign.backward(edge, grad_x)
        grad_weight: Tensor | None = None
        grads_learnt: list[Tensor | None] = [None] * len(needs_learnt)
        if grad_signs is not None:
            grad_signs = like(grad_signs, latent.shape, latent.stride())
            grad_weight, grad_scale = _latent_gradient(call, grad_signs, latent, scale, needs_scale)
            if form is not None:
                found = _through(form, grad_weight, grad_scale, [leaf, *_learnt(call.derives)])
                grad_weight, *grads_learnt = found
        grad_bias = by_channel(grad) if needs_bias else None
        return grad_x, grad_weight, grad_bias, None, None, None, *grads_learnt


def _learnt(binarizer: BinarizerBase | None) -> list[Tensor]:
    return [] if binarizer is None else [p for p in binarizer.parameters() if p.requires_grad]


def _derived_again(call: SignCall, weight: Tensor) -> tuple[SignForm | None, Tensor]:
    """Return the form of a weight, with its graph, and the leaf that stands for the weight."""
    if call.derives is None:
        return None, weight
    with torch.enable_grad(), call.modes.restored():
        leaf = weight.detach().requires_grad_()
        form = call.derives.sign_form(leaf)
    assert form is not None  # noqa: S101 - the same weight gives the same form
    return form, leaf


def _through(
    form: SignForm, grad_latent: Tensor, grad_scale: Tensor | None, inputs: list[Tensor]
) -> Sequence[Tensor | None]:
    """Return the gradients of what a form was derived from."""
    outputs, grads = [form.latent], [grad_latent]
    if grad_scale is not None and form.scale is not None:
        outputs, grads = [*outputs, form.scale], [*grads, grad_scale]
    return torch.autograd.grad(outputs, inputs, grads, allow_unused=True)


def _differentiable_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients as plain operations have them: functions of ``grad`` and the inputs."""
    call: SignCall = ctx.call
    k, product = call.kernels, call.product
    edge, x_bits, clip, weight, drawn, scale, bias, *_ = ctx.saved_tensors
    latent, learnt, weight_sign = weight, _learnt(call.derives), call.weight_sign
    if call.derives is not None:
        with call.modes.restored():
            form = call.derives.sign_form(weight)
        assert form is not None  # noqa: S101 - the same weight gives the same form
        latent, scale, weight_sign = form.latent, form.scale, Sign.of(form)
    if call.x_sign.is_clipped:
        x: Tensor = k.signs_of_bits(x_bits, ctx.x_shape[1], channels_last=False)
        if clip is not None:
            x = Revealed.apply(edge, x, clip, ctx.x_stride, k)
    else:
        x = call.x_sign.apply(edge)
    w = weight_sign.apply(latent)
    if drawn is not None:
        w = k.signs_of_bits(drawn, latent.shape[1], channels_last=False) + (w - w.detach())
    out = product.floats(x, w)
    factor = scale
    if call.mean:
        factor = product.gather(latent.abs()) / (latent.numel() // scale.numel())
    shape = (-1, *[1] * product.axes)
    out = out if factor is None else out * factor.view(shape)
    out = out if bias is None else out + bias.view(shape)
    inputs = (edge, weight, bias, None, None, None, *learnt)
    return needed_gradients(out, inputs, ctx.needs_input_grad, grad)


def needed_gradients(
    out: Tensor, inputs: Sequence[Tensor | None], needs: Sequence[bool], grad: Tensor
) -> tuple[Tensor | None, ...]:
    """Return the gradients, with a graph of their own, of the inputs that need one; else None."""
    needed = {
        i: tensor
        for i, (tensor, need) in enumerate(zip(inputs, needs, strict=True))
        if tensor is not None and need
    }
    found = torch.autograd.grad(
        out, list(needed.values()), grad, create_graph=True, allow_unused=True
    )
    gradients = dict(zip(needed, found, strict=True))
    return tuple(gradients.get(i) for i in range(len(inputs)))


def _product_of_bits(
    kernels: Any, product: Product, channels: int, layout: torch.memory_format
) -> Callable[..., Tensor]:
    def compute(x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
        out = product.bits(kernels, x, weight, channels, scale=scale, bias=bias)
        return out.contiguous(memory_format=layout)

    return compute


def output_layout(x: Tensor, weight: Tensor) -> torch.memory_format:
    """Return what torch's convolution would give its output."""
    if x.dim() == 4 and any(
        t.is_contiguous(memory_format=torch.channels_last) and not t.is_contiguous()
        for t in (x, weight)
    ):
        return torch.channels_last
    return torch.contiguous_format


def _scaled_signs(
    call: SignCall, weight: Tensor, drawn: Tensor | None, scale: Tensor | None
) -> Tensor:
    if drawn is not None:
        signs: Tensor = call.kernels.signs_of_bits(drawn, weight.shape[1], channels_last=False)
        return like(signs, weight.shape, weight.stride())
    if _is_by_row(call.product, weight):
        return call.kernels.scaled_signs(weight, scale)  # type: ignore[no-any-return]
    signs = sign(weight)
    return signs if scale is None else signs * call.product.spread(scale, weight)


def _latent_gradient(
    call: SignCall, grad: Tensor, weight: Tensor, scale: Tensor | None, needs_scale: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of the latent weight and of the scale from that of the bare signs."""
    product, clipped = call.product, call.weight_sign.is_clipped
    if clipped and _is_by_row(product, weight):
        along = call.kernels.latent_gradient_(
            grad, weight, scale, mean=call.mean, along=needs_scale
        )
        return grad, along
    along = None
    if call.mean or needs_scale:
        along = product.gather(grad * sign(weight))
    through = grad if scale is None else grad * product.spread(scale, weight)
    through = call.weight_sign.backward(weight, through)
    if call.mean:
        assert along is not None  # noqa: S101 - above
        share = along / (weight.numel() // along.numel())
        through = through + weight.sgn() * product.spread(share, weight)
    return through, along if needs_scale else None


def _is_by_row(product: Product, weight: Tensor) -> bool:
    """Say whether each filter is one stretch of memory."""
    rest = weight.numel() // weight.shape[0]
    return not getattr(product, "transposed", False) and (
        weight.shape[0] == 1 or weight.stride(0) == rest
    )


def by_channel(grad: Tensor) -> Tensor:
    """Return a bias's gradient from that of the output."""
    return grad.sum([axis for axis in range(grad.dim()) if axis != 1])


def like(x: Tensor, shape: torch.Size, stride: tuple[int, ...]) -> Tensor:
    """Return ``x``, or a copy of it, with these strides: what bits in memory order stand for."""
    if x.stride() == stride:
        return x
    return x.new_empty_strided(shape, stride).copy_(x)
