"""Every picture of a folder is trained on, whatever its name and whatever lies beside it."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.train import tiny_stages
from tests.train.tiny_stages import DISCRIMINATOR, PRIOR, write_config
from train.data.images import ImageSource, read_picture
from train.prior.config import PriorConfig
from train.prior.trainer import PriorTrainer

NAMES = ("a.png", "b.PNG", "on-the-train.png", "validation of bread.jpg", "test.webp", "deep/er/c.jpeg")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures, each of its own grey, named as people name them."""
    root = tmp_path / "photos"
    for number, name in enumerate(NAMES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (40 * number,) * 3).save(root / name)
    return root


def greys(folder: Path, **options: object) -> set[int]:
    """The greys of the pictures that are read, to the nearest forty."""
    rows = ImageSource(str(folder), **options).load()  # type: ignore[arg-type]
    return {round(float(np.asarray(read_picture(row["image"])).mean()) / 40) for row in rows}


def test_names_of_splits_in_a_file_name_leave_nothing_out(folder: Path) -> None:
    assert greys(folder) == set(range(6))


def test_captions_and_other_files_beside_the_pictures(folder: Path) -> None:
    for name in NAMES:
        (folder / name).with_suffix(".txt").write_text("a caption")
    (folder / "notes.json").write_text("{}")
    assert greys(folder) == set(range(6))


def test_pictures_without_a_metadata_row(folder: Path) -> None:
    rows = [{"file_name": "a.png", "kind": "old"}, {"file_name": "b.PNG", "kind": "new"}]
    rows[0] |= {"points": [[1, 2]], "score": 1}
    rows[1] |= {"score": 0.5}
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    (folder / "deep" / "metadata.csv").write_text("file_name,kind\ner/c.jpeg,old\n")
    assert greys(folder) == set(range(6))
    assert greys(folder, exclude={"kind": ["old"]}) == {1, 2, 3, 4}
    assert greys(folder, exclude={"kind": [None]}) == {0, 1, 5}
    assert greys(folder, exclude={"score": [0.5]}) == {0, 2, 3, 4, 5}
    with pytest.raises(ValueError, match=r"'points'.*'kind'"):
        greys(folder, exclude={"points": [1]})
    (folder / "metadata.jsonl").write_text('{"file_name": "a.png"}\n{"file_name": \n')
    with pytest.raises(ValueError, match=r"line 2 of .*metadata\.jsonl is no JSON"):
        greys(folder)


def test_splits_are_folders(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"no split 'validation'.*the split of all of them is train"):
        greys(folder, split="validation")
    for split, shade in (("train", 1), ("val", 5)):
        (folder.parent / "both" / split).mkdir(parents=True)
        Image.new("RGB", (32, 32), (40 * shade,) * 3).save(folder.parent / "both" / split / "x.png")
    assert greys(folder.parent / "both") == {1}
    assert greys(folder.parent / "both", split="validation") == {5}


def test_a_run_says_how_many(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    networks = {"prior": PRIOR, "discriminator": DISCRIMINATOR, "latent_samples": 8}
    config = write_config(tmp_path / "run", folder, **networks)
    train = partial(tiny_stages.run, PriorTrainer, PriorConfig, config)
    train(tmp_path / "all", max_steps=1)
    assert "training on 6 pictures" in capsys.readouterr().out
    train(tmp_path / "one", max_steps=1, shots=1)
    assert "training on 1 picture\n" in capsys.readouterr().out
