"""FACEMUG's multimodal aggregation A (thesis Sections 6.2.4, 6.4.2): masked picture and drawings -> one map."""

import math

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn

from facekit.models.base import VerifiedModelMixin
from facekit.models.fast.fold import fold_without_gradients
from facekit.models.layers.containers import ModuleDict
from facekit.models.layers.linear import ConvLayer, EqualizedConv2d, Sum, WeightedSum

# How far the picture's border reaches into the scores of an empty modality, in pixels.
BORDER = 3


class ResidualBlock(nn.Module):
    """Two 3x3 convolution layers beside a 1x1 convolution, [B, in, H, W] -> [B, out, H, W].

    With `activate=False` the second layer has neither bias nor activation, for maps of scores.
    """

    def __init__(self, in_channels: int, middle: int, out_channels: int, activate: bool = True) -> None:
        super().__init__()
        self.conv1 = ConvLayer(in_channels, middle, 3)
        self.conv2 = ConvLayer(middle, out_channels, 3, activate=activate)
        self.skip = EqualizedConv2d(in_channels, out_channels, 1)
        self.merge = Sum()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gain = 1 / math.sqrt(2)
        return self.merge(self.conv2(self.conv1(x), gain), self.skip(x, gain))


class MultimodalAggregation(VerifiedModelMixin):
    """One residual block for each modality, one block that scores them all, and a weighted sum (Eq. 6.16, 6.17).

    Args:
        channels: c_a, width of the feature maps.
        mask_channel: the picture's block also reads M - 0.5, which distinguishes a hole from grey.
        num_classes: channels of the semantic map.
    """

    _no_split_modules = ["ConvLayer"]

    @register_to_config
    def __init__(self, channels: int = 64, mask_channel: bool = True, num_classes: int = 19) -> None:
        super().__init__()
        widths = {"image": 4 if mask_channel else 3, "sketch": 1, "semantics": num_classes, "color": 3}
        self.blocks = ModuleDict(
            {name: ResidualBlock(width, channels, channels) for name, width in widths.items()}
        )
        self.score = ResidualBlock(channels, channels, 1, activate=False)
        self.merge = WeightedSum()

    def check_inputs(
        self, image: torch.Tensor, mask: torch.Tensor, given: dict[str, torch.Tensor | None]
    ) -> None:
        """Refuse a picture that is not [B, 3, H, W], and maps that do not fit it.

        Raises:
            ValueError: `image`, `mask` or one of the modalities `given` by name has another shape than `forward` says.
        """
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"image must have the shape [B, 3, H, W], not {list(image.shape)}")
        widths = {"mask": 1, "sketch": 1, "semantics": self.config.num_classes, "color": 3}
        for name, tensor in {"mask": mask, **given}.items():
            expected = [image.shape[0], widths[name], *image.shape[2:]]
            if tensor is not None and list(tensor.shape) != expected:
                raise ValueError(f"{name} must have the shape {expected}, not {list(tensor.shape)}")

    @fold_without_gradients
    def forward(
        self,
        image: torch.Tensor,
        mask: torch.Tensor,
        sketch: torch.Tensor | None = None,
        semantics: torch.Tensor | None = None,
        color: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Picture and modalities -> F^a [B, channels, H, W]. A modality left out counts as zeros, at no cost.

        Args:
            image: [B, 3, H, W] in [-1, 1]; pixels under the mask have no effect.
            mask: [B, 1, H, W], 1 = to be edited.
            sketch: [B, 1, H, W], 1 = stroke.
            semantics: [B, num_classes, H, W], one-hot; zeros where no class was drawn.
            color: [B, 3, H, W] in [-1, 1]; 0 where no colour was drawn.

        Raises:
            ValueError: a shape is not as above.
        """
        given = {"sketch": sketch, "semantics": semantics, "color": color}
        self.check_inputs(image, mask, given)
        dtype = self.score.skip.weight.dtype
        image, mask = image.to(dtype), mask.to(dtype)
        masked = image * (1 - mask)
        inputs = {
            "image": torch.cat([masked, mask - 0.5], 1) if self.config.mask_channel else masked,
            **given,
        }
        features, scores = [], []
        for name, value in inputs.items():
            if value is None:
                feature, score = self.empty(name, image)
            else:
                value = value.to(dtype).contiguous(memory_format=torch.channels_last)
                feature = self.blocks[name](value)
                score = self.score(feature)
            features.append(feature)
            scores.append(score.expand(image.shape[0], -1, -1, -1))
        # Eq. 6.16: at every pixel the scores B_k become shares, exp(B_k) / sum_j exp(B_j).
        weights = torch.cat(scores, 1).float().softmax(1).to(dtype).split(1, 1)
        # Eq. 6.17: F^a is the sum of the features, each times its share.
        return self.merge(features, weights)

    def empty(self, name: str, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Feature map [1, channels, H, W] and scores [1, 1, H, W] of the modality `name` if it is zero everywhere.

        Size, dtype and device are those of `image` [B, 3, H, W]. Both are constant but for a border of `BORDER`
        pixels, so that a small map is computed and stretched.
        """
        (height, width), side = image.shape[2:], 2 * BORDER + 1
        block = self.blocks[name]
        shape = (1, block.skip.weight.shape[1], min(height, side), min(width, side))
        feature = block(image.new_zeros(shape).contiguous(memory_format=torch.channels_last))
        return stretch(feature, height, width), stretch(self.score(feature), height, width)


def stretch(x: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """[B, C, h, w] -> [B, C, height, width]: repeat the middle row and column of a map whose side is 2 `BORDER` + 1."""
    for dim, size in ((2, height), (3, width)):
        if x.shape[dim] < size:
            first, middle, last = x.split([BORDER, 1, BORDER], dim)
            count = [-1] * 4
            count[dim] = size - 2 * BORDER
            x = torch.cat([first, middle.expand(count), last], dim)
    return x
