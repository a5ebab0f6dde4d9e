"""Sampling faces from a prior: mixed codes, codes of the mapping network, refused arguments."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from facekit import FaceRestorePipeline, StyleGAN2Generator, sample_faces, starter
from facekit.damage.degrade import degrade
from facekit.faces import detect_faces
from facekit.pipelines.sample import CODES_FILE, SEVERITY, finish_faces, load_style_codes, mix_style_codes
from tests.tiny.pipelines import tiny_exemplar_pipeline, tiny_restore_pipeline


@pytest.fixture
def prior(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    StyleGAN2Generator(
        sample_size=16, style_dim=8, channel_base=128, max_channels=16, num_mapping_layers=2
    ).save_pretrained(tmp_path)
    return tmp_path


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mixed_codes_lie_between_two_faces() -> None:
    codes = torch.stack([torch.full((6, 4), float(value)) for value in (0, 1)])
    mixed = mix_style_codes(codes, 40, seeded())
    assert mixed.shape == (40, 6, 4) and mixed.min() >= 0 and mixed.max() <= 1
    changes = (mixed[:, 1:, 0] != mixed[:, :-1, 0]).sum(1)
    assert set(changes.tolist()) == {0, 1}  # interpolated as a whole, or exchanged from one layer on
    torch.testing.assert_close(mixed, mix_style_codes(codes, 40, seeded()))


def test_faces_come_from_the_codes_beside_the_prior_or_from_its_mapping_network(prior: Path) -> None:
    assert load_style_codes(prior) is None
    mapped = sample_faces(2, prior, generator=seeded())
    save_file({"w_plus": torch.randn(3, 6, 8).half()}, prior / CODES_FILE)
    mixed = sample_faces(2, prior, generator=seeded())
    again = sample_faces(2, prior, generator=seeded())
    assert all((np.asarray(a) == np.asarray(b)).all() for a, b in zip(mixed, again, strict=True))
    assert (np.asarray(mapped[0]) != np.asarray(mixed[0])).any()
    assert (np.asarray(mixed[0]) != np.asarray(mixed[1])).any()
    mean = sample_faces(2, prior, truncation_psi=0, generator=seeded())
    assert (np.asarray(mean[0]) == np.asarray(mean[1])).all()


def test_the_bundled_prior_makes_faces() -> None:
    faces = sample_faces(2, starter("face-prior"), generator=seeded(), finish=False)
    assert all(face.size == (256, 256) and np.asarray(face).std() > 20 for face in faces)


def test_faces_of_the_bundled_prior_are_finished() -> None:
    plain = sample_faces(2, generator=seeded(), finish=False)
    finished = sample_faces(2, generator=seeded())
    again = sample_faces(2, starter("face-prior"), generator=seeded())
    for soft, sharp, same in zip(
        *(map(np.asarray, faces) for faces in (plain, finished, again)), strict=True
    ):
        assert sharp.shape == soft.shape and (sharp == same).all()
        # What lies around the head is the sampled face's, the features are not.
        change = np.abs(sharp.astype(int) - soft).mean(-1)
        assert change[:, :8].mean() < change[90:200, 80:176].mean()
        assert _detail(sharp) > 4 * _detail(soft)
    assert all(detect_faces(np.asarray(face)) for face in finished)


def test_a_finished_face_is_the_same_among_few_and_many() -> None:
    few, many = (sample_faces(count, generator=seeded(3)) for count in (1, 6))
    assert np.abs(np.asarray(few[0]).astype(int) - np.asarray(many[0])).max() <= 2


def test_a_given_prior_is_finished_on_demand(prior: Path) -> None:
    plain, asked = (sample_faces(1, prior, generator=seeded(), finish=finish)[0] for finish in (None, True))
    assert plain.size == asked.size == (16, 16)
    assert (np.asarray(plain) != np.asarray(asked)).any()


def test_soft_faces_are_finished_as_damaged_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    exemplar, restorer = tiny_exemplar_pipeline(), tiny_restore_pipeline()
    side, shown = restorer.restorer.config.sample_size, []
    restore = FaceRestorePipeline.__call__

    def watched(self: FaceRestorePipeline, pictures: Any, **options: Any) -> Any:
        shown.append(pictures)
        return restore(self, pictures, **options)

    monkeypatch.setattr(FaceRestorePipeline, "__call__", watched)
    face = Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8))
    (small,) = finish_faces([face.resize((48, 48))], exemplar, restorer, [seeded()])
    (whole,) = finish_faces([face], exemplar, restorer, [seeded()])
    assert small.size == (48, 48) and whole.size == face.size
    assert len(shown) == 6 and all(seen.shape == (side, side, 3) for pictures in shown for seen in pictures)
    np.testing.assert_array_equal(shown[3][0], degrade(np.asarray(face), "thesis", 0, SEVERITY))


def test_sampled_faces_are_restored_once_whatever_the_restorer_does_with_photos() -> None:
    exemplar = tiny_exemplar_pipeline()
    alone, twice = (tiny_restore_pipeline(self_ensemble=averages) for averages in (False, True))
    face = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    made = [finish_faces([face], exemplar, restorer, [seeded()])[0] for restorer in (alone, twice)]
    np.testing.assert_array_equal(*map(np.asarray, made))


def _detail(picture: np.ndarray) -> float:
    """Mean square of the Laplacian inside the face."""
    return float(np.square(cv2.Laplacian(picture.mean(-1), cv2.CV_64F))[60:220, 60:196].mean())


@pytest.mark.parametrize("options", [{"count": 0}, {"truncation_psi": 1.5}])
def test_wrong_arguments_are_refused(prior: Path, options: dict) -> None:
    with pytest.raises(ValueError, match=r"0|1\.5"):
        sample_faces(source=prior, **options)
    with pytest.raises(ValueError, match="two faces"):
        mix_style_codes(torch.zeros(1, 6, 8), 1)
