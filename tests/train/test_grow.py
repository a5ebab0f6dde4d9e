"""Networks that grow from small pictures to larger ones."""

import pytest
import torch
import torch.nn.functional as F

from facekit.models.layers.resample import FIRFilter
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator
from tests.train.tiny_stages import DISCRIMINATOR, ENCODER, PRIOR
from train.starts.grow import grow


def test_grown_generator_begins_with_its_old_picture_enlarged() -> None:
    small = StyleGAN2Generator(**PRIOR).eval()
    small.latent_avg.normal_()
    large = StyleGAN2Generator(**(PRIOR | {"sample_size": 32})).eval()
    fresh = grow(small, large)
    codes = torch.randn(2, large.num_styles, 8)
    with torch.no_grad():
        before = small(w_plus=codes, noise="fixed").image
        after = large(w_plus=codes, noise="fixed").image
    torch.testing.assert_close(after, FIRFilter().upsample(before))
    torch.testing.assert_close(large.latent_avg[-1], small.latent_avg[-1])
    assert fresh and all(name.startswith(("levels.2.", "noise_")) for name in fresh)


def test_grown_discriminator_keeps_what_it_knows_of_small_maps() -> None:
    small = StyleGAN2Discriminator(sample_size=16, **DISCRIMINATOR).eval()
    large = StyleGAN2Discriminator(sample_size=32, **DISCRIMINATOR).eval()
    grow(small, large)
    features = torch.randn(2, 8, 16, 16)
    with torch.no_grad():
        x, y = features, features
        for block in small.blocks:
            x = block(x)
        for block in large.blocks[1:]:
            y = block(y)
    torch.testing.assert_close(x, y)
    torch.testing.assert_close(small.logit.weight, large.logit.weight)
    image = torch.randn(2, 3, 32, 32)
    assert torch.isfinite(large(image)).all() and F.mse_loss(large(image), small(image[:, :, ::2, ::2])) > 0


@pytest.mark.parametrize(
    ("small", "large", "message"),
    [
        (StyleGAN2Generator(**(PRIOR | {"sample_size": 32})), StyleGAN2Generator(**PRIOR), "32 pixels"),
        (StyleGAN2Generator(**PRIOR), StyleGAN2Discriminator(sample_size=32, **DISCRIMINATOR), "cannot grow"),
        (StyleEncoder(**ENCODER), StyleEncoder(**ENCODER), "cannot grow"),
        (
            StyleGAN2Generator(**PRIOR),
            StyleGAN2Generator(**(PRIOR | {"sample_size": 32, "style_dim": 12})),
            "only sample_size",
        ),
    ],
)
def test_what_does_not_fit_is_refused(small, large, message) -> None:
    with pytest.raises(ValueError, match=message):
        grow(small, large)
