"""Binary layers that keep bits, or nothing, for the backward pass in the place of floats.

A layer that may is one autograd function: where both operands are signs, that of
:mod:`bnn.layers.sign_product`, else that of :mod:`bnn.layers.level_product`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bnn.config import Identity
from bnn.layers.level_product import LevelCall, LevelProduct
from bnn.layers.product import Product
from bnn.layers.recompute import (
    Modes,
    is_recomputing,
    note_batch_norm,
    note_output,
    record_without_keeping,
)
from bnn.layers.sign_product import Operand, Sign, SignCall, SignProduct
from bnn.ops.base import BinarizerBase, InputBinarizer, SignForm
from bnn.ops.compact import is_compact, kernels_for

if TYPE_CHECKING:
    from bnn.layers.base import BinaryLayer


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
    with record_without_keeping():
        weight_form = _sign_form(layer.weight_pre_process, weight)
    x_form = _sign_form(layer.activation_pre_process, x)
    if x_form is not None and kernels_for(x_form.latent) is None:
        return None
    if x_form is None or weight_form is None:
        return _product_of_levels(layer, x, kernels, product, x_form, weight_form)
    if kernels_for(weight_form.latent, weight_form.scale) is None:
        return None
    return _product_of_signs(layer, x, kernels, product, x_form, weight_form)


def _product_of_levels(
    layer: BinaryLayer,
    x: Tensor,
    kernels: Any,
    product: Product,
    x_form: SignForm | None,
    weight_form: SignForm | None,
) -> Tensor | None:
    """Compute a layer of which one operand at most is signs; None where it must not be repeated."""
    x_stage, weight_stage = layer.activation_pre_process, layer.weight_pre_process
    keeps_bits = x_form is not None and x_form.latent is x and Sign.of(x_form).is_clipped
    if not ((keeps_bits or _is_repeatable(x_stage)) and _is_repeatable(weight_stage)):
        return None
    if isinstance(x_stage, nn.Identity) and isinstance(weight_stage, nn.Identity):
        return None
    if getattr(product, "pad_value", 0) and isinstance(x_stage, InputBinarizer):
        return None  # its scale and offset would be those of the padding too
    learnt = [[p for p in s.parameters() if p.requires_grad] for s in (x_stage, weight_stage)]
    changeable = [t for s in (x_stage, weight_stage) for t in (*s.parameters(), *s.buffers())]
    if is_recomputing():
        note_batch_norm(x)
    call = LevelCall(
        layer=layer,
        kernels=kernels,
        product=product,
        x_stage=x_stage,
        weight_stage=weight_stage,
        modes=Modes(x_stage, weight_stage),
        learnt=(tuple(learnt[0]), tuple(learnt[1])),
        signs=(x_form is not None, weight_form is not None),
        changeable=tuple(changeable),
    )
    parameters = (*call.learnt[0], *call.learnt[1])
    if not keeps_bits or x_form is None:
        repeated: Tensor = LevelProduct.apply(x, layer.weight, layer.bias, call, None, *parameters)
        return repeated
    form, batch = _one_batch_axis(x_form, product)
    operand = Operand.of(form)
    _measure(x_stage, x, operand)
    edge = _Edge.apply(form.latent)
    out: Tensor = LevelProduct.apply(edge, layer.weight, layer.bias, call, operand, *parameters)
    return out if len(batch) == 1 else out.reshape(*batch, *out.shape[1:])


def _one_batch_axis(form: SignForm, product: Product) -> tuple[SignForm, torch.Size]:
    """Return the form of an input with one axis before the channels, and those that it had."""
    x = form.latent
    batch = x.shape[: x.dim() - product.axes - 1]
    if len(batch) != 1:
        form = form._replace(latent=x.reshape(-1, *x.shape[len(batch) :]))
    return form, batch


def _is_repeatable(stage: nn.Module) -> bool:
    """Say whether the backward pass may run a stage once more."""
    if type(stage) in (nn.Identity, Identity):
        return not (stage._forward_hooks or stage._forward_pre_hooks)
    return isinstance(stage, BinarizerBase) and not _is_watched(stage) and stage.is_repeatable()


def _product_of_signs(
    layer: BinaryLayer,
    x: Tensor,
    kernels: Any,
    product: Product,
    x_form: SignForm,
    weight_form: SignForm,
) -> Tensor:
    stage, binarizer, weight = layer.activation_pre_process, layer.weight_pre_process, layer.weight
    scale = weight_form.scale
    derives = weight_form.latent is not weight or (scale is not None and scale.requires_grad)
    changeable = [p for p in (*x_form.parameters, *weight_form.parameters) if torch.is_tensor(p)]
    learnt: list[Tensor] = []
    if derives:
        learnt = [p for p in binarizer.parameters() if p.requires_grad]
        changeable += [*binarizer.parameters(), *binarizer.buffers()]
    if is_recomputing():
        note_batch_norm(x)
        if x_form.latent is not x:
            note_output(x_form.latent, _Latent(stage), x, *stage.parameters(), *stage.buffers())
    call = SignCall(
        kernels=kernels,
        product=product,
        x_sign=Sign.of(x_form),
        weight_sign=Sign.of(weight_form),
        mean=weight_form.mean,
        derives=binarizer if derives else None,  # type: ignore[arg-type]  # it has a form
        modes=Modes(*[binarizer] * derives),
        changeable=tuple(changeable),
    )
    x_form, batch = _one_batch_axis(x_form, product)
    operands = Operand.of(x_form), Operand.of(weight_form)
    _measure(stage, x, operands[0])
    edge = _Edge.apply(x_form.latent) if call.x_sign.is_clipped else x_form.latent
    out: Tensor = SignProduct.apply(edge, weight, layer.bias, call, *operands, *learnt)
    return out if len(batch) == 1 else out.reshape(*batch, *out.shape[1:])


class _Latent:
    """Makes what a stage takes the sign of, from its input again."""

    def __init__(self, stage: Any) -> None:
        self.stage, self.modes = stage, Modes(stage)

    def __call__(self, x: Tensor, *_changeable: Tensor) -> Tensor:
        with self.modes.restored():
            form: SignForm = self.stage.sign_form(x)
        return form.latent


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


def note_post_process(stage: nn.Module, result: Tensor, out: Tensor, x: Tensor) -> None:
    """Remember how a layer's result was computed from its output before the last stage."""
    if result is out or not isinstance(stage, BinarizerBase) or _is_watched(stage):
        return
    if stage.is_repeatable() and kernels_for(result, out, x) is not None:
        note_output(result, _PostProcess(stage), out, x, *stage.parameters(), *stage.buffers())


class _PostProcess:
    """Computes a layer's result again."""

    def __init__(self, stage: nn.Module) -> None:
        self.stage, self.modes = stage, Modes(stage)

    def __call__(self, out: Tensor, x: Tensor, *_changeable: Tensor) -> Tensor:
        with self.modes.restored():
            return self.stage(out, x)  # type: ignore[no-any-return]


def _sign_form(stage: nn.Module, x: Tensor) -> SignForm | None:
    """Return what the stage computes of ``x``, if it is a sign that nobody watches."""
    if not isinstance(stage, BinarizerBase) or _is_watched(stage):
        return None
    form = stage.sign_form(x)
    if form is not None and form.draws and not Sign.of(form).is_clipped:
        return None  # its gradient may depend on what was drawn
    return form


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
def _measure(stage: nn.Module, x: Tensor, operand: Operand) -> None:
    """Call the hooks that only look at the stage's result."""
    if stage._forward_hooks:
        signs = operand.signs.view(x.shape)
        for hook in stage._forward_hooks.values():
            hook(stage, (x,), signs)
