"""The product of operands that are not both signs, of which the backward pass makes values again.

Plain operations keep the integers of both operands, every sum and what binarizers keep of their
own. Here the input and the latent weight are kept, which are there anyway, or, of straight-through
signs, bits. Since the layer is the product of the values of its operands
(:mod:`bnn.layers.levels`), its gradients are those of one product of floats, through what the
binarizers do with their inputs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bnn.layers.levels import Factors, Terms, box, terms_of
from bnn.layers.product import ConvProduct, Product
from bnn.layers.recompute import Modes, is_recomputing, note_output
from bnn.layers.sign_product import (
    Operand,
    Revealed,
    by_channel,
    like,
    needed_gradients,
    output_layout,
)

if TYPE_CHECKING:
    from bnn.layers.base import BinaryLayer


@dataclass
class LevelCall:
    """What the function is called with, apart from tensors.

    Attributes:
        layer: Computes the forward pass.
        kernels: Of :mod:`bnn.packed.training`.
        product: What the layer does with its operands.
        x_stage: Binarizes the input.
        weight_stage: Binarizes the weight.
        modes: Of both stages.
        learnt: The parameters of the first stage that have a gradient, and those of the second.
        signs: Whether the input, and whether the weight, are signs and nothing else.
        changeable: What the gradients depend on besides; refused if it changes.
    """

    layer: BinaryLayer
    kernels: Any
    product: Product
    x_stage: nn.Module
    weight_stage: nn.Module
    modes: Modes
    learnt: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
    signs: tuple[bool, bool]
    changeable: tuple[Tensor, ...]


class LevelProduct(torch.autograd.Function):
    """The product of two binarized operands, plus a bias.

    The input is given as it is, or, where bits are to be kept, as its edge and its operand.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        call: LevelCall,
        operand: Operand | None,
        *learnt: Tensor,  # noqa: ARG004 - they take the gradient
    ) -> Tensor:
        """Compute with bits where there is a kernel; keep what the operands are made of."""
        ctx.call = call
        signs = clip = None
        if operand is not None:
            signs = operand.bits(call.kernels)
            if ctx.needs_input_grad[0]:
                clip = call.kernels.clip_bits(operand.latent)
            ctx.x_shape, ctx.x_stride = operand.latent.shape, operand.latent.stride()
        ctx.save_for_backward(x, weight, bias, signs, clip, *call.changeable)
        return _forward(call, x, operand)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of all that has one."""
        call: LevelCall = ctx.call
        if torch.is_grad_enabled():  # somebody wants second derivatives
            return _differentiable_gradients(ctx, grad)
        x, weight, _, signs, clip, *_ = ctx.saved_tensors
        needs_x, needs_weight, needs_bias, *_ = ctx.needs_input_grad
        of_x, of_weight = call.learnt
        with torch.enable_grad(), call.modes.restored():
            w_leaf = weight.detach().requires_grad_(needs_weight)
            w_value = call.weight_stage.forward(w_leaf)  # no hook is called twice
            if signs is None:
                x_leaf = x.detach().requires_grad_(needs_x)
                x_value = call.x_stage.forward(x_leaf)
                x_float = _batched(call.product, x_value.detach())
        grads_x: Sequence[Tensor | None] = (None,)
        grads_w: Sequence[Tensor | None] = (None,)

        def input_values(channels_last: bool) -> Tensor:
            if signs is not None:
                return call.kernels.signs_of_bits(  # type: ignore[no-any-return]
                    signs, ctx.x_shape[1], channels_last
                )
            layout = torch.channels_last if channels_last else torch.contiguous_format
            return x_float.contiguous(memory_format=layout)

        batched = _batched(call.product, grad)
        grad_x, grad_w = call.product.gradients(
            batched,
            input_values,
            w_value.detach,
            (needs_x or bool(of_x), needs_weight or bool(of_weight)),
        )
        if grad_x is not None:
            if signs is not None:
                grad_x = like(grad_x, ctx.x_shape, ctx.x_stride)
                grads_x = (call.kernels.keep_bits_(grad_x, clip),)
            else:
                grad_x = grad_x.reshape(x_value.shape)  # its axes before the channels
                grads_x = _through(x_value, x_leaf, of_x, grad_x)
        if grad_w is not None:
            grads_w = _through(w_value, w_leaf, of_weight, grad_w)
        grad_bias = by_channel(batched) if needs_bias else None
        learnt = (*_rest(grads_x, of_x), *_rest(grads_w, of_weight))
        return grads_x[0], grads_w[0], grad_bias, None, None, *learnt


def _forward(call: LevelCall, x: Tensor, operand: Operand | None) -> Tensor:
    """Return the layer's output; note how it is computed again if bits are enough for that."""
    layer, product, kernels = call.layer, call.product, call.kernels
    levels = layer._input_factors(x) if operand is None else Factors(operand.signs)
    if not product.has_kernel or isinstance(call.weight_stage, nn.Identity):
        return layer._of_levels(levels)
    weight = layer._factors()
    x_parts = kernels.planes_of_input(call.x_stage, levels.integers, call.signs[0])
    weight_parts = kernels.planes_of_weight(call.weight_stage, weight.integers, call.signs[1])
    if x_parts is None or weight_parts is None or (_pads(product) and x_parts[0].constant):
        return layer._of_levels(levels)
    again = _Again(
        kernels=kernels,
        product=product,
        x_planes=x_parts[0],
        weight_planes=weight_parts[0],
        batch=x.shape[: x.dim() - product.axes - 1],
        channels=levels.integers.shape[-1 - product.axes],
        box=tuple(box(layer, weight.integers).shape),
        layout=output_layout(x, layer.weight),
    )
    terms = terms_of(layer, levels, weight)
    channels = (_batched(product, part) for part in x_parts[1])
    operands = (
        *(kernels.sign_bits(part) for part in channels),
        *(kernels.sign_bits(part) for part in weight_parts[1]),
        again.constant(weight.integers),
        *terms,
    )
    out = again(*operands)
    if is_recomputing():  # an optimizer may change the bias before the backward pass
        note_output(out, again, *(None if t is None else t.detach().clone() for t in operands))
    return out


