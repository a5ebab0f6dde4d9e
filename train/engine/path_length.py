"""The running mean that path-length regularisation pulls towards (Karras et al. 2020)."""

import torch
from torch import Tensor


class MeanLength(torch.nn.Module):
    """The running mean of path lengths, 0 at the start as in StyleGAN2."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(()))

    def follow(self, length: Tensor, decay: float) -> Tensor:
        """Move towards a new mean length and return where it stands."""
        self.value.lerp_(length, decay)
        return self.value.clone()
