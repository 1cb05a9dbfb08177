"""What a network costs: operations and bytes by precision, counted on a real input."""

from bnn.inspect.count import LayerCount, OpsCount, count_ops
from bnn.inspect.measure import Precision
from bnn.inspect.summary import print_count, summary

__all__ = ["LayerCount", "OpsCount", "Precision", "count_ops", "print_count", "summary"]
