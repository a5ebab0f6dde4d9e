"""Inference forms of the networks' layers: the same functions, computed faster."""
