"""The closed list of operations: what a packed file may hold, and how each is computed."""

from bnn.packed.graph.ops import bits, conv, elementwise, pooling, sizes, view
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
    "bits",
    "check_graph",
    "check_node",
    "compute",
    "conv",
    "elementwise",
    "pooling",
    "sizes",
    "view",
]
