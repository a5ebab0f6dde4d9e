"""Pictures as networks that were trained on ImageNet read them."""

from torch import Tensor

# Of the colours of ImageNet's pictures in [0, 1].
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalise_colours(image: Tensor) -> Tensor:
    """Pictures [B, 3, H, W] in [-1, 1] -> the same with ImageNet's mean taken off and in units of its deviation."""
    mean, deviation = (image.new_tensor(x)[:, None, None] for x in (MEAN, DEVIATION))
    return (image / 2 + 0.5 - mean) / deviation
