"""Hooks that measure one network and none of its copies."""

from __future__ import annotations

from typing import Any

from torch import nn


class MeasuringHook:
    """A hook at or before a forward pass; copied or pickled with the network, it does nothing."""

    def __call__(self, module: nn.Module, inputs: Any, output: Any = None) -> None:
        """Measure."""
        raise NotImplementedError

    def __reduce__(self) -> tuple[type[Inert], tuple[()]]:
        return Inert, ()


class Inert(MeasuringHook):
    """What a copied hook is."""

    def __call__(self, module: nn.Module, inputs: Any, output: Any = None) -> None:
        """Do nothing."""
