"""Figures of the thesis, a module each with `draw(args) -> int`; what they share is in `frame.py`."""
