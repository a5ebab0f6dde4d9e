"""pipelines of facekit."""
