"""Binary layers that keep bits for the backward pass.

The plain computation keeps the sign of every activation, every sign of the weight and every sum
as floats. Here one function does all of a layer: its forward pass is a 1-bit kernel, and it keeps
a bit for each sign of the input and one for each place where the gradient goes through; the signs
of the weight come from the weight again, which is there anyway. The backward pass makes floats of
them for as long as it takes.

The scale's gradient needs no sums either: with G the gradient of the weight's signs before the
scale, the sum over a filter of G * sign(w) is that of grad_output * sums over all pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bnn.layers.product import Product
from bnn.layers.recompute import is_recomputing, note_output
from bnn.ops.base import BinarizerBase, SignForm
from bnn.ops.compact import is_compact, kernels_for
from bnn.ops.sign import KeepBits, SignActivation, SignFunction, sign

if TYPE_CHECKING:
    from bnn.layers.base import BinaryLayer


@dataclass(frozen=True)
class Sign:
    """A sign and its gradient."""

    function: type[torch.autograd.Function]
    parameters: tuple[Any, ...]

    @property
    def is_clipped(self) -> bool:
        """Whether the gradient takes one bit for each place."""
        return self.function is SignActivation

    def apply(self, x: Tensor) -> Tensor:
        """Return the signs, with the graph."""
        return self.function.apply(x, *self.parameters)  # type: ignore[no-any-return]

    def backward(self, x: Tensor, grad: Tensor) -> Tensor:
        """Return the gradient of ``x`` from that of the signs."""
        if self.function.setup_context in _KNOWN_CONTEXTS:
            found = self.function.backward(_Context(x, self.parameters), grad)
            return found[0] if isinstance(found, tuple) else found  # type: ignore[no-any-return]
        with torch.enable_grad():  # it keeps something of its own for its backward pass
            leaf = x.detach().requires_grad_()
            return torch.autograd.grad(self.apply(leaf), leaf, grad)[0]


_KNOWN_CONTEXTS = (SignFunction.setup_context, SignActivation.setup_context)


@dataclass
class _Call:
    """What a layer's function is called with, apart from tensors that may have a gradient."""

    kernels: Any
    product: Product
    x_sign: Sign
    weight_sign: Sign
    mean: bool
    layer: BinaryLayer
    derived: bool  # whether the weight's latent is not the weight itself


class _Context:
    """What a SignFunction's backward reads."""

    kernels = None  # of SignActivation: it has x

    def __init__(self, x: Tensor, parameters: tuple[Any, ...]) -> None:
        self.saved_tensors, self.parameters = (x,), parameters


def compact_forward(layer: BinaryLayer, x: Tensor, args: tuple[Any, ...]) -> Tensor | None:
    """Compute a layer without its post process, or return None where plain operations must."""
    if not torch.is_grad_enabled() or not (
        is_compact() if layer.compact is None else layer.compact
    ):
        return None
    if parametrize.is_parametrized(layer):  # computing the weight twice may change it
        return None
    weight = layer.weight
    kernels = kernels_for(x, weight, layer.bias)
    product = None if kernels is None else layer._product(x, *args)
    if product is None or not product.fits(x.shape, weight.shape):
        return None
    if layer.weight_pre_process._forward_hooks:
        return None
    weight_form = _sign_form(layer.weight_pre_process, weight)
    x_form = None if weight_form is None else _sign_form(layer.activation_pre_process, x)
    if x_form is None or weight_form is None:
        return None
    if kernels_for(x_form.latent, weight_form.latent, weight_form.scale) is None:
        return None
    call = _Call(
        kernels=kernels,
        product=product,
        x_sign=Sign(x_form.function, x_form.parameters),
        weight_sign=Sign(weight_form.function, weight_form.parameters),
        mean=weight_form.mean,
        layer=layer,
        derived=weight_form.latent is not weight,
    )
    latent = x_form.latent
    _measure(layer.activation_pre_process, x, latent)
    batch = latent.shape[: latent.dim() - product.axes - 1]
    if len(batch) != 1:
        latent = latent.reshape(-1, *latent.shape[len(batch) :])
    edge = _Edge.apply(latent) if call.x_sign.is_clipped else latent
    out: Tensor = _CompactProduct.apply(
        edge, latent.detach(), weight_form.latent, weight_form.scale, layer.bias, call
    )
    return out if len(batch) == 1 else out.reshape(*batch, *out.shape[1:])


