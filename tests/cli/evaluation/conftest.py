"""Four small pictures of nobody, models of a few thousand parameters, and metrics that need no weights."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from facekit.metrics import WeightsUnavailable, networks
from facekit_cli.evaluation import participants
from tests.helpers.evaluation import SIZE
from tests.tiny.networks import tiny_text_guide
from tests.tiny.pipelines import (
    tiny_edit_pipeline,
    tiny_exemplar_pipeline,
    tiny_inpaint_pipeline,
    tiny_restore_pipeline,
)

LANDMARKS = [[22.0, 26.0], [42.0, 26.0], [32.0, 36.0], [25.0, 46.0], [39.0, 46.0]]


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """val/ with 0.png to 3.png, 64 pixels, metadata and semantic maps; train/ with two more."""
    folder = tmp_path_factory.mktemp("faces")
    portrait = Image.fromarray(np.ascontiguousarray(astronaut()[0:256, 100:356])).resize((SIZE, SIZE))
    labels = np.zeros((SIZE, SIZE), np.uint8)
    labels[12:56, 14:50] = 1
    labels[4:14, 14:50] = 17
    labels[24:29, 18:26] = 4
    for name in ("val", "train", "semantic/val"):
        (folder / name).mkdir(parents=True)
    lines = []
    for number in range(4):
        pixels = np.roll(np.asarray(portrait), 3 * number, axis=1)
        Image.fromarray(pixels // (1 + number % 2)).save(folder / "val" / f"{number}.png")
        Image.fromarray(np.roll(labels, 3 * number, axis=1)).save(folder / "semantic/val" / f"{number}.png")
        points = np.array(LANDMARKS)
        points[2, 0] += number
        lines.append({"file_name": f"{number}.png", "landmarks5": points.tolist(), "label": "a face"})
        if number < 2:
            Image.fromarray(pixels[:, ::-1].copy()).save(folder / "train" / f"{number}.png")
    (folder / "val/metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A folder for each task, "clip", and inpaint-5 to inpaint-50, which training wrote."""
    folder = tmp_path_factory.mktemp("models")
    made = {
        "restore": tiny_restore_pipeline(),
        "inpaint": tiny_inpaint_pipeline(),
        "exemplar": tiny_exemplar_pipeline(identity=True),
        "edit": tiny_edit_pipeline(),
    }
    for name, pipeline in made.items():
        pipeline.save_pretrained(folder / name)
    for shots in (5, 10, 30, 50):  # as training leaves them
        (folder / f"inpaint-{shots}").mkdir()
        (folder / f"inpaint-{shots}" / "pipeline").symlink_to(folder / "inpaint")
    guide = tiny_text_guide()
    guide.model.save_pretrained(folder / "clip")
    guide.tokenizer.save_pretrained(folder / "clip")
    return {name: str(folder / name) for name in [*made, "clip"]}


@pytest.fixture
def no_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is nothing that reads words."""

    def missing(*args: object) -> None:
        raise WeightsUnavailable("no CLIP here")

    monkeypatch.setattr(participants, "_text_guide", missing)


@pytest.fixture
def no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that would be fetched are not to be had; LPIPS is a mean difference. Lite0 comes with a package."""

    def missing(*args: object, **kwargs: object) -> None:
        raise WeightsUnavailable("cannot be fetched here")

    def difference(*args: object, **kwargs: object) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        return lambda a, b: np.abs(a.astype(np.float32) - b).mean((1, 2, 3)) / 255

    for name in ("inception_features", "niqe_score", "emotion_recogniser", "fan_landmarks"):
        monkeypatch.setattr(networks, name, missing)
    monkeypatch.setattr(networks, "lpips_distance", difference)
