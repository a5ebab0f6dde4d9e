"""Spatially variant gradients (thesis Section 5.2.4): losses of a whole picture that act where they should.

The gradient layer leaves a picture as it is and weighs the gradient that comes back, pixel by pixel (Eq. 5.10).
Confidence masks M_w weigh the rim of the hole high (LPIPS loss), reverse masks (1 - M_w) M its middle (attribute
loss).
"""

import math
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Nominal standard deviation of the published kernel: its taps span +-1/40 of the normal distribution, so it is
# all but a box.
PUBLISHED_SIGMA = 1 / 40


class _SpatialGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(weight)
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return grad * weight, None


def spatial_gradient(x: Tensor, weight: Tensor) -> Tensor:
    """P(x, M_x) of Eq. 5.10: x itself, whose gradient is multiplied by `weight` on its way back.

    Args:
        x: [B, C, H, W].
        weight: [B or 1, 1 or C, H, W]; no gradient flows into it.

    Raises:
        ValueError: the shapes do not fit.
    """
    fits = weight.ndim == x.ndim == 4 and weight.shape[2:] == x.shape[2:]
    if not fits or weight.shape[0] not in (1, x.shape[0]) or weight.shape[1] not in (1, x.shape[1]):
        raise ValueError(f"the weight {list(weight.shape)} does not fit the picture {list(x.shape)}")
    return _SpatialGradient.apply(x, weight.detach().to(x.dtype))


@cache
def _taps(kernel_size: int, sigma: float | None) -> Tensor:
    """One axis of the smoothing kernel [k], sum 1, in float32; `sigma` None is the published kernel."""
    if sigma is not None:
        middle = (kernel_size - 1) / 2
        values = [math.exp(-0.5 * ((i - middle) / sigma) ** 2) for i in range(kernel_size)]
    else:
        half = (2 * PUBLISHED_SIGMA + 1) / kernel_size / 2 + PUBLISHED_SIGMA
        edges = [half * (2 * i / kernel_size - 1) for i in range(kernel_size + 1)]
        areas = [0.5 * (math.erf(b / math.sqrt(2)) - math.erf(a / math.sqrt(2))) for a, b in pairwise(edges)]
        values = [math.sqrt(area) for area in areas]
    total = math.fsum(values)
    return torch.tensor([value / total for value in values])


@dataclass(frozen=True)
class SpatialWeights:
    """How confidence and reverse masks are made of a hole. Defaults: the thesis (Section 5.2.5).

    Attributes:
        kernel_size: side of the smoothing kernel in pixels.
        sigma: its standard deviation in pixels; None: the published, almost box-like kernel.
        iterations: rounds of smoothing; the known region is set to 1 again before each. The thesis does not say how
            many: these are the published code's.
        rescale: stretch reverse masks to [0, 1], with minimum and maximum over the whole batch (published code).
    """

    kernel_size: int = 64
    sigma: float | None = 40.0
    iterations: int = 7
    rescale: bool = False

    def __post_init__(self) -> None:
        if self.kernel_size < 1 or self.iterations < 1 or not (self.sigma is None or self.sigma > 0):
            raise ValueError(
                f"kernel_size {self.kernel_size}, iterations {self.iterations} and sigma {self.sigma} must be positive"
            )

    @classmethod
    def published(cls) -> "SpatialWeights":
        """The masks of the published code."""
        return cls(kernel_size=65, sigma=None, rescale=True)

    def smooth(self, x: Tensor) -> Tensor:
        """[B, 1, H, W] smoothed after reflection at the border, same size.

        An even kernel reaches one pixel further up and left.
        """
        before = self.kernel_size // 2
        after = self.kernel_size - 1 - before
        if min(x.shape[2:]) <= before:
            raise ValueError(
                f"masks of {list(x.shape[2:])} are too small for a kernel of {self.kernel_size}: "
                f"choose kernel_size below {2 * min(x.shape[2:])}"
            )
        taps = _taps(self.kernel_size, self.sigma).to(x)
        x = F.pad(x, (before, after, before, after), mode="reflect")
        return F.conv2d(F.conv2d(x, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))

    @torch.no_grad()
    def confidence(self, mask: Tensor) -> Tensor:
        """Hole [B, 1, H, W], 1 = missing -> M_w: falls from the rim of the hole inwards, 0 outside.

        A hole without anything known around it has no rim: 0 everywhere. ValueError for another shape, or pictures
        smaller than half the kernel.
        """
        if mask.ndim != 4 or mask.shape[1] != 1:
            raise ValueError(f"mask must have the shape [B, 1, H, W], not {list(mask.shape)}")
        known = 1 - mask.float()
        smoothed = known
        for _ in range(self.iterations):
            weight = self.smooth(smoothed) * (1 - known)
            smoothed = weight + known
        return weight

    @torch.no_grad()
    def reverse(self, mask: Tensor, confidence: Tensor | None = None) -> Tensor:
        """Hole [B, 1, H, W] -> (1 - M_w) M: rises from the rim of the hole inwards, 0 outside.

        Args:
            confidence: M_w, where it has been computed already.

        With `rescale` a batch whose values are all the same is left as it is: an empty hole gives zeros.
        """
        confidence = self.confidence(mask) if confidence is None else confidence
        weight = (1 - confidence) * mask.float()
        if not self.rescale:
            return weight
        low, high = weight.amin(), weight.amax()
        span = high - low
        return torch.where(span > 0, (weight - low) / torch.where(span > 0, span, 1.0), weight)
