"""Benchmarks: each prints a table and, with ``--json``, writes a result file."""
