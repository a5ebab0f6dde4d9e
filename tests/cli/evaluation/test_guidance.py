"""Sketches for SC-FEGAN and landmarks for LaFIn, made of exemplars."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facekit.conditions.sketch import canny_edges
from facekit.metrics import networks
from tests.helpers.evaluation import SIZE, evaluate


def test_sketches_are_edges_of_the_exemplar_in_the_hole(
    data: Path, tmp_path: Path, no_downloads: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("fig-5.6", "--data", data, "--export-inputs", tmp_path) == 0
    for key in ("fixed", "90-100"):
        for name in "0123":
            exemplar = np.asarray(Image.open(tmp_path / key / "exemplar" / f"{name}.png"))
            hole = np.asarray(Image.open(tmp_path / key / "mask" / f"{name}.png")) > 0
            sketch = np.asarray(Image.open(tmp_path / key / "sc-fegan" / f"{name}.png"))
            assert sketch.shape == (SIZE, SIZE) and sketch.dtype == np.uint8 and sketch.any()
            np.testing.assert_array_equal(sketch > 0, (canny_edges(exemplar) > 0) & hole)
            assert set(np.unique(sketch)) <= {0, 255}
    said = capsys.readouterr().err
    assert "landmarks for LaFIn were left out" in said and "68 points" in said
    assert not list(tmp_path.rglob("lafin"))


def test_landmarks_as_lafin_reads_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    looked: list[np.ndarray] = []

    def find(picture: np.ndarray) -> np.ndarray | None:
        looked.append(picture)
        dark = picture.max() < 200  # pictures 1 and 3 are
        return None if dark else np.arange(136.0).reshape(68, 2) + picture.mean()

    monkeypatch.setattr(networks, "fan_landmarks", lambda device: find)  # its weights are not to be had here
    assert evaluate("5.1", "--data", data, "--export-inputs", tmp_path) == 0
    assert len(looked) == 4  # once for each exemplar, though there are ten kinds of holes
    lists = {
        name: (tmp_path / "fixed/lafin" / f"{name}.flist").read_text().split()
        for name in ("images", "masks", "landmarks")
    }
    assert [Path(path).stem for path in lists["landmarks"]] == ["1", "3"]  # exemplars 2 and 0
    for kind, paths in lists.items():
        assert [Path(path).stem for path in paths] == ["1", "3"] and all(
            Path(path).is_file() for path in paths
        ), kind
    points = np.genfromtxt(lists["landmarks"][0]).reshape(68, 2)
    exemplar = np.asarray(Image.open(tmp_path / "fixed/exemplar/1.png"))
    np.testing.assert_allclose(points, find(exemplar), atol=0.01)
    truth = np.asarray(Image.open(lists["images"][0]))
    np.testing.assert_array_equal(truth, np.asarray(Image.open(data / "val/1.png")))
    assert "no face in the exemplars of 2 of 4 pictures of fixed, 0 for example" in capsys.readouterr().err


def test_tables_without_exemplars_have_none(data: Path, tmp_path: Path, no_downloads: None) -> None:
    assert evaluate("4.5", "--data", data, "--export-inputs", tmp_path) == 0
    assert not list(tmp_path.rglob("sc-fegan"))
