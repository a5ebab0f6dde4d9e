"""The damage finder: shapes, sizes, and what it can learn."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.data import astronaut

from facekit.damage.classical import find_damage_classically
from facekit.damage.score import Agreement, compare
from facekit.damage.wear import wear
from facekit.models.damage_finder import DamageFinder
from facekit.pipelines.mend.find import find_chances, find_damage, list_sides


def tiny(**options: object) -> DamageFinder:
    torch.manual_seed(0)
    return DamageFinder(**({"channels": (8, 12, 16), "depths": (0, 1, 1), "working_side": 32} | options))


def test_logits_have_the_photos_size() -> None:
    finder = tiny().eval()
    for height, width in ((32, 32), (40, 24), (33, 47), (8, 8), (1, 5)):
        image = torch.rand(2, 3, height, width)
        assert finder(image).shape == (2, 1, height, width)


def test_whole_photos_are_looked_at_at_one_scale() -> None:
    finder = tiny().eval()
    small = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    as_it_is = find_chances(finder, small)
    expected = finder(torch.from_numpy(small).permute(2, 0, 1)[None] / 127.5 - 1).sigmoid()[0, 0]
    np.testing.assert_allclose(as_it_is, expected.detach().numpy(), atol=1e-4)
    large = find_chances(finder, small.repeat(4, axis=0).repeat(4, axis=1))
    np.testing.assert_allclose(large[2::4, 2::4], as_it_is, atol=0.05)


def test_large_photos_are_looked_at_twice() -> None:
    """What either copy shows counts; a photo that is smaller than the finer copy is not enlarged for it."""
    photo = np.random.default_rng(0).integers(0, 256, (96, 64, 3), np.uint8)
    both = find_chances(tiny(fine_side=64).eval(), photo)
    coarse, fine = (find_chances(tiny(working_side=side).eval(), photo) for side in (32, 64))
    np.testing.assert_allclose(both, np.maximum(coarse, fine), atol=1e-5)
    assert (coarse > fine).any() and (fine > coarse).any()
    finder = tiny(fine_side=64)
    assert [list_sides(finder, side) for side in (16, 32, 33, 64, 3000)] == [
        [32],
        [32],
        [32, 33],
        [32, 64],
        [32, 64],
    ]
    assert list_sides(tiny(), 3000) == [32]


def test_half_precision() -> None:
    finder = tiny().eval().to(torch.bfloat16)
    chances = find_chances(finder, np.full((50, 41, 3), 90, np.uint8))
    assert chances.dtype == np.float32 and np.isfinite(chances).all()
    assert 0 <= chances.min() and chances.max() <= 1


def test_every_weight_gets_a_gradient() -> None:
    finder = tiny()
    finder(torch.rand(4, 3, 32, 32)).square().mean().backward()
    for name, parameter in finder.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_learns_bright_lines() -> None:
    finder = tiny()
    optimizer = torch.optim.Adam(finder.parameters(), 0.01)
    for _ in range(60):
        images, truth = 0.2 * torch.randn(4, 3, 32, 32), torch.zeros(4, 1, 32, 32)
        for image, mask, row in zip(images, truth, torch.randint(0, 31, (4,)).tolist(), strict=True):
            image[:, row : row + 2] += 1
            mask[:, row : row + 2] = 1
        loss = F.binary_cross_entropy_with_logits(finder(images), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = finder.eval()(images) > 0
    assert (found == (truth > 0)).float().mean() > 0.98


def test_saved_and_loaded(tmp_path: Path) -> None:
    finder = tiny(threshold=0.7).eval()
    finder.save_pretrained(tmp_path)
    again = DamageFinder.from_pretrained(tmp_path)
    image = torch.rand(1, 3, 20, 20)
    assert not again.training and torch.allclose(finder(image), again(image), atol=1e-6)
    assert again.config.threshold == 0.7 and again.config.working_side == 32


def test_the_usual_network_is_small() -> None:
    with torch.device("meta"):
        finder = DamageFinder()
    assert 2 * sum(value.numel() for value in finder.state_dict().values()) < 5e6


def test_wrong_options_are_refused() -> None:
    wrong = {
        "as many depths": {"depths": (1,)},
        "one level or more": {"channels": (), "depths": ()},
        "threshold must be between 0 and 1": {"threshold": 1.0},
        "working_side must be 8 or more": {"working_side": 7},
        "fine_side must be more than working_side, 32": {"fine_side": 32},
    }
    for message, options in wrong.items():
        with pytest.raises(ValueError, match=message):
            tiny(**options)


def test_bundled_weights_find_drawn_damage() -> None:
    """On a photo that took no part in training: damage is marked, and next to nothing where there is none."""
    folder = Path(__file__).resolve().parents[2] / "hub_cards" / "photo-mend-starter-256" / "damage_finder"
    assert sum(path.stat().st_size for path in folder.glob("*.safetensors")) < 5e6
    finder = DamageFinder.from_pretrained(folder).eval()
    ours, classical = Agreement(), Agreement()
    for seed in (1, 2):
        worn, truth = wear(astronaut(), seed)
        ours += compare(find_damage(finder, worn), truth)
        classical += compare(find_damage_classically(worn), truth)
    assert ours.f1 > 0.6 and ours.f1 > 1.2 * classical.f1
    assert find_damage(finder, astronaut()).mean() < 0.01
