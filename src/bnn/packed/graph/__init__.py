"""The graph of a packed network: values, nodes, and the closed list of operations.

``node.py`` has the data, ``ops/`` one file for each group of operations. The graph knows no memory
layout and no kernel: it says what is computed. :mod:`bnn.packed.lower` makes it of a model,
:mod:`bnn.packed.run` runs it, :mod:`bnn.packed.file` reads and writes it.
"""

from bnn.packed.graph.node import Graph, Node, Structure, ValueRef
from bnn.packed.graph.ops import OPERATIONS, Operation, check_graph, check_node, compute

__all__ = [
    "OPERATIONS",
    "Graph",
    "Node",
    "Operation",
    "Structure",
    "ValueRef",
    "check_graph",
    "check_node",
    "compute",
]
