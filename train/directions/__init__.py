"""Attribute directions of a prior (thesis Eq. 6.3)."""
