"""What every binarizer shares: ``with_args`` and the registry that recipes look names up in."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Hashable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from bnn.errors import ConfigError
from bnn.ops.filters import by_filter
from bnn.registry import Registry, did_you_mean
from bnn.values import is_number, shown

Stage = Literal["value", "output"]
Operand = Literal["any", "input", "weight"]

binarizers: Registry[type[BinarizerBase]] = Registry("binarizer")
"""Class name -> class, for everything in ``bnn.ops`` that a recipe may name."""


class BinarizerFactory:
    """A binarizer class with some arguments fixed: what ``Class.with_args(...)`` returns.

    Unlike ``functools.partial`` it compares by value; it pickles as long as its arguments do.

    Args:
        cls: A class of modules.
        kwargs: Arguments of its constructor.

    Raises:
        ConfigError: If the class has no such argument.

    Example:
        >>> factory = BinarizerFactory(nn.Hardtanh, {"max_val": 2.0})
        >>> factory, factory()
        (Hardtanh.with_args(max_val=2.0), Hardtanh(min_val=-1.0, max_val=2.0))
    """

    def __init__(self, cls: type[nn.Module], kwargs: Mapping[str, Any]) -> None:
        check_arguments(cls, kwargs)
        self.cls = cls
        self.kwargs = dict(kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> nn.Module:
        """Build the module; arguments given here win over the fixed ones."""
        return self.cls(*args, **{**self.kwargs, **kwargs})

    def with_args(self, **kwargs: Any) -> BinarizerFactory:
        """Return a copy in which ``kwargs`` are fixed too; the later value of a name wins."""
        return BinarizerFactory(self.cls, {**self.kwargs, **kwargs})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BinarizerFactory):
            return NotImplemented
        return self.cls is other.cls and _same(self.kwargs, other.kwargs)

    def __hash__(self) -> int:
        return hash((self.cls, frozenset(self.kwargs)))

    def __repr__(self) -> str:
        args = ", ".join(f"{name}={value!r}" for name, value in self.kwargs.items())
        return f"{self.cls.__name__}.with_args({args})"


_PARAMETERS: weakref.WeakKeyDictionary[type, Mapping[str, inspect.Parameter]] = (
    weakref.WeakKeyDictionary()
)


def constructor_parameters(cls: type) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of ``cls(...)``; remembered, since models have many equal layers."""
    if cls not in _PARAMETERS:
        _PARAMETERS[cls] = inspect.signature(cls).parameters
    return _PARAMETERS[cls]


def check_arguments(cls: type, kwargs: Mapping[str, Any]) -> None:
    """Raise ConfigError if ``cls`` has no parameter of one of these names."""
    parameters = constructor_parameters(cls)
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for name in kwargs:
        if name not in parameters:
            allowed = [known for known in parameters if known != "module"]
            raise ConfigError(
                f"{cls.__name__} has no argument {shown(name)}.{did_you_mean(name, allowed)} "
                f"Allowed: {', '.join(allowed) or 'none'}."
            )


def check_above_zero(name: str, **values: float) -> None:
    """Raise ConfigError if one of the arguments of a binarizer is no finite number above 0."""
    for key, value in values.items():
        if not (_is_finite(value) and value > 0):
            raise ConfigError(
                f"{name}: {key} is {shown(value)}; it must be a finite number above 0."
            )


def check_finite(name: str, **values: float) -> None:
    """Raise ConfigError if one of the arguments of a binarizer is no finite number."""
    for key, value in values.items():
        if not _is_finite(value):
            raise ConfigError(f"{name}: {key} is {shown(value)}; it must be a finite number.")


def _is_finite(value: object) -> bool:
    """Say so of a number; what is beyond float32, in which gradients are computed, is infinite."""
    return is_number(value) and -_MOST <= value <= _MOST


_MOST = torch.finfo(torch.float32).max


