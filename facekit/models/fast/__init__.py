"""Inference forms of layers: the same functions as in `facekit.models.layers`, computed faster, without gradients.

`network.fold()` gives a network made of them (`fold.py`). Most are views of the layer that they stand for (`view.py`):
they share its weights, whatever becomes of these. GRIG's blocks become snapshots, with weights of their own
(`residual.py`).
"""
