"""The older import path of :class:`bnn.executor.engine.BinaryChef`."""

from bnn.executor.engine import BinaryChef

__all__ = ["BinaryChef"]