def _same(a: Any, b: Any) -> bool:
    """Compare arguments by value: tensors too, and a YAML file's list with a tuple."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a is b or (a.dtype == b.dtype and a.device == b.device and torch.equal(a, b))
    try:
        return bool(a == b)
    except (TypeError, ValueError, RuntimeError):  # no single answer, as of numpy arrays
        return a is b


class SignForm(NamedTuple):
    """What a binarizer computes, where that is a sign: of what, with which gradient, times what.

    A layer that knows it keeps bits for the backward pass in the place of floats.

    Attributes:
        latent: What the sign is taken of: the binarizer's input, or what it has made of it by
            differentiable operations.
        function: The :class:`bnn.ops.sign.SignFunction` applied to it: only sign, and its gradient.
        parameters: What ``function.apply`` takes after it.
        scale: What a weight's signs are multiplied by, of shape ``(O,)``, or None.
        mean: ``scale`` is the mean of ``abs(latent)`` over each filter, without a graph, and the
            gradient goes through that mean too.
        draws: The signs are not those of the latent, but what ``function.forward`` draws of it. The
            gradient is that of :class:`bnn.ops.SignActivation`, and there is no scale.
    """

    latent: Tensor
    function: type[torch.autograd.Function]
    parameters: tuple[Any, ...] = ()
    scale: Tensor | None = None
    mean: bool = False
    draws: bool = False


class BinarizerBase(nn.Module):
    """Base of the package's binarizers; deriving from it is optional for your own.

    Example:
        >>> from bnn.ops import AdvancedInputBinarizer
        >>> AdvancedInputBinarizer.with_args(t=3)
        AdvancedInputBinarizer.with_args(t=3)
        >>> AdvancedInputBinarizer.with_args(slope=3)
        Traceback (most recent call last):
        bnn.errors.ConfigError: AdvancedInputBinarizer has no argument 'slope'. \
Allowed: derivative_funct, t.
    """

    stage: ClassVar[Stage] = "value"
    """``"value"``: takes one tensor (pre processes). ``"output"``: takes (output, input)."""

    operand: ClassVar[Operand] = "any"
    """Which of a layer's operands one of stage ``"value"`` is made for."""

    levels: ClassVar[tuple[float, ...] | None] = (-1.0, 1.0)
    """Of stage ``"value"``: what an entry is in evaluation, up to a scale, if the arguments are the
    defaults. None: two values that differ from filter to filter."""

    signs_input: ClassVar[bool] = False
    """Whether evaluation gives ``sign(x)`` and nothing else, so that bits hold it. It is said of
    the class's own forward: a subclass that writes another one says it again."""

    soft_in_training: ClassVar[bool] = False
    """Whether training sees values between the levels."""

    def set_progress_(self, progress: float) -> None:
        """Move what is scheduled to where it stands at ``progress``, 0 to 1, of a training step.

        The default has nothing scheduled. Others keep it in buffers, so that a checkpoint has it.
        """

    def depends_on(self) -> Hashable | None:
        """Return what the result depends on besides the input, or None: it may differ every time.

        In evaluation a layer keeps its binarized weight as long as this and the weight stay the
        same. None, the default, is always right.
        """
        return None

    def is_repeatable(self) -> bool:
        """Say whether computing once more gives the same, and leaves everything as it was.

        The backward pass then may do it, in the place of keeping the result. The default says so
        where :meth:`depends_on` does not have None.
        """
        return self.depends_on() is not None

    def sign_form(self, x: Tensor) -> SignForm | None:  # noqa: ARG002
        """Return the sign that :meth:`forward` computes of ``x``, or None if it is not just that.

        None, the default, is always right; so is a subclass that gives None where it cannot tell
        whether a further subclass changed the forward. The same ``x`` gives the same form: what it
        depends on besides are the binarizer's own parameters and buffers.
        """
        return None

    def _state(self, cls: type[BinarizerBase], *arguments: Hashable) -> Hashable | None:
        """Return the arguments for ``depends_on``; None in a subclass of ``cls`` of other code."""
        own = type(self)
        for method in ("forward", "decompose", "_scaled"):
            if getattr(own, method, None) is not getattr(cls, method, None):
                return None
        return arguments

    @classmethod
    def with_args(cls, **kwargs: Any) -> BinarizerFactory:
        """Return a factory of this class with these arguments fixed.

        Raises:
            ConfigError: If the class has no such argument.
        """
        return BinarizerFactory(cls, kwargs)


