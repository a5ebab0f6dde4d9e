"""Style layers that begin without effect, so that a stage on pixels alone need not unlearn them first."""

import torch
from torch import nn

from facekit.models.layers.modulated import Modulation


@torch.no_grad()
def silence_codes(network: nn.Module, columns: range) -> None:
    """Let the style numbers `columns` modulate nothing yet: they start at zero in every style layer."""
    for module in network.modules():
        if isinstance(module, Modulation):
            module.affine.weight[:, list(columns)] = 0


@torch.no_grad()
def quieten_styles(network: nn.Module, columns: range, share: float = 0.05) -> None:
    """Style layers that begin as plain convolutions: nothing modulates them but, a little, the numbers `columns`.

    At the published initialisation random styles scale every channel by 1 +- 0.6, which a regression on pixels has to
    unlearn first.
    """
    for module in network.modules():
        if isinstance(module, Modulation):
            kept = module.affine.weight[:, list(columns)] * share
            module.affine.weight.zero_()
            module.affine.weight[:, list(columns)] = kept
