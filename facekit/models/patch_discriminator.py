"""GRIG's forged-patch discriminator, which judges the patches of an image: known, or filled in?"""

import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from facekit.models.base import VerifiedModelMixin
from facekit.models.layers.containers import ModuleList
from facekit.models.layers.residual import LEAK
from facekit.models.layers.spectral import SpectralConv2d

KERNEL = 4
PADDING = 1


class ForgedPatchDiscriminator(VerifiedModelMixin):
    """Patch discriminator D of GRIG (thesis Section 4.2.1). The defaults are the published size.

    Args:
        base_channels: width of the first convolution; it doubles with every layer, up to eight times the first.
        num_downsamples: convolutions of stride 2; one more convolution of stride 1 and the head follow.
    """

    @register_to_config
    def __init__(self, base_channels: int = 64, num_downsamples: int = 3) -> None:
        super().__init__()
        widths = [3] + [base_channels * min(2**i, 8) for i in range(num_downsamples + 1)] + [1]
        strides = [2] * num_downsamples + [1, 1]
        self.layers = ModuleList(
            SpectralConv2d(i, o, KERNEL, stride, PADDING)
            for i, o, stride in zip(widths[:-1], widths[1:], strides, strict=True)
        )

    @property
    def receptive_field(self) -> tuple[int, int, int]:
        """Side, stride and zero padding, in pixels, of the window that one cell of the output sees."""
        side, stride, padding = 1, 1, 0
        for layer in self.layers:
            side += (KERNEL - 1) * stride
            padding += PADDING * stride
            stride *= layer.stride[0]
        return side, stride, padding

    def label_map(self, mask: Tensor) -> Tensor:
        """Eq. 4.4: mask `[B, 1, H, W]`, 1 = hole -> `[B, 1, h, w]`, 1 for cells of the output that see a hole."""
        side, stride, padding = self.receptive_field
        # The maximum over a square is the maximum over its rows, then over its columns: 35 times less work.
        rows = F.max_pool2d((mask > 0).to(mask.dtype), (1, side), (1, stride), (0, padding))
        return F.max_pool2d(rows, (side, 1), (stride, 1), (padding, 0))

    def forward(self, image: Tensor, return_features: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Judge every patch: known, or filled in?

        Args:
            image: `[B, 3, H, W]` in [-1, 1].
            return_features: also return the activations before the head, for feature matching.

        Returns:
            Logits `[B, 1, h, w]`, higher = more real; 30x30 at 256x256 and the default layers. With
            `return_features` a tuple of the logits and a list of maps.
        """
        x = image
        features = []
        for layer in self.layers[:-1]:
            x = F.leaky_relu(layer(x), LEAK)
            features.append(x)
        logits = self.layers[-1](x)
        return (logits, features) if return_features else logits