@dataclass(frozen=True)
class _Again:
    """Computes a layer's output from the planes of its operands, with 1-bit kernels."""

    kernels: Any
    product: Product
    x_planes: Any
    weight_planes: Any
    batch: torch.Size
    channels: int
    box: tuple[int, ...]
    layout: torch.memory_format

    def __call__(self, *operands: Tensor | None) -> Tensor:
        """Return the output for the bits of both operands, the constant and the terms."""
        given: list[Any] = list(operands)
        x = [given.pop(0) for _ in self.x_planes.coefficients]
        weight = [given.pop(0) for _ in self.weight_planes.coefficients]
        constant, *rest = given
        terms = Terms(*rest)
        out = self._sums(x, weight, self.weight_planes.coefficients)
        if constant is not None:
            out = out.add_(constant)
        seen = None
        if terms.offset is not None:
            ones = x[0].new_ones(self.box, dtype=torch.float32)
            seen = self._sums(x, [self.kernels.sign_bits(ones)], (1.0,))
            if self.x_planes.constant:
                seen = seen.add_(self.x_planes.constant * (ones.numel() // len(ones)))
        return terms.added(self._shaped(out), None if seen is None else self._shaped(seen))

    def constant(self, weight: Tensor) -> Tensor | None:
        """Return what the constant of the input's planes adds, for each filter."""
        if not self.x_planes.constant:
            return None
        sums = weight.flatten(1).sum(1).view(-1, *[1] * self.product.axes)
        return sums * float(self.x_planes.constant)

    def _sums(self, x: list[Tensor], weight: list[Tensor], factors: Sequence[float]) -> Tensor:
        """Return the sums of the planes' signs."""
        product = self.product
        if self.x_planes.pad and isinstance(product, ConvProduct):
            product = dataclasses.replace(product, pad_value=self.x_planes.pad)
        total: Tensor | None = None
        for x_bits, of_x in zip(x, self.x_planes.coefficients, strict=True):
            for weight_bits, of_weight in zip(weight, factors, strict=True):
                part = product.bits(
                    self.kernels, x_bits, weight_bits, self.channels, scale=None, bias=None
                )
                if of_x * of_weight != 1:
                    part = part.mul_(of_x * of_weight)
                total = part if total is None else total.add_(part)
        assert total is not None  # noqa: S101 - there is a plane
        return total

    def _shaped(self, out: Tensor) -> Tensor:
        out = out.contiguous(memory_format=self.layout)
        return out if len(self.batch) == 1 else out.reshape(*self.batch, *out.shape[1:])


def _pads(product: Product) -> bool:
    """Say whether it is padded with other values than 0."""
    return isinstance(product, ConvProduct) and product.pad_value != 0


def _batched(product: Product, x: Tensor) -> Tensor:
    """Return a tensor with one axis before the channels."""
    leading = x.dim() - product.axes - 1
    return x if leading == 1 else x.reshape(-1, *x.shape[leading:])


def _through(
    value: Tensor, leaf: Tensor, learnt: Sequence[Tensor], grad: Tensor
) -> Sequence[Tensor | None]:
    """Return the gradients of a binarizer's input and parameters from that of its value."""
    inputs = [leaf, *learnt] if leaf.requires_grad else list(learnt)
    found = torch.autograd.grad(value, inputs, grad, allow_unused=True)
    return found if leaf.requires_grad else (None, *found)


def _rest(found: Sequence[Tensor | None], learnt: Sequence[Tensor]) -> Sequence[Tensor | None]:
    return found[1:] if len(found) > 1 else (None,) * len(learnt)


def _differentiable_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Return the gradients as plain operations have them: functions of ``grad`` and the inputs."""
    call: LevelCall = ctx.call
    x, weight, bias, signs, clip, *_ = ctx.saved_tensors
    with call.modes.restored():
        w_value = call.weight_stage.forward(weight)
        x_value = _batched(call.product, call.x_stage.forward(x)) if signs is None else x
    if signs is not None:
        x_value = call.kernels.signs_of_bits(signs, ctx.x_shape[1], channels_last=False)
        if clip is not None:
            x_value = Revealed.apply(x, x_value, clip, ctx.x_stride, call.kernels)
    out = call.product.floats(x_value, w_value)
    out = out if bias is None else out + bias.view(-1, *[1] * call.product.axes)
    inputs = (x, weight, bias, None, None, *call.learnt[0], *call.learnt[1])
    return needed_gradients(out, inputs, ctx.needs_input_grad, _batched(call.product, grad))
