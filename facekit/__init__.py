"""facekit: diffusers-style pipelines for editing face photos."""

__version__ = "0.1.0"
