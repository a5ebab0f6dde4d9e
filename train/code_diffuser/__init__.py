"""VSPBFR's code diffuser (thesis 3.2.4)."""
