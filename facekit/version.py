"""The version of facekit, for whatever must name it without importing the rest."""

__version__ = "0.1.0"
