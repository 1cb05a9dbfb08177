"""Build an activation or a norm for a given number of channels, from any factory."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable

from torch import nn

from bnn.errors import ConfigError
from bnn.layers import PReLU

#: A class such as ``nn.PReLU``, a ``functools.partial`` of one, or a function.
ActivationFactory = Callable[..., nn.Module]

#: Makes a norm from a channel count, its only positional argument.
NormFactory = Callable[..., nn.Module]

# The argument by which nn.PReLU, and modules written like it, take their channel count.
_PER_CHANNEL = "num_parameters"


def make_activation(factory: ActivationFactory, channels: int) -> nn.Module:
    """Return a new activation for feature maps of ``channels`` channels.

    A factory that takes ``num_parameters``, as ``nn.PReLU`` does, gets one parameter per channel;
    a ``functools.partial`` that already sets it is left as it is. Any other factory is called
    without arguments. ``nn.PReLU`` itself gives :class:`bnn.layers.PReLU`, the same function with a
    faster gradient.

    Args:
        factory: Makes the activation. Not an instance: each position needs its own.
        channels: Channels of the feature map that the activation will see.

    Raises:
        ConfigError: If ``factory`` is a module instance or a name, or does not make a module.

    Example:
        >>> make_activation(nn.PReLU, 16)
        PReLU(num_parameters=16)
        >>> make_activation(functools.partial(nn.LeakyReLU, 0.1), 16)
        LeakyReLU(negative_slope=0.1)
    """
    _check_factory("activation", factory, "nn.PReLU or functools.partial(nn.LeakyReLU, 0.1)")
    if factory is nn.PReLU:
        factory = PReLU
    made = factory(num_parameters=channels) if _takes_channels(factory) else factory()
    return _check_made("activation", factory, made)


def make_norm(factory: NormFactory | None, channels: int) -> nn.Module:
    """Return a new norm for feature maps of ``channels`` channels.

    Args:
        factory: Makes the norm from the channel count. None means ``nn.BatchNorm2d``;
            ``nn.Identity`` means no norm.
        channels: Channels of the feature map that the norm will see.

    Raises:
        ConfigError: If ``factory`` is a module instance or a name, or does not make a module.

    Example:
        >>> make_norm(functools.partial(nn.GroupNorm, 4), 16)
        GroupNorm(4, 16, ...)
    """
    if factory is None:
        return nn.BatchNorm2d(channels)
    _check_factory("norm_layer", factory, "nn.BatchNorm2d or functools.partial(nn.GroupNorm, 4)")
    return _check_made("norm_layer", factory, factory(channels))


def _check_factory(argument: str, factory: object, example: str) -> None:
    if isinstance(factory, nn.Module) or not callable(factory):
        raise ConfigError(
            f"{argument} must be a class or a function that makes a module, such as {example}, "
            f"not {factory!r}. Names as strings are understood by bnn.models.create."
        )


def _check_made(argument: str, factory: object, made: object) -> nn.Module:
    if not isinstance(made, nn.Module):
        raise ConfigError(f"{argument} {factory!r} made {made!r}, which is not an nn.Module")
    return made


def _takes_channels(factory: ActivationFactory) -> bool:
    if isinstance(factory, functools.partial) and _PER_CHANNEL in factory.keywords:
        return False
    try:
        return _PER_CHANNEL in inspect.signature(factory).parameters
    except (TypeError, ValueError):  # some builtins have no signature
        return False
