"""Latent weights of binary layers: the float weights that the optimizer sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bnn.errors import ConfigError
from bnn.layers import BinaryLayer
from bnn.layers.levels import gives_factors
from bnn.ops.base import WeightBinarizer


def binary_weight_layers(model: nn.Module) -> Iterator[tuple[str, BinaryLayer]]:
    """Yield (name, layer) of every binary layer that has a weight stage; tied layers once."""
    for name, module in model.named_modules():
        if isinstance(module, BinaryLayer) and not isinstance(
            module.weight_pre_process, nn.Identity
        ):
            yield name, module


@torch.no_grad()
def clamp_latent_weights_(model: nn.Module, limit: float = 1.0) -> nn.Module:
    """Clamp the latent weights of the binary layers to ``[-limit, limit]``, in place.

    The gradient of ``sign`` is 0 outside [-1, 1], so that a latent weight that has left it never
    comes back on its own. BinaryNet and XNOR-Net clamp to 1 after each optimizer step, BNext to
    1.5, ReActNet and IR-Net not at all. Layers whose weight stage is the identity are left alone.

    Args:
        model: Any module; a parametrized weight is clamped through its parametrization.
        limit: The bound, above 0.

    Returns:
        The model.

    Raises:
        ConfigError: If ``limit`` is not above 0, or a parametrization cannot be inverted.

    Example:
        >>> from bnn import BConfig
        >>> from bnn.layers import Linear
        >>> from bnn.ops import BasicInputBinarizer
        >>> config = BConfig(weight_pre_process=BasicInputBinarizer)
        >>> layer = Linear(2, 1, bias=False, bconfig=config)
        >>> _ = layer.weight.data.copy_(torch.tensor([[-3.0, 0.5]]))
        >>> clamp_latent_weights_(layer).weight.data
        tensor([[-1.0000,  0.5000]])
    """
    if not limit > 0:
        raise ConfigError(f"limit must be above 0; got {limit!r}.")
    for name, layer in binary_weight_layers(model):
        if not parametrize.is_parametrized(layer, "weight"):
            layer.weight.clamp_(-limit, limit)
            continue
        try:
            layer.weight = layer.weight.clamp(-limit, limit)
        except (RuntimeError, NotImplementedError) as error:
            raise ConfigError(
                f"the weight of {name!r} has a parametrization without right_inverse, so that it "
                "cannot be clamped."
            ) from error
    return model


@torch.no_grad()
def binary_weight_signs(model: nn.Module) -> dict[str, Tensor]:
    """Return for each layer with a weight stage which of its binary weights are negative.

    Taken from what the stage makes of the weight in evaluation, so that centring is seen and
    random binarizers are not.

    Returns:
        Layer name -> bool tensor of the weight's shape, True where the binary weight is -1.

    Example:
        >>> from bnn import BConfig
        >>> from bnn.layers import Linear
        >>> from bnn.ops import BasicInputBinarizer
        >>> layer = Linear(2, 1, bconfig=BConfig(weight_pre_process=BasicInputBinarizer))
        >>> _ = layer.weight.data.copy_(torch.tensor([[-3.0, 0.0]]))
        >>> binary_weight_signs(nn.Sequential(layer))
        {'0': tensor([[ True, False]])}
    """
    signs = {}
    for name, layer in binary_weight_layers(model):
        stage = layer.weight_pre_process
        modes = [(part, part.training) for part in stage.modules()]
        stage.eval()
        # Two values of any centre, as AdaBin's, are below it or above, not below 0.
        separate = gives_factors(stage, WeightBinarizer)
        weight = stage(layer.weight, factors=True)[0] if separate else stage(layer.weight)
        signs[name] = weight < 0
        for part, mode in modes:
            part.training = mode
    return signs


def flip_rate(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> float | None:
    """Return the share of binary weights whose sign differs between two snapshots.

    All weights count the same, whatever their layer. A layer that only one snapshot has is left
    out.

    Args:
        before: What :func:`binary_weight_signs` returned.
        after: What it returned later.

    Returns:
        From 0 to 1; None if there is no binary weight.

    Example:
        >>> flip_rate({"a": torch.tensor([True, False])}, {"a": torch.tensor([True, True])})
        0.5
    """
    layers = [name for name in before if name in after]
    total = sum(before[name].numel() for name in layers)
    if not total:
        return None
    return sum(int((before[name] != after[name]).sum()) for name in layers) / total
