"""FACEMUG's latent warper (thesis 6.2.2, Algorithm 4)."""
