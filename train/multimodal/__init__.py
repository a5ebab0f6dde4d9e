"""FACEMUG's aggregation and refinement (thesis chapter 6, Algorithm 5)."""
