"""From codes and features to faces (thesis 6.2.4, Eq. 6.6 to 6.8), and which networks fit together for it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from facekit.conditions.guidance import ENCODER_CHANNELS
from facekit.models.latent_warper import LatentWarper
from facekit.models.layers.unet import EncodedFace
from facekit.models.refiner import RefinementAutoEncoder
from facekit.models.style_directions import StyleDirections
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator


@dataclass(frozen=True)
class Renderer:
    """The networks of the pipeline that make pictures.

    Attributes:
        prior: codes -> features.
        refiner: features, codes and the prior's features -> face.
    """

    prior: StyleGAN2Generator
    refiner: RefinementAutoEncoder

    def draw_codes(self, z: Tensor, truncation_psi: float) -> Tensor:
        """Codes w^z [N, n, D] float32 of random vectors [N, D], drawn towards the average."""
        _, _, codes = self.prior(z, truncation_psi=truncation_psi, codes_only=True, return_dict=False)
        return codes.float()

    def render(
        self, w_plus: Tensor, encoded: EncodedFace, noise: str, generators: list[torch.Generator] | None
    ) -> Tensor:
        """Draw I_pred [B, 3, S, S] float32 under codes [B, n, D] and the refinement encoder's features."""
        _, bank, _ = self.prior(
            w_plus=w_plus.to(self.prior.dtype),
            noise=noise,
            generator=generators,
            stop_at=len(self.refiner.channels) - 1,
            feature_layer="conv",
            return_dict=False,
        )
        dtype = self.refiner.dtype
        return self.refiner(
            None,
            w_plus.to(dtype),
            [feature.to(dtype) for feature in bank],
            noise=noise,
            generator=generators,
            encoded=encoded,
        ).float()


def check_fit(
    style_encoder: StyleEncoder,
    prior: StyleGAN2Generator,
    latent_warper: LatentWarper,
    refiner: RefinementAutoEncoder,
    directions: StyleDirections | None,
) -> None:
    """Raise ValueError, naming the component, where networks of an edit pipeline do not fit each other."""
    channels = style_encoder.config.in_channels
    if channels != ENCODER_CHANNELS:
        raise ValueError(
            f"the style encoder reads {channels} channels; {ENCODER_CHANNELS} are needed (picture, sketch, "
            "semantic map, colour)."
        )
    expected = (prior.num_styles, prior.config.style_dim)
    found = {
        "style encoder": (style_encoder.config.num_styles, style_encoder.config.style_dim),
        "latent warper": (latent_warper.config.num_styles, latent_warper.config.style_dim),
    }
    if directions is not None:
        found["directions"] = (directions.config.num_styles, directions.config.style_dim)
    for name, shape in found.items():
        if shape != expected:
            raise ValueError(
                f"the prior has {expected[0]} codes of {expected[1]} numbers; the {name} has "
                f"{shape[0]} of {shape[1]}."
            )
    if refiner.config.style_dim != expected[1] or refiner.num_styles > expected[0]:
        raise ValueError(
            f"the refiner takes {refiner.num_styles} codes of {refiner.config.style_dim} numbers; the prior "
            f"has {expected[0]} of {expected[1]}."
        )
