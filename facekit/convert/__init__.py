"""convert of facekit."""
