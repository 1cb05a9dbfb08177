"""What ``python -m benchmarks.training`` is made of."""
