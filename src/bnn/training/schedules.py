"""How the learning rate moves in a step of training, in closed form."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from torch.optim.lr_scheduler import LambdaLR

from bnn.errors import ConfigError
from bnn.ops.base import check_arguments
from bnn.registry import Registry
from bnn.values import is_number, shown


class Curve(Protocol):
    """What the rate is multiplied by, as a function of how far training is."""

    from_start: ClassVar[bool]
    """Whether progress is counted from the start of training, not from the end of warm-up."""

    def __call__(self, progress: float, epochs: float | None) -> float:
        """Return the factor at ``progress``, 0 to 1, of a training of so many epochs."""


LEAST_EVERY = 1e-3
"""Epochs between two drops: fewer are a mistake, and soon too few to divide by."""

SCHEDULES: Registry[type[Curve]] = Registry("schedule")
"""Name -> class of curves; the arguments of its constructor are a schedule's ``args``."""


@SCHEDULES.register("cosine")
@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Fall along half a cosine, to ``final`` times the rate.

    Reference:
        Loshchilov and Hutter, *SGDR*, ICLR 2017. https://arxiv.org/abs/1608.03983
    """

    final: float = 0.0
    from_start: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_share("final", self.final)

    def __call__(self, progress: float, epochs: float | None) -> float:  # noqa: ARG002
        """Return the factor."""
        fallen = round(0.5 * (1.0 + math.cos(math.pi * progress)), 12)
        return self.final + (1.0 - self.final) * fallen


@SCHEDULES.register("linear")
@dataclass(frozen=True, kw_only=True)
class Linear:
    """Fall in a line, to ``final`` times the rate."""

    final: float = 0.0
    from_start: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_share("final", self.final)

    def __call__(self, progress: float, epochs: float | None) -> float:  # noqa: ARG002
        """Return the factor."""
        return 1.0 - (1.0 - self.final) * progress


@SCHEDULES.register("step")
@dataclass(frozen=True, kw_only=True)
class Step:
    """Multiply by ``factor`` at each milestone, or every few epochs.

    Args:
        milestones: Shares of the training, each above 0 and below 1. Default: (0.5, 0.75), unless
            ``every`` is given.
        every: Epochs between two drops, at least 0.001, instead of milestones.
        factor: What each drop multiplies the rate by; or a list with one for each milestone;
            these then rise.
    """

    milestones: Sequence[float] | None = None
    every: float | None = None
    factor: float | Sequence[float] = 0.1
    from_start: ClassVar[bool] = True

    def __post_init__(self) -> None:
        several = isinstance(self.factor, list | tuple)
        for one in self.factor if several else [self.factor]:  # type: ignore[union-attr]  # `several`
            _check_share("factor", one)
        if self.every is not None:
            if self.milestones is not None:
                raise ConfigError("step takes milestones or every, not both.")
            if several:
                raise ConfigError("a list of factors goes with milestones, not with every.")
            if not is_number(self.every) or self.every < LEAST_EVERY:
                raise ConfigError(
                    f"every must be at least {LEAST_EVERY:g} epochs; got {shown(self.every)}."
                )
            return
        milestones = (0.5, 0.75) if self.milestones is None else self.milestones
        if not isinstance(milestones, list | tuple) or not all(
            is_number(one) and 0 < one < 1 for one in milestones
        ):
            raise ConfigError(
                "milestones must be a list of shares of the training, above 0 and below "
                f"1; got {shown(milestones)}."
            )
        if several and len(self.factor) != len(milestones):  # type: ignore[arg-type]  # `several`
            raise ConfigError(
                f"factor has {len(self.factor)} entries for {len(milestones)} milestones. "  # type: ignore[arg-type]  # `several`
                "Give one for each, or one number for all."
            )
        ordered = tuple(sorted(milestones))
        if several and tuple(milestones) != ordered:
            raise ConfigError(
                f"milestones must rise where factor is a list; got {shown(milestones)}. Put both "
                "in order."
            )
        object.__setattr__(self, "milestones", ordered)

    def __call__(self, progress: float, epochs: float | None) -> float:
        """Return the factor."""
        if self.every is None:
            drops = sum(progress >= one for one in self.milestones or ())
        elif epochs is None:
            raise ConfigError("step with every needs to know the number of epochs.")
        else:
            # The progress of the first step of an epoch, times epochs, may lie just below it.
            drops = math.floor(progress * epochs / self.every + 1e-9)
        if isinstance(self.factor, int | float):
            return float(self.factor**drops)
        return math.prod(map(float, self.factor[:drops]))


@SCHEDULES.register("constant")
@dataclass(frozen=True, kw_only=True)
class Constant:
    """Stay."""

    from_start: ClassVar[bool] = True

    def __call__(self, progress: float, epochs: float | None) -> float:  # noqa: ARG002
        """Return 1."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the learning rate moves: up in a line while warming up, then along a curve.

    Every rate follows from the number of the optimizer step alone. Nothing accumulates, so that a
    resumed run has the very same rates.

    Args:
        name: A name in :data:`bnn.training.SCHEDULES`: ``"cosine"``, ``"linear"``, ``"step"``,
            ``"constant"``.
        warmup_epochs: Epochs in which the rate rises.
        args: Arguments of the curve: ``final`` of cosine and linear; ``milestones`` or ``every``,
            and ``factor``, of step.

    Raises:
        ConfigError: If a value cannot be used.
        UnknownNameError: If there is no such schedule.

    Example:
        >>> [Schedule(name="linear").factor(i, 4) for i in range(5)]
        [1.0, 0.75, 0.5, 0.25, 0.0]
        >>> schedule = Schedule(name="step", args={"milestones": [0.5], "factor": 0.25})
        >>> [schedule.factor(i, 6, warmup=1) for i in range(6)]
        [0.5, 1.0, 1.0, 0.25, 0.25, 0.25]
    """

    name: str = "cosine"
    warmup_epochs: float = 0
    args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not is_number(self.warmup_epochs) or self.warmup_epochs < 0:
            raise ConfigError(
                "warmup_epochs must be a finite number of at least 0; got "
                f"{shown(self.warmup_epochs)}."
            )
        if not isinstance(self.args, Mapping):
            raise ConfigError(f"args of {self.name} must be a mapping; got {shown(self.args)}.")
        object.__setattr__(self, "args", dict(self.args))
        self._curve()

    def _curve(self) -> Curve:
        cls = SCHEDULES[self.name]
        check_arguments(cls, self.args)
        return cls(**self.args)

    def factor(
        self, index: int, total: int, warmup: int = 0, *, epochs: float | None = None
    ) -> float:
        """Return what the learning rate is multiplied by at an optimizer step.

        Args:
            index: The step's number, from 0.
            total: Steps until the rate has fallen, warm-up included.
            warmup: Steps in which it rises: ``(index + 1) / (warmup + 1)``.
            epochs: Epochs that ``total`` stands for; only ``every`` of the step schedule asks.
        """
        if index < warmup:
            return (index + 1) / (warmup + 1)
        curve = self._curve()
        done, whole = (index, total) if curve.from_start else (index - warmup, total - warmup)
        return curve(min(done / max(whole, 1), 1.0), epochs)


def make_scheduler(
    optimizer: torch.optim.Optimizer, schedule: Schedule, *, total: int, epochs: float
) -> LambdaLR:
    """Return the scheduler that multiplies the rate of every group as a schedule says.

    Args:
        optimizer: A new one. Each group keeps its own start rate.
        schedule: How the rates move.
        total: Optimizer steps of the whole training.
        epochs: Epochs of the whole training.

    Raises:
        ConfigError: If the warm-up is as long as the training.

    Example:
        >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
        >>> schedule = Schedule(name="constant", warmup_epochs=1)
        >>> scheduler = make_scheduler(optimizer, schedule, total=9, epochs=3)
        >>> scheduler.get_last_lr()
        [0.25]
    """
    if schedule.warmup_epochs >= epochs and schedule.warmup_epochs:
        raise ConfigError(
            f"warmup_epochs is {schedule.warmup_epochs:g}, but there are {epochs:g} epochs. Warm "
            "up for fewer."
        )
    total = max(total, 1)
    warmup = round(schedule.warmup_epochs * total / epochs)
    rate = functools.partial(schedule.factor, total=total, warmup=warmup, epochs=epochs)
    return LambdaLR(optimizer, rate)


def _check_share(name: str, value: object) -> None:
    if not is_number(value) or not 0 <= value <= 1:
        raise ConfigError(f"{name} must be from 0 to 1; got {shown(value)}.")
