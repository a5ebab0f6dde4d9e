"""EXE-GAN: holes filled after the manner of an exemplar face."""
