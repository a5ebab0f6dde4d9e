"""Face identity network of the published identity losses: a ResNet-101 with 256 outputs (ArcFace-trained)."""

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import nn

from facekit.models.base import VerifiedModelMixin


class Bottleneck(nn.Module):
    """Residual bottleneck ("Deep Residual Learning"), [B, C, H, W] -> [B, 4 w, H / stride, W / stride]."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        out_channels = 4 * width
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + shortcut)


class FaceIdentity(VerifiedModelMixin):
    """A network that turns an aligned face into a unit vector."""

    def similarity(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """Two batches of faces [B, 3, H, W] in [-1, 1] -> cosine similarity of each pair, [B] in [-1, 1]."""
        return (self(first).float() * self(second).float()).sum(1)


class IdentityEncoder(FaceIdentity):
    """Aligned face -> unit vector; the scalar product of two such vectors measures how alike the identities are.

    The published size, the default, has 43,024,704 parameters. Parameters are named as in torchvision's ResNet, so
    that a published state dict loads as it is.

    Args:
        sample_size: side in pixels to which faces are resized.
        num_blocks: bottleneck blocks of each stage.
        width: of the first stage; it doubles with every stage.
        embedding_dim: E, length of the vector.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 112,
        num_blocks: tuple[int, ...] = (3, 4, 23, 3),
        width: int = 64,
        embedding_dim: int = 256,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for stage, depth in enumerate(num_blocks):
            blocks = nn.Sequential()
            for index in range(depth):
                stride = 2 if stage and index == 0 else 1
                blocks.append(Bottleneck(channels, width << stage, stride))
                channels = 4 * (width << stage)
            self.add_module(f"layer{stage + 1}", blocks)
        self.fc = nn.Linear(channels, embedding_dim)

    def forward(self, image: torch.Tensor, normalize: bool = True) -> torch.Tensor:
        """Faces [B, 3, H, W] in [-1, 1] -> vectors [B, E], of unit length unless `normalize` is off.

        Faces may have any size: they are resized to `sample_size`, bilinearly, without crop and antialiasing.

        Raises:
            ValueError: `image` has another shape.
        """
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"the identity encoder reads [B, 3, H, W], got {list(image.shape)}")
        size = (self.config.sample_size, self.config.sample_size)
        if image.shape[-2:] != size:
            image = F.interpolate(image, size, mode="bilinear", align_corners=False)
        x = F.relu(self.bn1(self.conv1(image.contiguous(memory_format=torch.channels_last))))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for stage in range(len(self.config.num_blocks)):
            x = getattr(self, f"layer{stage + 1}")(x)
        embedding = self.fc(x.mean((2, 3)))
        return F.normalize(embedding.float(), dim=1).to(embedding.dtype) if normalize else embedding
