"""Parts of benchmarks/zoo.py: the networks, Larq Compute Engine, targets, tables."""
