"""VSPBFR's restoration auto-encoder (thesis 3.2.4)."""
