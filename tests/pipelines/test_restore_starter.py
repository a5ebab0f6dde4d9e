"""The bundled restoration model: what its card promises, on the astronaut's photo."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage.color import deltaE_cie76, rgb2lab
from skimage.data import astronaut
from skimage.metrics import peak_signal_noise_ratio

from facekit import FaceRestorePipeline, starter
from facekit.damage.degrade import degrade
from facekit.faces import align_face, detect_faces
from facekit.losses.imagenet import ImageNetDistance


@pytest.fixture(scope="module")
def pipe() -> FaceRestorePipeline:
    pipe = FaceRestorePipeline.from_pretrained(starter("face-restore"))
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    """The astronaut's face, aligned, 256x256."""
    photo = astronaut()
    return align_face(photo, detect_faces(photo)[0], 256).image


def restored(pipe: FaceRestorePipeline, image: np.ndarray, **options) -> np.ndarray:
    return np.asarray(pipe(image, aligned=True, **options).images[0])


def test_it_is_small() -> None:
    weights = list(Path(starter("face-restore")).glob("*/*.safetensors"))
    assert len(weights) == 4 and sum(path.stat().st_size for path in weights) < 25e6


@pytest.fixture(scope="module")
def distance(face) -> Callable[[np.ndarray], float]:
    """ImageNet distance of a picture from the undamaged face."""
    measure = ImageNetDistance()

    def tensor(image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1

    return lambda image: measure(tensor(image), tensor(face)).item()


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("fidelity", [0.0, 1.0])
def test_it_takes_damage_away(pipe, face, distance, seed, fidelity) -> None:
    """Detail that is drawn anew costs PSNR, so what it looks like counts; shapes and colours stay all the same."""
    damaged = degrade(face, "thesis", seed, severity=0.4)
    result = restored(pipe, damaged, fidelity=fidelity, generator=torch.Generator().manual_seed(0))
    filters = [cv2.medianBlur(damaged, 5), cv2.fastNlMeansDenoisingColored(damaged, None, 5, 5, 5, 15)]
    assert distance(result) < 0.95 * min(map(distance, [damaged, *filters]))
    coarse = [cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA) for image in (face, result, damaged)]
    assert peak_signal_noise_ratio(*coarse[:2]) > peak_signal_noise_ratio(coarse[0], coarse[2]) - 1


def test_an_undamaged_face_keeps_its_colours(pipe, face) -> None:
    colours = [
        rgb2lab(cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA))
        for picture in (face, restored(pipe, face))
    ]
    assert deltaE_cie76(*colours).mean() < 2


def test_the_photo_round_the_face_is_untouched(pipe) -> None:
    photo = astronaut()
    result = np.asarray(pipe(photo).images[0])
    changed = (result != photo).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert changed.any() and rows.max() < 280 and 110 < columns.min() and columns.max() < 340
