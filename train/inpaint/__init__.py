"""GRIG, few-shot generative residual inpainting (thesis chapter 4)."""
