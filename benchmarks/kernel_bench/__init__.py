"""Parts of benchmarks/kernels.py: layers, competitors, the timer, targets and tables."""
