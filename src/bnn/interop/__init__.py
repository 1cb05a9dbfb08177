"""Weights of other libraries and of papers' own code; one module for each."""
