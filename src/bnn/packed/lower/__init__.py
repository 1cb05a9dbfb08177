"""From a trained model to a graph: ``trace`` translates it, ``fuse`` folds what belongs together.

``modules.py``, ``functions.py`` and ``binary.py`` say what each part of a model becomes.
"""

from bnn.packed.lower.fuse import drop_dead, fuse
from bnn.packed.lower.trace import Lowered, UntraceableError, is_hooked, trace, whole

__all__ = ["Lowered", "UntraceableError", "drop_dead", "fuse", "is_hooked", "trace", "whole"]
