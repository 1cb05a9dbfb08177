"""Parts of benchmarks/accuracy.py: methods, training runs, the table, the chart."""
