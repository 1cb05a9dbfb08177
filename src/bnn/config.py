"""What to binarize with: the three stages of a binary layer, as factories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from types import BuiltinFunctionType

from torch import Tensor, nn

from bnn.errors import ConfigError

Binarizer = Callable[..., nn.Module]
"""A class of modules, or what ``Class.with_args(...)`` returns."""


class Identity(nn.Identity):
    """Return the first argument, whatever else is passed.

    ``nn.Identity`` takes one argument, but a post process gets two (layer output, layer input).

    Example:
        >>> Identity()(torch.tensor([2.0]), torch.tensor([7.0]))
        tensor([2.])
    """

    def forward(self, input: Tensor, *_rest: Tensor) -> Tensor:  # noqa: A002 - nn.Identity's name
        """Return ``input`` unchanged, any shape."""
        return input


@dataclass(frozen=True)
class BConfig:
    """Which module each stage of a binary layer uses.

    A binary layer computes, with ``x`` its input::

        y = layer(activation_pre_process(x), weight_pre_process(weight))
        return activation_post_process(y, x)

    Fields are factories, never instances: every layer builds its own modules. A factory is a
    class or ``Class.with_args(...)``. One that has a parameter ``module``, or a required
    positional parameter, is given the layer; any other is called without arguments.

    Args:
        activation_pre_process: Binarizes the layer's input. Default: keep it as it is.
        activation_post_process: Gets ``(layer_output, layer_input)``, for example a learnt scale.
        weight_pre_process: Binarizes the latent weight. Default: keep it real.

    Raises:
        ConfigError: If a field is an instance, or cannot be called.

    Example:
        >>> from bnn.ops import BasicInputBinarizer, XNORWeightBinarizer
        >>> config = BConfig(
        ...     activation_pre_process=BasicInputBinarizer,
        ...     weight_pre_process=XNORWeightBinarizer.with_args(center_weights=True),
        ... )
        >>> config == BConfig(
        ...     BasicInputBinarizer, nn.Identity, XNORWeightBinarizer.with_args(center_weights=True)
        ... )
        True
        >>> BConfig(weight_pre_process=XNORWeightBinarizer())
        Traceback (most recent call last):
        bnn.errors.ConfigError: BConfig.weight_pre_process got an instance of XNORWeightBinarizer; \
every layer builds its own, so give the class or XNORWeightBinarizer.with_args(...).
    """

    activation_pre_process: Binarizer = Identity
    activation_post_process: Binarizer = Identity
    weight_pre_process: Binarizer = Identity

    def __post_init__(self) -> None:
        for field in fields(self):
            factory = getattr(self, field.name)
            where = f"BConfig.{field.name}"
            if isinstance(factory, nn.Module):
                kind = type(factory).__name__
                raise ConfigError(
                    f"{where} got an instance of {kind}; every layer builds its own, so give the "
                    f"class or {kind}.with_args(...)."
                )
            if not callable(factory) or isinstance(factory, BuiltinFunctionType):
                raise ConfigError(
                    f"{where} got {factory!r}; give a class of nn.Module, or Class.with_args(...)."
                )
            if factory is nn.Identity:  # one spelling, so that equal configs compare equal
                object.__setattr__(self, field.name, Identity)
