"""FACEMUG's latent warper (thesis sections 6.2.2 and 6.2.6, Algorithm 4)."""
