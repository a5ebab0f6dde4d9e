"""Networks of the published structure at a small width, for tests of the wiring around them."""

import numpy as np
import torch

from facekit import FaceInpaintPipeline, ResidualInpainter


def tiny_inpainter() -> ResidualInpainter:
    """Sample size 64; the noise layers, which start without effect, are given one."""
    torch.manual_seed(0)
    network = ResidualInpainter(
        sample_size=64,
        stem_channels=8,
        encoder_channels=(8, 16, 16),
        dim=8,
        num_blocks=(1, 1, 1, 1),
        num_refinement_blocks=1,
        num_heads=(1, 1, 2, 2),
    )
    for name, parameter in network.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.5)
    return network.eval()


def tiny_inpaint_pipeline() -> FaceInpaintPipeline:
    """A pipeline around `tiny_inpainter`, without progress bars."""
    pipeline = FaceInpaintPipeline(tiny_inpainter())
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def box_mask(shape: tuple[int, ...], box: tuple[int, int, int, int]) -> np.ndarray:
    """bool `[H, W]`, True inside the box (left, top, right, bottom)."""
    mask = np.zeros(shape[:2], dtype=bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask
