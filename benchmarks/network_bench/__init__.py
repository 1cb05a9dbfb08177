"""Parts of benchmarks/networks.py: networks, competitors, memory, targets, tables, the chart."""
