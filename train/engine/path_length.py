"""Path-length regularisation of a generator (Karras et al. 2020), in an update of its own."""

import torch
from torch import Tensor

from facekit.losses.path_length import path_length_penalty, path_lengths
from train.engine.stage import Stage


class MeanLength(torch.nn.Module):
    """The running mean of path lengths, 0 at the start as in StyleGAN2."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("value", torch.zeros(()))

    def follow(self, length: Tensor, decay: float) -> Tensor:
        """Move towards a new mean length and return where it stands."""
        self.value.lerp_(length, decay)
        return self.value.clone()


def regularize_path(
    stage: Stage, mean_length: MeanLength, image: Tensor, w_plus: Tensor, direction: Tensor
) -> None:
    """Backpropagate the penalty that pulls path lengths towards their mean; takes no step.

    Args:
        stage: with `path` among its options.
        mean_length: follows the mean of all processes.
        image: [B, 3, S, S], made of the codes `w_plus` [B, n, D].
        direction: N(0, 1), shaped as `image`.
    """
    options = stage.config.path
    lengths = path_lengths(image, w_plus, direction)
    mean = stage.accelerator.reduce(lengths.detach().mean(), "mean")
    mean = mean_length.follow(mean, options.decay)
    penalty = path_length_penalty(lengths, mean)
    stage.accelerator.backward(options.weight * options.every * penalty)
    stage.run.curves.record(path_length=mean, path_penalty=penalty)
