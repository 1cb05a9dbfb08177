"""Hooks that measure one network and none of its copies."""

from __future__ import annotations

from typing import Any

from torch import nn


class MeasuringHook:
    """A forward hook whose copies and pickles, which come with the network's, do nothing."""

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Measure."""
        raise NotImplementedError

    def __reduce__(self) -> tuple[type[Inert], tuple[()]]:
        return Inert, ()


class Inert(MeasuringHook):
    """What a copied hook is."""

    def __call__(self, module: nn.Module, inputs: Any, output: Any) -> None:
        """Do nothing."""
