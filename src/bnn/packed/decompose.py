"""What a trained binary layer consists of: signs, and factors per output channel."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from bnn.errors import PackedError
from bnn.layers import BinaryLayer
from bnn.layers.levels import Factors, gives_factors
from bnn.ops import BasicScaleBinarizer, StochasticInputBinarizer, binarizers
from bnn.ops.base import WeightBinarizer


class Parts(NamedTuple):
    """``y = (sum * scale + bias) * post_scale``; all but the signs may be missing."""

    signs: Tensor
    scale: Tensor | None
    bias: Tensor | None
    post_scale: Tensor | None


def decompose(
    layer: nn.Module,
    kind: type[BinaryLayer],
    *,
    activation: bool = True,
    output: bool = True,
) -> Parts:
    """Return the parts of a binary layer.

    Args:
        layer: The layer, which is not changed.
        kind: Its class in :mod:`bnn.layers`.
        activation: Whether its input must be binary; the caller looks at that stage otherwise.
        output: Whether its output must be left alone or scaled per channel; otherwise that
            stage is not looked at, and there is no ``post_scale``.

    Raises:
        PackedError: If it is of another kind, or a stage cannot be packed; the message names it.

    Example:
        >>> from bnn import BConfig
        >>> from bnn.layers import Linear
        >>> from bnn.ops import BasicInputBinarizer
        >>> layer = Linear(4, 2, bconfig=BConfig(BasicInputBinarizer))
        >>> decompose(layer, Linear)
        Traceback (most recent call last):
        bnn.errors.PackedError: the layer's weight_pre_process is Identity; ...
    """
    layer = check_kind(layer, kind)
    if activation:
        check_activation(layer.activation_pre_process)
    post = None
    with torch.no_grad():
        signs, scale = _weight(layer)
        bias = None if layer.bias is None else layer.bias.detach()
        if output:
            post = post_scale(layer.activation_post_process, len(signs))
    factors = (None if v is None else float32(v) for v in (scale, bias, post))
    return Parts(signs, *factors)


def check_kind(layer: nn.Module, kind: type[BinaryLayer]) -> BinaryLayer:
    """Return a layer that is a ``kind`` and computes nothing of its own.

    Raises:
        PackedError: If it is not, or does.
    """
    if not isinstance(layer, kind):
        raise PackedError(
            f"a {type(layer).__name__} cannot be packed here; give a bnn.layers.{kind.__name__}. "
            "bnn.prepare_binary_model makes binary layers of float ones."
        )
    for method in ("forward", "_compute"):
        if getattr(type(layer), method) is not getattr(kind, method):
            raise PackedError(
                f"the layer, a {type(layer).__name__}, has a {method} of its own; packed layers "
                f"compute what bnn.layers.{kind.__name__} does."
            )
    return layer


def float32(factor: Tensor) -> Tensor:
    """Return a factor as packed layers hold it.

    Raises:
        PackedError: If that would lose something.
    """
    if factor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise PackedError(
            f"the layer holds {factor.dtype}; packed layers compute in float32. Convert the layer "
            "with .float()."
        )
    return factor.detach().float()


def _refuse(stage: str, module: nn.Module, why: str, allowed: str) -> PackedError:
    return PackedError(f"the layer's {stage} is {type(module).__name__}{why}; allowed: {allowed}.")


def is_sign(module: nn.Module) -> bool:
    """Say whether it is a binarizer whose evaluation gives the signs of its input."""
    says: Any = next((cls for cls in type(module).__mro__ if "signs_input" in vars(cls)), None)
    return says is not None and says.signs_input and type(module).forward is says.forward


def sign_names() -> str:
    """Return the names of the registered binarizers that give the signs of their input."""
    return ", ".join(name for name in binarizers if binarizers[name].signs_input)


def _check_deterministic(stage: str, module: nn.Module) -> None:
    if isinstance(module, StochasticInputBinarizer) and module.training:
        raise _refuse(
            stage, module, " in training mode, which is random", "evaluation: call layer.eval()"
        )


def check_activation(module: nn.Module) -> None:
    """Raise PackedError if an input stage is not the sign."""
    if not is_sign(module):
        why = ", which a single packed layer does not compute" if _is_known(module) else ""
        raise _refuse("activation_pre_process", module, why, sign_names())
    _check_deterministic("activation_pre_process", module)


def _is_known(module: nn.Module) -> bool:
    return type(module).__name__ in binarizers and binarizers[type(module).__name__] is type(module)


def weight_factors(layer: BinaryLayer) -> Factors:
    """Return what a layer's weight is made of.

    Raises:
        PackedError: If its binarizer does not say, is random, or gives other than one scale and
            one offset for each filter.
    """
    binarizer, stage = layer.weight_pre_process, "weight_pre_process"
    weight = layer.weight.detach()
    if is_sign(binarizer):
        _check_deterministic(stage, binarizer)
        return Factors(binarizer(weight))
    if not gives_factors(binarizer, WeightBinarizer):
        allowed = f"a WeightBinarizer that keeps its forward, {sign_names()}"
        raise _refuse(stage, binarizer, "", allowed)
    factors = Factors(*binarizer(weight, factors=True))
    for name, vector in (("scale", factors.scale), ("offset", factors.offset)):
        if vector is not None and tuple(vector.shape) != (len(weight),):
            why = f", whose {name} has shape {tuple(vector.shape)}"
            raise _refuse(stage, binarizer, why, f"one {name} for each filter, ({len(weight)},)")
    return factors


def _weight(layer: BinaryLayer) -> tuple[Tensor, Tensor | None]:
    """Return signs in a type that can be packed, and the scale."""
    signs, scale, offset = weight_factors(layer)
    binarizer, stage = layer.weight_pre_process, "weight_pre_process"
    if offset is not None:
        why = ", which adds an offset to each filter: a single packed layer does not compute it"
        raise _refuse(stage, binarizer, why, "bnn.pack for whole networks, or one without")
    if not bool((signs.abs() == 1).all()):
        raise _refuse(stage, binarizer, ", whose signs are not all -1 or +1", "one that gives them")
    return signs.to(torch.int8), scale


def post_scale(module: nn.Module, out: int) -> Tensor | None:
    """Return an output stage's scale of each of ``out`` channels, or None for no scale."""
    stage, allowed = "activation_post_process", "Identity, BasicScaleBinarizer with one per channel"
    if isinstance(module, nn.Identity):
        return None
    if not isinstance(module, BasicScaleBinarizer) or (
        type(module).forward is not BasicScaleBinarizer.forward
    ):
        raise _refuse(stage, module, "", allowed)
    alpha: Tensor = module.alpha.detach()
    per_channel = alpha.dim() > 1 and alpha.numel() == alpha.shape[1] == out
    if not per_channel and alpha.numel() != 1:
        raise _refuse(stage, module, f" of shape {tuple(alpha.shape)}", allowed)
    return alpha.flatten().expand(out)
