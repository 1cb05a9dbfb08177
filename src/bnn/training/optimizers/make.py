"""From cases, plain values that a recipe can hold, to an optimizer."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from bnn.errors import ConfigError
from bnn.executor.annotations import misfits
from bnn.registry import Registry, did_you_mean
from bnn.training.optimizers.case import CaseOptimizer
from bnn.training.optimizers.rules import PARAMETER_RULES, REST, decaying_parameters
from bnn.values import is_number, shown

OPTIMIZERS: Registry[type[torch.optim.Optimizer]] = Registry("optimizer")
"""Name -> class. One whose constructor has no ``lr`` gets no learning rate, and so on."""

_SEPARATE = {"params": "claims", "lr": "learning_rate", "weight_decay": "weight_decay"}


@dataclass(frozen=True, kw_only=True)
class OptimizerCase:
    """One optimizer and the parameters that it trains.

    Args:
        claims: A name in :data:`bnn.training.PARAMETER_RULES`: ``"binary_weights"``,
            ``"float_weights"``, ``"layer_weights"`` (both), or ``"rest"``, what no other case
            claims.
        name: A name in :data:`bnn.training.OPTIMIZERS`.
        learning_rate: Default: the one that all cases share. Bop has none.
        weight_decay: Of those claimed parameters that are weights of linear layers or
            convolutions. Biases, norms, learnt scales and slopes never decay.
        args: Further arguments of the optimizer.

    Raises:
        ConfigError: If a value is of the wrong kind or out of range, or does not fit the
            optimizer.
        UnknownNameError: If there is no such rule or optimizer.

    Example:
        >>> OptimizerCase(claims="binary_weights", name="bop", args={"gamma": 1e-3}).name
        'bop'
        >>> OptimizerCase(claims="rest", name="bop", args={"tau": 1e-8})
        Traceback (most recent call last):
        bnn.errors.ConfigError: bop has no argument 'tau'. Allowed: gamma, threshold.
    """

    claims: str
    name: str = "adam"
    learning_rate: float | None = None
    weight_decay: float = 0.0
    args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _ = PARAMETER_RULES[self.claims]
        known = inspect.signature(OPTIMIZERS[self.name]).parameters
        if self.learning_rate is not None:
            _check_number(self.name, "learning_rate", self.learning_rate, above=True)
            if "lr" not in known:
                raise ConfigError(f"{self.name} has no learning rate. Leave it out.")
        _check_number(self.name, "weight_decay", self.weight_decay, above=False)
        if self.weight_decay and "weight_decay" not in known:
            raise ConfigError(f"{self.name} has no weight decay. Leave it out.")
        if not isinstance(self.args, Mapping):
            raise ConfigError(f"args of {self.name} must be a mapping; got {shown(self.args)}.")
        allowed = sorted(set(known) - set(_SEPARATE))
        for key in self.args:
            if key in _SEPARATE:
                raise ConfigError(
                    f"{self.name}: args has {key!r}; it is the case's {_SEPARATE[key]!r}."
                )
            if key not in allowed:
                raise ConfigError(
                    f"{self.name} has no argument {shown(key)}."
                    f"{did_you_mean(str(key), allowed)} Allowed: {', '.join(allowed)}."
                )
        for key, problem in misfits(OPTIMIZERS[self.name], self.args):
            raise ConfigError(f"{self.name}: {key} {problem}")
        object.__setattr__(self, "args", dict(self.args))
        rate = {"lr": 1.0} if "lr" in known else {}
        _made(self, [nn.Parameter(torch.zeros(1))], rate)  # what it refuses, it refuses here

    @property
    def decays(self) -> bool:
        """Whether the optimizer knows weight decay."""
        return "weight_decay" in inspect.signature(OPTIMIZERS[self.name]).parameters


def make_optimizer(
    model: nn.Module, cases: Iterable[OptimizerCase], *, learning_rate: float
) -> torch.optim.Optimizer:
    """Return an optimizer in which each case trains the parameters that it claims.

    Args:
        model: Whose trainable parameters are divided among the cases.
        cases: At least one.
        learning_rate: Of the cases that have none of their own.

    Returns:
        The one case's optimizer, or a :class:`bnn.training.CaseOptimizer` of several.

    Raises:
        ConfigError: If a trainable parameter is claimed by no case or by two, a case claims none,
            or an optimizer refuses its arguments.

    Example:
        >>> from bnn.models import create
        >>> cases = [
        ...     OptimizerCase(claims="float_weights", name="sgd", args={"momentum": 0.9}),
        ...     OptimizerCase(claims="rest"),
        ... ]
        >>> optimizer = make_optimizer(create("resnet8"), cases, learning_rate=0.1)
        >>> [type(part).__name__ for part in optimizer.optimizers]
        ['SGD', 'Adam']
        >>> make_optimizer(create("resnet8"), cases[:1], learning_rate=0.1)
        Traceback (most recent call last):
        bnn.errors.ConfigError: no optimizer case claims ... Add a case that claims 'rest'.
    """
    cases = tuple(cases)
    decaying = decaying_parameters(model)
    optimizers = [
        _make(case, parameters, decaying, learning_rate)
        for case, parameters in zip(cases, _divide(model, cases), strict=True)
    ]
    return optimizers[0] if len(optimizers) == 1 else CaseOptimizer(optimizers)


def _divide(model: nn.Module, cases: Sequence[OptimizerCase]) -> list[list[nn.Parameter]]:
    """Return for each case its parameters, in the model's order."""
    names = {p: name for name, p in model.named_parameters() if p.requires_grad}
    claims = [set(PARAMETER_RULES[case.claims](model)) & set(names) for case in cases]
    explicit = [claim for case, claim in zip(cases, claims, strict=True) if case.claims != REST]
    claims = [
        claim.difference(*explicit) if case.claims == REST else claim
        for case, claim in zip(cases, claims, strict=True)
    ]
    for case, claim in zip(cases, claims, strict=True):
        if not claim:
            raise ConfigError(
                f"the optimizer case {case.name} claims {case.claims!r}, of which the network has "
                "no trainable parameter. Leave the case out."
            )
    unclaimed = [name for p, name in names.items() if not any(p in claim for claim in claims)]
    if unclaimed:
        raise ConfigError(
            f"no optimizer case claims {_listed(unclaimed)}. Add a case that claims {REST!r}."
        )
    twice = [name for p, name in names.items() if sum(p in claim for claim in claims) > 1]
    if twice:
        raise ConfigError(
            f"more than one optimizer case claims {_listed(twice)}; the cases claim "
            f"{', '.join(repr(case.claims) for case in cases)}. Each parameter needs one."
        )
    return [[p for p in names if p in claim] for claim in claims]


