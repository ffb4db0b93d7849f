"""Measurements: benchmark grammars with their truth, the embedded engine's figures, and the cost of our own code."""
