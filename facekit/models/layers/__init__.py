"""Layers that the networks are made of, as they are defined; `facekit.models.fast` holds faster forms of some."""
