"""Everything that is drawn or shown, as the one tensor that the multimodal style encoder reads."""

import torch

NUM_CLASSES = 19
ENCODER_CHANNELS = 3 + 1 + NUM_CLASSES + 3  # picture, sketch, semantic map, colour


def encoder_input(
    image: torch.Tensor | None = None,
    sketch: torch.Tensor | None = None,
    semantics: torch.Tensor | None = None,
    color: torch.Tensor | None = None,
) -> torch.Tensor:
    """Modalities -> [B, 26, H, W]: RGB, sketch, 19 classes, colour, the order of the published encoder.

    Args:
        image: [B, 3, H, W] in [-1, 1]: an exemplar, or the masked picture (0 in the hole).
        sketch: [B, 1, H, W], 1 = stroke.
        semantics: [B, 19, H, W], one-hot in BiSeNet order; all-zero where nothing is said.
        color: [B, 3, H, W] in [-1, 1], 0 where nothing is said.

    What is left out becomes zeros. Dtype and device are those of the first that is given.
    Raises ValueError when nothing is given or the maps do not fit each other.
    """
    given = {"image": (image, 3), "sketch": (sketch, 1), "semantics": (semantics, NUM_CLASSES)}
    given["color"] = (color, 3)
    first = next((tensor for tensor, _ in given.values() if tensor is not None), None)
    if first is None:
        raise ValueError("give at least one of image, sketch, semantics and color")
    parts = []
    for name, (tensor, channels) in given.items():
        expected = [first.shape[0], channels, *first.shape[2:]]
        if tensor is None:
            parts.append(first.new_zeros(expected))
        elif list(tensor.shape) != expected:
            raise ValueError(f"{name} must have the shape {expected}, not {list(tensor.shape)}")
        else:
            parts.append(tensor.to(first))
    return torch.cat(parts, 1)
