"""A refiner that begins as a reader of the prior's maps."""

import pytest
import torch

from facekit.models.refiner import RefinementAutoEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from train.starts.from_bank import start_from_bank
from train.starts.quiet import quieten_styles

SHAPE = {"style_dim": 8, "channel_base": 256, "max_channels": 12}


def pair(size: int = 32) -> tuple[StyleGAN2Generator, RefinementAutoEncoder]:
    torch.manual_seed(0)
    prior = StyleGAN2Generator(sample_size=32, num_mapping_layers=2, **SHAPE).eval()
    refiner = RefinementAutoEncoder(
        sample_size=size, in_channels=4, global_dim=6, dropout=0.0, skips=True, **SHAPE
    )
    quieten_styles(refiner, range(8), share=0.2)
    return prior, refiner.eval()


@torch.no_grad()
def picture(refiner: RefinementAutoEncoder, codes: torch.Tensor, bank: list[torch.Tensor]) -> torch.Tensor:
    features = torch.randn(len(codes), 4, refiner.config.sample_size, refiner.config.sample_size)
    return refiner(features, codes, bank, noise="none")


def likeness(first: torch.Tensor, second: torch.Tensor) -> float:
    return torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1].item()


@torch.no_grad()
def test_shows_the_prior_s_face_from_the_first_step_on() -> None:
    prior, refiner = pair()
    codes = torch.randn(2, prior.num_styles, 8)
    shown = prior(w_plus=codes, noise="fixed", feature_layer="conv")
    before = likeness(picture(refiner, codes, shown.features), shown.image)
    start_from_bank(refiner, prior)
    after = likeness(picture(refiner, codes, shown.features), shown.image)
    assert after > 0.7 > 0.4 > abs(before), (before, after)
    other = prior(w_plus=torch.randn_like(codes), noise="fixed", feature_layer="conv")
    assert likeness(picture(refiner, codes, other.features), shown.image) < after - 0.2


def test_gives_only_the_new_sizes(tmp_path) -> None:
    prior, refiner = pair()
    old = {name: value.clone() for name, value in refiner.state_dict().items()}
    start_from_bank(refiner, prior, first_level=3)
    changed = {name for name, value in refiner.state_dict().items() if not torch.equal(value, old[name])}
    assert changed and all(name.startswith(("decoder.3.", "to_rgb.3.")) for name in changed)


def test_refuses_a_refiner_that_writes_one_picture() -> None:
    prior, _ = pair()
    plain = RefinementAutoEncoder(sample_size=32, in_channels=4, global_dim=6, **SHAPE)
    with pytest.raises(ValueError, match="skips"):
        start_from_bank(plain, prior)
