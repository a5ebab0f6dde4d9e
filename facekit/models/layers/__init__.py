"""Definitions of the layers that networks are made of; `facekit.models.fast` computes some of them faster."""
