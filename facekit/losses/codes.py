"""Losses on style codes, from e4e (Tov et al., "Designing an Encoder for StyleGAN Image Manipulation", 2021)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def delta_loss(codes: Tensor, stage: int | None = None) -> Tensor:
    """Sum over the offsets from the first code of their mean norm (e4e Eq. 4).

    Args:
        codes: [B, n, D].
        stage: offsets up to this index exist (progressive training); `None` means all.

    Returns:
        A number; 0 at stage 0.
    """
    last = codes.shape[1] - 1 if stage is None else min(stage, codes.shape[1] - 1)
    return (codes[:, 1 : last + 1] - codes[:, :1]).norm(dim=2).mean(0).sum()


class LatentDiscriminator(nn.Module):
    """Tells codes of an encoder from codes of the mapping network: [..., D] -> logits [..., 1] (e4e section 4.1).

    Args:
        style_dim: D.
        num_layers: hidden layers, each as wide as a code, with leaky ReLU of slope 0.2.
    """

    def __init__(self, style_dim: int = 512, num_layers: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(style_dim, style_dim) for _ in range(num_layers))
        self.logit = nn.Linear(style_dim, 1)

    def forward(self, codes: Tensor) -> Tensor:
        for layer in self.layers:
            codes = F.leaky_relu(layer(codes), 0.2)
        return self.logit(codes)


class CodePool(nn.Module):
    """The last codes an encoder made: a discriminator is shown old ones too (Shrivastava et al. 2017).

    Until `size` codes are kept, new ones are kept and returned. Then every new code is, with equal chance, returned
    as it is, or put in the place of a random kept one, which is returned.
    """

    codes: Tensor
    count: Tensor

    def __init__(self, size: int, style_dim: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(size, style_dim))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def exchange(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """[B, D] -> [B, D]; `generator` (on the CPU) makes the choices. A pool of size 0 returns the codes."""
        size = len(self.codes)
        shown = codes.detach().clone()
        for i in range(len(shown) if size else 0):
            count = int(self.count)
            if count < size:
                self.codes[count] = shown[i]
                self.count += 1
            elif torch.rand((), generator=generator) < 0.5:
                place = int(torch.randint(size, (), generator=generator))
                shown[i], self.codes[place] = self.codes[place].clone(), shown[i].clone()
        return shown