class InputBinarizer(BinarizerBase):
    """Base of the activation binarizers whose result is integers times a scale plus an offset.

    A subclass writes :meth:`decompose`. Called as a module, it returns the result; a binary layer
    asks for the factors, and computes with the integers, whose sums are exact in every order of
    adding. A convolution's padding is of 0 in the result: a padded tap contributes nothing.

    Example:
        >>> from bnn.ops import AdaBinInputBinarizer
        >>> binarizer = AdaBinInputBinarizer(alpha=0.5, beta=0.25)
        >>> binarizer(torch.tensor([0.3, 0.2]))
        tensor([ 0.7500, -0.2500], grad_fn=...)
        >>> [part.tolist() for part in binarizer(torch.tensor([0.3, 0.2]), factors=True)]
        [[1.0, -1.0], 0.5, 0.25]
    """

    operand = "input"

    def decompose(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return the integers, of x's shape, and scale and offset, of no axes each, or None."""
        raise NotImplementedError

    def forward(self, x: Tensor, *, factors: bool = False) -> Any:
        """Return the binarized input, same shape and dtype, or, if asked, its three factors."""
        integers, scale, offset = self.decompose(x)
        if factors:
            return integers, scale, offset
        value = integers if scale is None else integers * scale.to(x.dtype)
        return value if offset is None else value + offset.to(x.dtype)


class WeightBinarizer(BinarizerBase):
    """Base of the weight binarizers whose result is signs times one scale per filter.

    A subclass writes :meth:`decompose`. Called as a module, it returns the product; a binary layer
    asks for the factors, computes with the signs and scales its output. Sums of +-1 are exact
    integers in every order of adding, so a sum of 0 is 0 everywhere (training, a compiled graph, a
    1-bit kernel), not a rounding error whose sign the next layer would take. Other small integers
    in the place of the signs, and an offset for each filter, are possible too.

    Example:
        >>> from bnn.ops import XNORWeightBinarizer
        >>> binarizer, weight = XNORWeightBinarizer(), torch.tensor([[0.5, -1.5]])
        >>> binarizer(weight)
        tensor([[ 1., -1.]])
        >>> binarizer(weight, factors=True)
        (tensor([[ 1., -1.]]), tensor([1.]))
    """

    operand = "weight"
    _transposed: int | None = None  # groups of a transposed convolution: see bnn.ops.filters

    def decompose(self, weight: Tensor) -> tuple[Tensor, ...] | tuple[Tensor, Tensor | None]:
        """Return the signs, of the weight's shape, and the scale, of shape ``(O,)``, or None.

        A third factor is what is added to each filter, of shape ``(O,)``.
        """
        raise NotImplementedError

    def forward(self, weight: Tensor, *, factors: bool = False) -> Any:
        """Return the binarized weight, same shape and dtype, or, if asked, its factors."""
        parts = self.decompose(weight)
        return parts if factors else self._scaled(*parts)

    def _scaled(self, signs: Tensor, scale: Tensor | None, offset: Tensor | None = None) -> Tensor:
        """Return ``signs * scale + offset``, with the vectors along the filters."""
        grouped, _ = by_filter(signs, self._transposed)
        if self._transposed is None:
            shape: tuple[int, ...] = (-1, *[1] * (signs.dim() - 1))
        else:
            shape = (self._transposed, 1, -1, *[1] * (signs.dim() - 2))
        if scale is not None:
            grouped = grouped * scale.view(shape)
        if offset is not None:
            grouped = grouped + offset.view(shape)
        return grouped.view(signs.shape)


def set_progress_(model: nn.Module, progress: float) -> nn.Module:
    """Move the schedules of all binarizers of a model: EDE's slope, ReCU's tau and the like.

    :func:`bnn.training.fit` calls it at the start of every epoch; a training loop of your own does
    the same with ``epoch / epochs``.

    Args:
        model: Any module; binarizers that have no schedule are left alone.
        progress: From 0, the start of training, to 1, its end.

    Returns:
        The model.

    Raises:
        ConfigError: If ``progress`` is not from 0 to 1.

    Example:
        >>> from bnn.ops import BasicInputBinarizer
        >>> set_progress_(nn.Sequential(BasicInputBinarizer()), 0.5)
        Sequential(
          (0): BasicInputBinarizer()
        )
    """
    if not 0 <= progress <= 1:
        raise ConfigError(
            f"progress must be from 0 (start) to 1 (end of training); got {progress!r}."
        )
    for module in model.modules():
        if isinstance(module, BinarizerBase):
            module.set_progress_(progress)
    return model
