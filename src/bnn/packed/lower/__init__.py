"""From a trained model to a graph: ``trace`` translates it, ``fuse`` folds what belongs together.

``modules.py``, ``functions.py`` and ``binary.py`` say what each part of a model becomes.
"""

from bnn.packed.lower.fuse import fuse
from bnn.packed.lower.trace import Lowered, UntraceableError, trace, whole

__all__ = ["Lowered", "UntraceableError", "fuse", "trace", "whole"]
