"""Running a graph: ``plan`` for the CPU, ``eager`` for everything else.

``emit.py`` says which native operation computes a node, ``memory.py`` where its buffers lie.
"""

from bnn.packed.run.eager import run_eagerly
from bnn.packed.run.plan import Plan, ShapeChangedError, Timing

__all__ = ["Plan", "ShapeChangedError", "Timing", "run_eagerly"]
