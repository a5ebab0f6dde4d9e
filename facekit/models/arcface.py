"""Face identity network of e4e's and pSp's identity losses: IR-SE50 with 512 outputs (ArcFace-trained)."""

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import nn

from facekit.models.identity_encoder import FaceIdentity
from facekit.models.layers.ir_se import IRSEBackbone


class ArcFaceEncoder(FaceIdentity):
    """Aligned face -> unit vector; the scalar product of two such vectors measures how alike the identities are.

    The face alone is looked at: a picture is brought to `picture_size`, cropped, and averaged down to `sample_size`.

    Args:
        sample_size: side in pixels that the network reads, a multiple of 16.
        picture_size: side in pixels of the pictures that `crop` belongs to.
        crop: first and last row (exclusive), first and last column of the face in such a picture, as FFHQ aligns it.
        stem_channels, channels, num_blocks, se_reduction: widths and depths of the backbone.
        embedding_dim: E, length of the vector.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 112,
        picture_size: int = 256,
        crop: tuple[int, int, int, int] = (35, 223, 32, 220),
        stem_channels: int = 64,
        channels: tuple[int, ...] = (64, 128, 256, 512),
        num_blocks: tuple[int, ...] = (3, 4, 14, 3),
        se_reduction: int = 16,
        embedding_dim: int = 512,
    ) -> None:
        super().__init__()
        self.backbone = IRSEBackbone(3, stem_channels, tuple(channels), tuple(num_blocks), se_reduction)
        self.map_norm = nn.BatchNorm2d(channels[-1])
        self.linear = nn.Linear(channels[-1] * (sample_size // 16) ** 2, embedding_dim)
        self.embedding_norm = nn.BatchNorm1d(embedding_dim)

    def forward(self, image: torch.Tensor, normalize: bool = True) -> torch.Tensor:
        """Faces [B, 3, H, W] in [-1, 1] -> vectors [B, E], of unit length unless `normalize` is off.

        Faces may have any size; they are square.

        Raises:
            ValueError: `image` has another shape.
        """
        if image.ndim != 4 or image.shape[1] != 3:
            raise ValueError(f"the identity encoder reads [B, 3, H, W], got {list(image.shape)}")
        if image.shape[-2:] != (self.config.picture_size,) * 2:
            image = F.adaptive_avg_pool2d(image, self.config.picture_size)
        top, bottom, left, right = self.config.crop
        face = F.adaptive_avg_pool2d(image[:, :, top:bottom, left:right], self.config.sample_size)
        features = self.map_norm(self.backbone(face)[-1])
        embedding = self.embedding_norm(self.linear(features.flatten(1)))
        return F.normalize(embedding.float(), dim=1).to(embedding.dtype) if normalize else embedding
