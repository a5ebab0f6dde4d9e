"""Weights that others made, read safely: no pickle is ever executed."""
