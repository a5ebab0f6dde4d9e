"""Curves as pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit_cli.evaluation.curves import Graph, save_curves


def drawn(file: Path) -> np.ndarray:
    """The picture's pixels that have a colour of their own, as booleans [H, W]."""
    pixels = np.asarray(Image.open(file).convert("RGB")).astype(int)
    return np.ptp(pixels, axis=2) > 60


def test_a_curve_with_gaps(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """A value that is missing leaves the others in their places; no value at all leaves an empty graph."""
    words = ("Fixed", "10-20%", "20-30%", "30-40%")
    whole = Graph("a", words, {"ours": [1, 2, 3, 4]}, "share", "FID")
    late = Graph("a", words, {"ours": [None, None, 3, 4]}, "share", "FID")
    assert save_curves([whole], tmp_path / "whole.png") and save_curves([late], tmp_path / "late.png")
    # Both rise from the lower left; the legend is above.
    lower = [drawn(tmp_path / f"{name}.png")[180:] for name in ("whole", "late")]
    begins = [np.flatnonzero(part.any(0))[0] / part.shape[1] for part in lower]
    assert begins[0] < 0.35 and begins[1] > 0.5
    assert save_curves([Graph("a", words, {"ours": [None] * 4})], tmp_path / "none.png")
    assert not drawn(tmp_path / "none.png").any() and not recwarn.list


def test_several_graphs_share_a_picture(tmp_path: Path) -> None:
    graph = Graph("a", [1.0, 10.0], {"ours": [1, 2], "theirs": [2, 1]}, "step", "FID")
    assert save_curves([graph], tmp_path / "one.png") and save_curves([graph] * 4, tmp_path / "four.png")
    one, four = (Image.open(tmp_path / f"{name}.png").size for name in ("one", "four"))
    assert four == (3 * one[0], 2 * one[1])  # three in a row
