"""Begin FACEMUG's refiner so that it paints what its facial feature bank shows, the prior's face.

Only for refiners with `skips`, which write an RGB picture at every size. The gates of the fusion blocks prefer the
bank, the style layer behind each begins as the identity (through leaky ReLU), and the RGB layers are the prior's.
"""

import torch

from facekit.models.layers.linear import ACTIVATION_GAIN
from facekit.models.refiner import RefinementAutoEncoder
from facekit.models.stylegan2 import StyleGAN2Generator

LEANING = 1.5  # bias of the prior's gate: sigmoid(1.5) = 0.82 of the fused map is the bank's


@torch.no_grad()
def start_from_bank(refiner: RefinementAutoEncoder, prior: StyleGAN2Generator, first_level: int = 0) -> None:
    """Let the refiner's levels from `first_level` on paint what the prior's maps show, in place.

    Args:
        prior: of the refiner's widths.

    Raises:
        ValueError: the refiner has no `skips`, or another fusion than the style fusion block.
    """
    if refiner.config.fusion != "style":
        raise ValueError(
            "only style fusion blocks begin as readers of the prior's maps; the refiner's fusion is "
            f"{refiner.config.fusion!r}, an ablation: say bank_start: false"
        )
    if not refiner.config.skips:
        raise ValueError("only a refiner with skips begins as a reader of the prior's maps: say skips: true")
    dim = prior.config.style_dim
    sources = [prior.to_rgb, *(level.to_rgb for level in prior.levels)]
    for level, to_rgb, source in list(zip(refiner.decoder, refiner.to_rgb, sources, strict=False))[
        first_level:
    ]:
        level.fusion.prior_gate.bias.fill_(LEANING)
        kernel = level.conv.conv.weight
        kernel.zero_()
        kernel[range(len(kernel)), range(len(kernel)), 1, 1] = 1
        # Demodulation cancels the size of the kernel; the style layer's gain is taken out here.
        to_rgb.weight.copy_(source.weight / ACTIVATION_GAIN)
        to_rgb.bias.copy_(source.bias)
        mine, its = to_rgb.modulation.affine, source.modulation.affine
        mine.weight.zero_()
        mine.weight[:, :dim] = its.weight * (its.scale / mine.scale)
        mine.bias.copy_(its.bias)
