"""Holes, degradation and wear, for training, tables and restored fills; and a detector of wear without a network."""
