"""Which parameters of a network a name means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from torch import nn

from bnn.layers import BINARY_LAYERS
from bnn.registry import Registry
from bnn.training.latent import binary_weight_layers

ParameterRule = Callable[[nn.Module], Iterable[nn.Parameter]]
"""Gives the parameters of a network that it means, in any order."""

PARAMETER_RULES: Registry[ParameterRule] = Registry("parameter rule")
"""Name -> which parameters; ``"rest"`` means those that no other case of the optimizer claims."""

REST = "rest"


def _own_weight(layer: nn.Module) -> Iterator[nn.Parameter]:
    """Yield a layer's weight; a parametrized one lies below, as parametrizations.weight.original.

    Learnt scales and thresholds of a binary layer's stages lie below it too, and are not meant.
    """
    for name, parameter in layer.named_parameters():
        if name == "weight" or name.startswith("parametrizations.weight."):
            yield parameter


@PARAMETER_RULES.register("layer_weights")
def layer_weights(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the weights of linear layers and convolutions, binary or not."""
    for module in model.modules():
        if isinstance(module, tuple(BINARY_LAYERS)):
            yield from _own_weight(module)


@PARAMETER_RULES.register("binary_weights")
def binary_weights(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the latent weights of the layers whose weights are binarized."""
    for _, layer in binary_weight_layers(model):
        yield from _own_weight(layer)


@PARAMETER_RULES.register("float_weights")
def float_weights(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the weights of linear layers and convolutions whose weights stay float."""
    binary = {id(parameter) for parameter in binary_weights(model)}
    yield from (p for p in layer_weights(model) if id(p) not in binary)


@PARAMETER_RULES.register(REST)
def rest(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield all parameters, from which those that other cases claim are taken away."""
    yield from model.parameters()


def decaying_parameters(model: nn.Module) -> set[nn.Parameter]:
    """Return the parameters that weight decay is for.

    These are the weights of linear layers and convolutions, binary or not. Biases, norms, learnt
    scales and slopes do not decay: pulling them to 0 changes the function, not its complexity.

    Example:
        >>> len(decaying_parameters(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))))
        1
    """
    return set(layer_weights(model))
