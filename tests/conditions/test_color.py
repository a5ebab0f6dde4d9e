"""Colour guidance: the reference picture, means against plain loops, and strokes that were painted."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from facekit.conditions.color import color_tensor, mean_colors, read_color, region_means
from tests.helpers.parity_data import PARITY


def test_reference_colours_bit_for_bit() -> None:
    stored = load_file(PARITY / "facemug" / "encoders.seed0.safetensors")
    assert np.array_equal(region_means(stored["prep.rgb"], stored["prep.labels"]), stored["prep.colour"])


def test_reference_means(shared_dir: Path) -> None:
    stored = load_file(shared_dir / "parity" / "facemug" / "golden.seed0.safetensors")
    means, region = mean_colors(stored["prep.rgb"], stored["prep.labels"])
    for row, label in enumerate(np.unique(stored["prep.labels"])):
        np.testing.assert_allclose(means[row], stored["prep.region_means"][label], rtol=1e-6)
        assert (region[stored["prep.labels"] == label] == row).all()


def test_means_round_to_even_and_leave_out_what_is_unlabelled() -> None:
    pixels = np.array([[[0, 10, 255], [1, 13, 254], [9, 9, 9]], [[2, 2, 2], [3, 4, 5], [7, 7, 7]]], np.uint8)
    labels = np.array([[4, 4, -1], [17, 17, 0]])
    painted = region_means(pixels, labels)
    assert painted[0, 0].tolist() == painted[0, 1].tolist() == [0, 12, 254]  # of 0.5, 11.5, 254.5
    assert painted[1, 0].tolist() == [2, 3, 4]  # of 2.5, 3, 3.5
    assert painted[0, 2].tolist() == [0, 0, 0] and painted[1, 2].tolist() == [7, 7, 7]
    said = color_tensor(painted, labels >= 0)
    assert said.shape == (3, 2, 3) and said[:, 0, 2].tolist() == [0, 0, 0]
    assert torch.allclose(said[:, 1, 2], torch.tensor(7 / 127.5 - 1))
    assert color_tensor(painted)[0, 0, 2] == -1


def test_strokes_are_read_where_they_are_drawn() -> None:
    layer = np.zeros((16, 20, 4), np.uint8)
    layer[..., :3] = 77  # what an editor leaves under transparent pixels
    layer[1, 2:5] = (200, 10, 30, 128)
    for given in (layer, Image.fromarray(layer)):
        colors, said, notes = read_color(given, (20, 16))
        assert said.dtype == np.bool_ and said.sum() == 3 and said[1, 2:5].all()
        assert colors[1, 3].tolist() == [200, 10, 30] and not notes
    colors, said, _ = read_color(layer[..., :3], (20, 16))
    assert said.all() and np.array_equal(colors, layer[..., :3])
    _, said, notes = read_color(layer, (40, 32))
    assert said.sum() == 12 and notes == ["color of 20x16 was resized to the photo's 40x32"]
    with pytest.raises(ValueError, match="color is 20x16 and the photo 20x20: the shapes differ"):
        read_color(layer, (20, 20))


def test_other_input_is_refused() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    for wrong in (np.zeros((4, 4), np.uint8), pixels.astype(np.float32)):
        with pytest.raises(ValueError, match="8-bit"):
            region_means(wrong, np.zeros((4, 4), int))
    for labels in (np.zeros((4, 5), int), np.zeros((4, 4))):
        with pytest.raises(ValueError, match=r"whole numbers \[4, 4\]"):
            region_means(pixels, labels)
