"""Strokes as a loss sees them are those of the pencil filter."""

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from facekit.conditions.sketch import pencil_sketch
from facekit.losses.strokes import pencil_strength


def as_batch(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_as_dark_as_the_pencil_filter_draws(name: str) -> None:
    pixels = getattr(data, name)()
    drawn = (255 - pencil_sketch(pixels)).astype(np.float32) / 255
    strength = pencil_strength(as_batch(pixels))[0, 0].numpy()
    assert strength.shape == drawn.shape and strength.min() >= 0 and strength.max() <= 1
    assert np.corrcoef(strength.ravel(), drawn.ravel())[0, 1] > 0.95
    assert ((strength > 0.5) == (drawn > 0.5)).mean() > 0.95


@pytest.mark.parametrize("turned", [False, True])
def test_a_straight_edge_is_as_strong_as_the_filter_makes_it(turned: bool) -> None:
    pixels = np.full((16, 16, 3), 100, np.uint8)
    pixels[:, 8:] = 130
    if turned:
        pixels = np.ascontiguousarray(np.rot90(pixels))
    drawn = (255 - pencil_sketch(pixels)).astype(np.float32) / 255
    torch.testing.assert_close(
        pencil_strength(as_batch(pixels))[0, 0], torch.from_numpy(drawn), atol=2 / 255, rtol=0
    )


def test_following_its_gradient_draws_what_is_missing() -> None:
    truth = as_batch(cv2.resize(data.astronaut()[:200, 130:330], (48, 48), interpolation=cv2.INTER_AREA))
    wanted = pencil_strength(truth)
    image = torch.zeros_like(truth).add_(0.01 * torch.randn(truth.shape, generator=torch.manual_seed(0)))
    image.requires_grad_(True)
    optimizer = torch.optim.Adam([image], lr=0.02)
    errors = []
    for _ in range(60):
        optimizer.zero_grad()
        error = (pencil_strength(image) - wanted).abs().mean()
        error.backward()
        assert image.grad is not None and torch.isfinite(image.grad).all()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.4 * errors[0]
