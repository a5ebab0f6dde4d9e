"""losses of facekit."""
