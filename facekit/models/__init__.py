"""models of facekit."""
