"""What the five pipelines make of fixed inputs with the bundled models, held against what they made when recorded.

`pytest tests/test_recorded_results.py --record` records anew, after a change that is meant to change results; with
`-k inpaint` only those. `git diff tests/data/recorded` then shows what changed besides the pixels.

Another processor adds up in another order, and so no bytes are compared but means of pixels: of the whole picture and
of the box that changed, each seen as 16 x 16 cells. With PyTorch's and oneDNN's plain kernels in place of AVX-512's
(`ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE`) no cell of 26 cases, of all four
pipelines, lay more than 0.11 gray levels of 255 from the record, 0.05 of which is the record's own rounding. Another
seed moves some cell by 2.3 levels (restoration) or more (`test_another_seed_is_noticed` holds that it is noticed).
`TOLERANCE` lies between the two.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from facekit.images.photo import Photo, load_image
from tests.helpers.recorded_cases import (
    CASES,
    EYES,
    MOUTH,
    SLOW,
    Result,
    blurred,
    of,
    other,
    pipeline,
    portrait,
    readings,
    refusals,
    seeded,
)

FOLDER = Path(__file__).parent / "data" / "recorded"
PICTURES, FACTS = FOLDER / "results.npz", FOLDER / "results.json"
CELLS = 16  # a side
STORED = 10  # steps in a gray level
TOLERANCE = 1.0  # gray levels of 255, for each cell
SHARE_TOLERANCE = 0.005  # of pixels that stayed as they were: some change by chance into what they were


def colors(picture: Any) -> np.ndarray:
    """float64 `[H, W, 3]` in 0 to 255, of whatever a pipeline gives."""
    if isinstance(picture, torch.Tensor):
        picture = picture.numpy().transpose(1, 2, 0)
    photo = picture if isinstance(picture, Photo) else load_image(picture)
    return photo.rgb.astype(np.float64) * (
        255 / (np.iinfo(photo.rgb.dtype).max if photo.rgb.dtype.kind == "u" else 1)
    )


def cells(values: np.ndarray, area: list[int]) -> np.ndarray:
    """Means of the cells of an area (left, top, right, bottom), `[16, 16, 3]`."""
    left, top, right, bottom = area
    return cv2.resize(values[top:bottom, left:right], (CELLS, CELLS), interpolation=cv2.INTER_AREA)


def describe(result: Result, areas: list[list[int]] | None = None) -> tuple[dict[str, Any], np.ndarray]:
    """Exact facts of a result, and the cells `[N, 2, 16, 16, 3]` of its pictures and of what changed in them.

    `areas`: where to look at each picture, as recorded; None: where it changed.
    """
    pictures, facts = [], []
    for index, (image, source) in enumerate(zip(result.images, result.sources, strict=True)):
        shown, before = colors(image), colors(source)
        height, width = shown.shape[:2]
        same = (np.abs(shown - before) < 1e-3).all(axis=2)
        rows, columns = np.flatnonzero(~same.all(axis=1)), np.flatnonzero(~same.all(axis=0))
        area = [0, 0, width, height]
        if len(rows):
            area = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
        area = area if areas is None else areas[index]
        pictures.append([cells(shown, [0, 0, width, height]), cells(shown, area)])
        is_picture = isinstance(image, Image.Image | Photo)
        kind = image.mode if is_picture else f"{type(image).__name__} {list(image.shape)}"
        facts.append(
            {"size": [width, height], "kind": kind, "same": round(float(same.mean()), 4), "area": area}
        )
    entry = {"pictures": facts, "notes": result.notes} | result.facts
    return entry, np.array(pictures).reshape(-1, 2, CELLS, CELLS, 3)


@pytest.fixture(scope="module")
def facts(recording: bool) -> Iterator[dict[str, Any]]:
    """What is recorded besides pictures; with `--record` what the tests put there is written."""
    found = json.loads(FACTS.read_text()) if FACTS.exists() else {"results": {}}
    yield found
    if recording:
        found["results"] = {name: found["results"][name] for name in CASES if name in found["results"]}
        FACTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")


@pytest.fixture(scope="module")
def pictures(recording: bool) -> Iterator[dict[str, np.ndarray]]:
    """The cells of the pictures, alike."""
    found = {}
    if PICTURES.exists():
        with np.load(PICTURES) as stored:
            found = {name: stored[name] / STORED for name in stored.files}
    yield found
    if recording:
        kept = {name: np.rint(found[name] * STORED).astype(np.uint16) for name in CASES if name in found}
        np.savez_compressed(PICTURES, **kept)


def differences(name: str, result: Result, facts: dict[str, Any], pictures: np.ndarray) -> Iterator[str]:
    """In words, what differs from what was recorded."""
    expected = json.loads(json.dumps(facts))
    entry, found = describe(result, [picture["area"] for picture in expected["pictures"]])
    entry = json.loads(json.dumps(entry))
    for one, recorded in zip(entry["pictures"], expected["pictures"], strict=False):
        if abs(one.pop("same") - (share := recorded.pop("same"))) > SHARE_TOLERANCE:
            yield f"{name}: another share of pixels stayed the same than {share}"
    for key in entry.keys() | expected.keys():
        if entry.get(key) != expected.get(key):
            yield f"{name}: {key} is {entry.get(key)}, it was {expected.get(key)}"
    if found.shape == pictures.shape and (most := np.abs(found - pictures).max(initial=0)) > TOLERANCE:
        yield f"{name}: a cell differs by {most:.2f} gray levels"


NAMES = [pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in CASES]


@pytest.mark.parametrize("name", NAMES)
def test_results_are_as_recorded(
    name: str, facts: dict[str, Any], pictures: dict[str, np.ndarray], recording: bool
) -> None:
    result = CASES[name]()
    if recording:
        facts["results"][name], pictures[name] = describe(result)
    assert list(differences(name, result, facts["results"][name], pictures[name])) == []


def test_masks_are_read_as_recorded(facts: dict[str, Any], recording: bool) -> None:
    facts["masks"] = readings() if recording else facts["masks"]
    assert readings() == facts["masks"]


def test_refusals_are_as_recorded(facts: dict[str, Any], recording: bool) -> None:
    facts["refusals"] = refusals() if recording else facts["refusals"]
    assert refusals() == facts["refusals"]


def test_every_record_has_its_case(facts: dict[str, Any], pictures: dict[str, np.ndarray]) -> None:
    assert set(facts["results"]) == set(pictures) == set(CASES)


@pytest.mark.parametrize("name", ["inpaint/face", "restore/face", "exemplar/face", "edit/variety"])
def test_another_seed_is_noticed(name: str, facts: dict[str, Any], pictures: dict[str, np.ndarray]) -> None:
    """The tolerance is no blindfold: held against the record, another seed's result is refused."""
    which = name.split("/")[0]
    options: dict[str, Any] = {
        "restore": {},
        "inpaint": {"mask": EYES},
        "edit": {"mask": MOUTH, "variety": 0.8},
    }
    options["exemplar"] = {"mask": EYES, "exemplar": other()}
    photo = blurred() if which == "restore" else portrait()
    result = of(pipeline(which)(photo, generator=seeded(1), **options[which]), photo)
    found = differences(name, result, facts["results"][name], pictures[name])
    assert any("gray levels" in text for text in found)
