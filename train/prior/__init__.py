"""StyleGAN2, the facial prior behind restoration and editing."""
