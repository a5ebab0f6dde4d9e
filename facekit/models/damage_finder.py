"""A small network that marks scratches, creases, dust, torn edges and stains on the scan of a photo."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from facekit.models.base import VerifiedModelMixin
from facekit.models.layers.containers import ModuleList
from facekit.models.layers.normed import Residual, build_convolution


class DamageFinder(VerifiedModelMixin):
    """U-shaped network from a photo to how probably each pixel is damaged.

    Blocks of 2x2 pixels enter as channels and their logits leave as channels, so that no layer works at the full size;
    damage is found to a pixel or two, which is what a mask that is grown before filling needs. It has seen photos whose
    shorter side is `working_side`: `facekit.pipelines.mend.find` scales a photo to that before, and the mask back. What
    is too thin for that it finds in a second, finer copy.

    Args:
        channels: width of each level, that of half the size first; each level halves the size again.
        depths: residual blocks of each level on the way down.
        threshold: 0..1, probability above which a pixel counts as damaged; training chooses it.
        working_side: pixels of the shorter side at which a whole photo is looked at.
        fine_side: pixels of the shorter side of a second copy, of photos that have more than `working_side`; None: no
            second look.

    Raises:
        ValueError: there is no level, `depths` has another length, or `threshold` or a side is out of range.
    """

    @register_to_config
    def __init__(
        self,
        channels: tuple[int, ...] = (16, 40, 72, 112, 144),
        depths: tuple[int, ...] = (0, 1, 2, 2, 1),
        threshold: float = 0.5,
        working_side: int = 512,
        fine_side: int | None = None,
    ) -> None:
        super().__init__()
        if len(channels) < 1 or len(depths) != len(channels):
            raise ValueError(
                f"there must be one level or more and as many depths; got channels {list(channels)} "
                f"and depths {list(depths)}"
            )
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be between 0 and 1, got {threshold}")
        if working_side < 2 ** len(channels):
            raise ValueError(
                f"working_side must be {2 ** len(channels)} or more, so that the deepest level has a pixel; "
                f"got {working_side}"
            )
        if fine_side is not None and fine_side <= working_side:
            raise ValueError(f"fine_side must be more than working_side, {working_side}; got {fine_side}")
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), build_convolution(4 * 3, channels[0]))
        pairs = list(pairwise(channels))
        self.down = ModuleList(build_convolution(a, b, 2) for a, b in pairs)
        self.blocks = ModuleList(
            nn.Sequential(*(Residual(width) for _ in range(depth)))
            for width, depth in zip(channels, depths, strict=True)
        )
        self.context = nn.Linear(channels[-1], channels[-1])
        self.narrow = ModuleList(nn.Conv2d(b, a, 1) for a, b in pairs)
        self.up = ModuleList(build_convolution(a, a) for a, _ in pairs)
        self.head = nn.Sequential(nn.Conv2d(channels[0], 4, 1), nn.PixelShuffle(2))

    def forward(self, images: Tensor) -> Tensor:
        """Photos `[B, 3, H, W]` in [-1, 1], of any size -> logits `[B, 1, H, W]`; above 0: rather damaged than not."""
        height, width = images.shape[-2:]
        multiple = 2 ** len(self.config.channels)
        below, right = -height % multiple, -width % multiple
        if below or right:
            images = F.pad(images, (0, right, 0, below), mode="replicate")
        levels: list[Tensor] = []
        x = self.stem(images.contiguous(memory_format=torch.channels_last))
        for i, block in enumerate(self.blocks):
            x = block(x if i == 0 else self.down[i - 1](x))
            levels.append(x)
        x = levels.pop()
        # Whether the whole photo is gray, grainy or faded tells what stands out in it.
        x = x + self.context(x.mean((2, 3)))[:, :, None, None]
        for skip, narrow, up in zip(reversed(levels), reversed(self.narrow), reversed(self.up), strict=True):
            x = up(F.interpolate(narrow(x), scale_factor=2, mode="nearest") + skip)
        return self.head(x)[..., :height, :width]
