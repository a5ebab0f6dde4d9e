"""EXE-GAN: holes filled in the manner of an exemplar face."""
