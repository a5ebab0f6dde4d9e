"""Style layers that begin without effect, so that a stage with losses on pixels alone need not unlearn it first."""

import torch
from torch import nn

from facekit.models.layers.modulated import Modulation


@torch.no_grad()
def silence_codes(network: nn.Module, columns: range) -> None:
    """Let the numbers `columns` of a style vector modulate nothing yet: in every style layer their weights are zero."""
    for module in network.modules():
        if isinstance(module, Modulation):
            module.affine.weight[:, list(columns)] = 0


@torch.no_grad()
def quieten_styles(network: nn.Module, columns: range, share: float = 0.05) -> None:
    """Let style layers begin nearly as plain convolutions, in place.

    The numbers `columns` of a style vector keep `share` of their weights, all others get none. At the published
    initialisation random styles scale every channel by 1 +- 0.6, which a regression on pixels has to unlearn first.
    """
    for module in network.modules():
        if isinstance(module, Modulation):
            kept = module.affine.weight[:, list(columns)] * share
            module.affine.weight.zero_()
            module.affine.weight[:, list(columns)] = kept
