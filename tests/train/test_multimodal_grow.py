"""The refinement auto-encoder grows from small pictures to larger ones."""

import pytest
import torch

from facekit.models.layers.resample import FIRFilter
from facekit.models.refiner import RefinementAutoEncoder
from train.starts.grow_refiner import grow_refiner

TINY = {"style_dim": 6, "channel_base": 64, "max_channels": 8, "in_channels": 3, "global_dim": 5}


def bank(network: RefinementAutoEncoder) -> list[torch.Tensor]:
    source = torch.Generator().manual_seed(1)
    return [
        torch.randn(2, channels, 4 * 2**k, 4 * 2**k, generator=source)
        for k, channels in enumerate(network.channels)
    ]


@pytest.mark.parametrize("size", [32, 64])
def test_begins_with_its_old_picture_enlarged(size: int) -> None:
    torch.manual_seed(0)
    small = RefinementAutoEncoder(16, **TINY, skips=True).eval()
    large = RefinementAutoEncoder(size, **TINY, skips=True).eval()
    grow_refiner(small, large)
    fir, features = FIRFilter(), torch.randn(2, 3, size, size)
    codes, lower = torch.randn(2, large.num_styles, 6), features
    while lower.shape[2] > 16:
        lower = fir.blur(lower, 1, stride=2)
    with torch.no_grad():
        expected = small(lower, codes, bank(small), noise="fixed")
        for _ in range(size // 32):
            expected = fir.upsample(expected)
        actual = large(features, codes, bank(large), noise="fixed")
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)

    # What is silent learns.
    large(features, codes, bank(large)).square().mean().backward()
    step = len(large.encoder) - len(small.encoder) - 1
    for weight in (large.encoder[step].down.conv.weight, large.to_rgb[-1].weight):
        assert weight.grad.abs().max() > 0


def test_what_does_not_fit_is_refused() -> None:
    small, large = (RefinementAutoEncoder(size, **TINY, skips=True) for size in (16, 32))
    with pytest.raises(ValueError, match="32 pixels cannot grow to 16"):
        grow_refiner(large, small)
    with pytest.raises(ValueError, match="only sample_size may"):
        grow_refiner(small, RefinementAutoEncoder(32, **TINY | {"style_dim": 7}, skips=True))
    with pytest.raises(ValueError, match="skips=True"):
        grow_refiner(RefinementAutoEncoder(16, **TINY), large)