def _make(
    case: OptimizerCase,
    parameters: Sequence[nn.Parameter],
    decaying: set[nn.Parameter],
    learning_rate: float,
) -> torch.optim.Optimizer:
    """Make one optimizer of up to two groups: what decays, and what does not."""
    cls = OPTIMIZERS[case.name]
    known = inspect.signature(cls).parameters
    decays = "weight_decay" in known
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p in decaying]},
        {"params": [p for p in parameters if p not in decaying]},
    ]
    if decays:
        groups[0]["weight_decay"], groups[1]["weight_decay"] = case.weight_decay, 0.0
    rate: dict[str, Any] = {"lr": case.learning_rate or learning_rate} if "lr" in known else {}
    return _made(case, [group for group in groups if group["params"]], rate)


def _made(
    case: OptimizerCase, parameters: Sequence[Any], rate: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """Call a case's optimizer with its arguments."""
    try:
        return OPTIMIZERS[case.name](parameters, **rate, **case.args)
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{case.name} refuses {shown(dict(case.args))}: {reason}") from error


def _check_number(optimizer: str, name: str, value: Any, above: bool) -> None:
    if not is_number(value) or value < 0 or (above and value == 0):
        bound = "above 0" if above else "of at least 0"
        raise ConfigError(
            f"{optimizer}: {name} must be a finite number {bound}; got {shown(value)}."
        )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:3]))
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
