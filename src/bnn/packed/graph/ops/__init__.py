"""The closed list of operations: what a packed file may hold, and how each is computed."""

from bnn.packed.graph.ops import base, bits, conv, elementwise, pooling, rules, sizes, view
from bnn.packed.graph.ops.base import (
    OPERATIONS,
    Kind,
    Operation,
    check_graph,
    check_node,
    compute,
)

__all__ = [
    "OPERATIONS",
    "Kind",
    "Operation",
    "base",
    "bits",
    "check_graph",
    "check_node",
    "compute",
    "conv",
    "elementwise",
    "pooling",
    "rules",
    "sizes",
    "view",
]