def _sign_form(stage: nn.Module, x: Tensor) -> SignForm | None:
    """Return what the stage computes of ``x``, if it is a sign that nobody watches."""
    if not isinstance(stage, BinarizerBase) or _is_watched(stage):
        return None
    return stage.sign_form(x)


def _is_watched(stage: nn.Module) -> bool:
    hooks = stage._forward_hooks.values()
    return bool(
        not all(getattr(hook, "only_measures", False) for hook in hooks)
        or stage._forward_hooks_with_kwargs
        or stage._forward_pre_hooks
        or stage._backward_hooks
        or stage._backward_pre_hooks
        or "forward" in vars(stage)
        or nn.modules.module._has_any_global_hook()
    )


@torch.no_grad()
def _measure(stage: nn.Module, x: Tensor, latent: Tensor) -> None:
    """Call the hooks that only look at the stage's result."""
    if stage._forward_hooks:
        signs = sign(latent)
        for hook in stage._forward_hooks.values():
            hook(stage, (x,), signs)


class _Edge(torch.autograd.Function):
    """A tensor's place in the graph: its shape and gradient, without its values.

    What is kept of it for second derivatives then takes no memory.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return x.new_zeros(()).expand(x.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # noqa: ARG004
        return grad


class _Revealed(torch.autograd.Function):
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
        ctx.save_for_backward(bits)
        ctx.arguments = stride, kernels
        return signs.view_as(signs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (bits,) = ctx.saved_tensors
        return KeepBits.apply(grad, bits, *ctx.arguments), None, None, None, None


class _CompactProduct(torch.autograd.Function):
    """The product of the signs of two latent tensors, times a scale, plus a bias.

    The gradient of ``x`` goes to ``edge``, which is its place in the graph.
    """

    @staticmethod
    def forward(
        ctx: Any,
        edge: Tensor,
        x: Tensor,
        weight: Tensor,
        scale: Tensor | None,
        bias: Tensor | None,
        call: _Call,
    ) -> Tensor:
        k, product = call.kernels, call.product
        x_bits = k.sign_bits(x)
        if product.has_kernel:
            weight_bits = k.sign_bits(weight)
            compute = _product_of_bits(k, product, x.shape[1], _layout(x, weight))
            out = compute(x_bits, weight_bits, scale, bias)
            if is_recomputing():  # an optimizer may change the vectors before the backward pass
                vectors = (None if v is None else v.clone() for v in (scale, bias))
                note_output(out, compute, x_bits, weight_bits, *vectors)
        else:
            out = product.floats(sign(x), sign(weight))
            shape = (-1, *[1] * product.axes)
            out = out if scale is None else out.mul_(scale.view(shape))
            out = out if bias is None else out.add_(bias.view(shape))
        ctx.call, ctx.x_shape, ctx.x_stride = call, x.shape, x.stride()
        clip = None
        if call.x_sign.is_clipped and ctx.needs_input_grad[0]:
            clip = k.clip_bits(x)
        kept_weight = call.layer.weight if call.derived else weight
        ctx.save_for_backward(edge, x_bits, clip, kept_weight, scale, bias)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        call: _Call = ctx.call
        if torch.is_grad_enabled():  # somebody wants second derivatives
            return _differentiable_gradients(ctx, grad)
        k, product = call.kernels, call.product
        edge, x_bits, clip, weight, scale, _ = ctx.saved_tensors
        if call.derived:
            weight = _latent_again(call.layer, weight)
        needs_x, _, needs_weight, needs_scale, needs_bias, _ = ctx.needs_input_grad
        grad_x, grad_signs = product.gradients(
            grad,
            lambda channels_last: k.signs_of_bits(x_bits, ctx.x_shape[1], channels_last),
            lambda: _scaled_signs(call, weight, scale),
            (needs_x, needs_weight or needs_scale),
        )
        if grad_x is not None:
            grad_x = _like(grad_x, ctx.x_shape, ctx.x_stride)
            if call.x_sign.is_clipped:
                grad_x = k.keep_bits_(grad_x, clip)
            else:
                grad_x = call.x_sign.backward(edge, grad_x)
        grad_weight = grad_scale = None
        if grad_signs is not None:
            grad_signs = _like(grad_signs, weight.shape, weight.stride())
            grad_weight, grad_scale = _latent_gradient(call, grad_signs, weight, scale, needs_scale)
        grad_bias = None
        if needs_bias:
            grad_bias = grad.sum([axis for axis in range(grad.dim()) if axis != 1])
        return grad_x, None, grad_weight, grad_scale, grad_bias, None


def _differentiable_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients as plain operations have them: functions of ``grad`` and the inputs."""
    call: _Call = ctx.call
    k, product = call.kernels, call.product
    edge, x_bits, clip, weight, scale, bias = ctx.saved_tensors
    if call.derived:
        weight = _latent_again(call.layer, weight)
    if not call.x_sign.is_clipped:
        x: Tensor = call.x_sign.apply(edge)
    else:
        x = k.signs_of_bits(x_bits, ctx.x_shape[1], channels_last=False)
        if clip is not None:
            x = _Revealed.apply(edge, x, clip, ctx.x_stride, k)
    out = product.floats(x, call.weight_sign.apply(weight))
    factor = scale
    if call.mean:
        factor = product.gather(weight.abs()) / (weight.numel() // scale.numel())
    shape = (-1, *[1] * product.axes)
    out = out if factor is None else out * factor.view(shape)
    out = out if bias is None else out + bias.view(shape)
    inputs = (edge, None, weight, scale, bias)
    needed = {
        i: tensor
        for i, tensor in enumerate(inputs)
        if tensor is not None and ctx.needs_input_grad[i]
    }
    found = torch.autograd.grad(out, list(needed.values()), grad, create_graph=True)
    gradients = dict(zip(needed, found, strict=True))
    return tuple(gradients.get(i) for i in range(6))


def _product_of_bits(
    kernels: Any, product: Product, channels: int, layout: torch.memory_format
) -> Callable[..., Tensor]:
    def compute(x: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
        out = product.bits(kernels, x, weight, channels, scale=scale, bias=bias)
        return out.contiguous(memory_format=layout)

    return compute


def _layout(x: Tensor, weight: Tensor) -> torch.memory_format:
    """Return what torch's convolution would give its output."""
    if x.dim() == 4 and any(
        t.is_contiguous(memory_format=torch.channels_last) and not t.is_contiguous()
        for t in (x, weight)
    ):
        return torch.channels_last
    return torch.contiguous_format


def _latent_again(layer: BinaryLayer, weight: Tensor) -> Tensor:
    binarizer = layer.weight_pre_process
    assert isinstance(binarizer, BinarizerBase)  # noqa: S101 - it had a sign form
    form = binarizer.sign_form(weight)
    assert form is not None  # noqa: S101 - the same weight gives the same form
    return form.latent


def _scaled_signs(call: _Call, weight: Tensor, scale: Tensor | None) -> Tensor:
    if _is_by_row(call.product, weight):
        return call.kernels.scaled_signs(weight, scale)  # type: ignore[no-any-return]
    signs = sign(weight)
    return signs if scale is None else signs * call.product.spread(scale, weight)


def _latent_gradient(
    call: _Call, grad: Tensor, weight: Tensor, scale: Tensor | None, needs_scale: bool
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


def _like(x: Tensor, shape: torch.Size, stride: tuple[int, ...]) -> Tensor:
    """Return ``x``, or a copy of it, with these strides: what bits in memory order stand for."""
    if x.stride() == stride:
        return x
    return x.new_empty_strided(shape, stride).copy_(x)
