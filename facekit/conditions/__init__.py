"""conditions of facekit."""
