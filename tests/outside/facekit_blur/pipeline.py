"""The network and its pipeline."""

from typing import Any

import numpy as np
import torch
from diffusers import ConfigMixin, DiffusionPipeline, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from torch import nn
from torch.nn import functional as F

from facekit.images.photo import ImageInput, as_float, from_float, load_image
from facekit.images.tensors import deliver


class BlurNetwork(ModelMixin, ConfigMixin):
    """One kernel for all colours, `[B, 3, H, W]` -> `[B, 3, H, W]`; at first the mean of `side` x `side` pixels."""

    @register_to_config
    def __init__(self, side: int = 5) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.full((1, 1, side, side), 1 / side**2))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        margin = self.kernel.shape[-1] // 2
        padded = F.pad(images, [margin] * 4, mode="replicate")
        return F.conv2d(padded, self.kernel.expand(3, -1, -1, -1), groups=3)


class BlurOutput(BaseOutput):
    """`images`: one, in the form of `output_type`."""

    images: Any


class BlurPipeline(DiffusionPipeline):
    """Blurs photos."""

    def __init__(self, blur: BlurNetwork) -> None:
        super().__init__()
        self.register_modules(blur=blur)

    @torch.inference_mode()
    def __call__(
        self,
        image: ImageInput,
        *,
        aligned: bool = False,
        generator: torch.Generator | None = None,
        output_type: str = "pil",
    ) -> BlurOutput:
        """Blur a photo. There is nothing to align and nothing random: `aligned` and `generator` change nothing."""
        photo = load_image(image)
        seen = torch.from_numpy(as_float(photo.rgb)).permute(2, 0, 1)[None].to(self.device, self.dtype)
        blurred = self.blur(seen)[0].permute(1, 2, 0).float().cpu().numpy()
        everywhere = np.ones(photo.rgb.shape[:2], bool)
        result = photo.recolor(from_float(blurred, photo.rgb.dtype), everywhere)
        return BlurOutput(images=deliver([result], output_type))
