"""metrics of facekit."""
