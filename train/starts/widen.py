"""An RGB style encoder as the beginning of one that reads all modalities."""

import torch

from facekit.models.style_encoder import StyleEncoder


@torch.no_grad()
def widen_input(encoder: StyleEncoder, channels: int) -> StyleEncoder:
    """The same encoder with `channels` inputs; the new ones come last and have no effect yet.

    Raises:
        ValueError: it has more inputs than that.
    """
    given = encoder.config.in_channels
    if given == channels:
        return encoder
    if given > channels:
        raise ValueError(f"the encoder reads {given} channels, this run gives it {channels}")
    wide = StyleEncoder.from_config({**encoder.config, "in_channels": channels})
    state = encoder.state_dict()
    stem = wide.backbone.stem[0].weight
    kernel = torch.zeros_like(stem)
    kernel[:, :given] = encoder.backbone.stem[0].weight
    state["backbone.stem.0.weight"] = kernel
    wide.load_state_dict(state)
    return wide
