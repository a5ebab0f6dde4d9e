"""EXE-GAN, exemplar-guided inpainting (thesis chapter 5)."""
