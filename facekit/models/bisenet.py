"""BiSeNet for face parsing: which of 19 classes each pixel of an aligned face belongs to.

The thesis's parser ("Implementation without manual annotation", section 6.2). The paper: Yu et al., BiSeNet: bilateral
segmentation network for real-time semantic segmentation, ECCV 2018. The usual face-parsing weights leave out the
paper's spatial path: the ResNet's own map at 1/8 of the size stands in for it. Parameters are named as in them.
"""

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from facekit.models.base import VerifiedModelMixin
from facekit.models.imagenet_input import normalise_colours


class Unit(nn.Module):
    """Convolution of odd `kernel`, batch norm, ReLU: [B, in, H, W] -> [B, out, H, W]."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class BasicBlock(nn.Module):
    """Residual unit of two 3x3 convolutions ("Deep Residual Learning"): [B, in, H, W] -> [B, out, H / stride, ...]."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))) + shortcut)


class ResNet18(nn.Module):
    """The trunk: [B, 3, H, W] -> maps at 1/8, 1/16 and 1/32 of the size, of 2, 4 and 8 times `width` channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(BasicBlock(width, width, 1), BasicBlock(width, width, 1))
        self.layer2 = nn.Sequential(BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 2 * width, 1))
        self.layer3 = nn.Sequential(BasicBlock(2 * width, 4 * width, 2), BasicBlock(4 * width, 4 * width, 1))
        self.layer4 = nn.Sequential(BasicBlock(4 * width, 8 * width, 2), BasicBlock(8 * width, 8 * width, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        eighth = self.layer2(self.layer1(x))
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class AttentionRefinement(nn.Module):
    """Features times a gate for each channel, which their mean over the picture decides (the paper's Fig. 2b)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = Unit(in_channels, out_channels)
        self.conv_atten = nn.Conv2d(out_channels, out_channels, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * torch.sigmoid(self.bn_atten(self.conv_atten(x.mean((2, 3), keepdim=True))))


class ContextPath(nn.Module):
    """The trunk's map at 1/8, and what all its maps together say, at 1/8, with 2 `width` channels each.

    From the coarsest map on, each is refined, added to what is below it, and brought to the next size. What is below
    the coarsest is the picture's mean.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.resnet = ResNet18(width)
        self.arm16 = AttentionRefinement(4 * width, 2 * width)
        self.arm32 = AttentionRefinement(8 * width, 2 * width)
        self.conv_head32 = Unit(2 * width, 2 * width)
        self.conv_head16 = Unit(2 * width, 2 * width)
        self.conv_avg = Unit(8 * width, 2 * width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        eighth, sixteenth, thirtysecond = self.resnet(x)
        below = self.conv_avg(thirtysecond.mean((2, 3), keepdim=True))
        context = self.arm32(thirtysecond) + below
        context = self.conv_head32(F.interpolate(context, sixteenth.shape[-2:], mode="nearest"))
        context = self.arm16(sixteenth) + context
        context = self.conv_head16(F.interpolate(context, eighth.shape[-2:], mode="nearest"))
        return eighth, context


class FeatureFusion(nn.Module):
    """Two maps side by side -> one, in which channels that matter for the picture count double at most (Fig. 2c)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convblk = Unit(channels, channels, 1)
        self.conv1 = nn.Conv2d(channels, channels // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(channels // 4, channels, 1, bias=False)

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        x = self.convblk(torch.cat((spatial, context), 1))
        gate = torch.sigmoid(self.conv2(F.relu(self.conv1(x.mean((2, 3), keepdim=True)))))
        return x + x * gate


class Head(nn.Module):
    """[B, C, H, W] -> logits [B, classes, H, W]."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = Unit(channels, channels)
        self.conv_out = nn.Conv2d(channels, num_classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.conv(x))


class BiSeNet(VerifiedModelMixin):
    """Face parser of the published kind, by default of the published size (13,150,272 parameters).

    `facekit.conditions.semantics.parse` takes it, and so does `FaceEditPipeline` as its `face_parser`. Its classes have
    the order of `facekit.conditions.semantics.CLASS_NAMES`. `facekit convert bisenet` brings the published weights.

    Args:
        sample_size: side in pixels to which pictures are scaled, a multiple of 32.
        width: channels of the ResNet's first stage.
        num_classes: classes.

    Raises:
        ValueError: `sample_size` is no multiple of 32.
    """

    @register_to_config
    def __init__(self, sample_size: int = 512, width: int = 64, num_classes: int = 19) -> None:
        super().__init__()
        if sample_size < 32 or sample_size % 32:
            raise ValueError(f"sample_size must be a multiple of 32, got {sample_size}")
        self.cp = ContextPath(width)
        self.ffm = FeatureFusion(4 * width)
        self.conv_out = Head(4 * width, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Picture `[B, 3, H, W]` in [-1, 1], of any size -> logits `[B, num_classes, H, W]`.

        Raises:
            ValueError: the picture has another shape.
        """
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"the parser reads [B, 3, H, W], got {list(image.shape)}")
        full, size = image.shape[-2:], (self.config.sample_size,) * 2
        if full != size:
            # On a CPU the antialiasing filter knows no bfloat16.
            scaled = F.interpolate(image.float(), size, mode="bilinear", antialias=True)
            image = scaled.to(image.dtype)
        eighth, context = self.cp(normalise_colours(image))
        logits = self.conv_out(self.ffm(eighth, context))
        return F.interpolate(logits, full, mode="bilinear", align_corners=True)
