"""faces of facekit."""
