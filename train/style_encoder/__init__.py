"""The style encoder (thesis 3.2.4, e4e; FACEMUG's of 26 channels)."""
