"""Fills that a restorer goes over: where it may paint, what it starts from, and what it draws from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from facekit import FaceEditPipeline, FaceInpaintPipeline, FaceRestorePipeline, starter
from facekit.damage.degrade import degrade
from facekit.notes import Note
from facekit.pipelines.edit.session.script import read_script
from facekit.pipelines.restore import scale_faces
from facekit.pipelines.restored_fill import FEATHER, SEVERITY, restore_fill
from tests.helpers.all_pipelines import HOLE, SIDE, call, faces, tiny_pipeline
from tests.helpers.masks import box_mask
from tests.tiny.pipelines import tiny_exemplar_pipeline, tiny_restore_pipeline

FILLING = ("inpaint", "exemplar", "edit")


@pytest.fixture(scope="module")
def restorer() -> FaceRestorePipeline:
    pipeline = tiny_restore_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture
def shown(restorer: FaceRestorePipeline, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """What the restorer is shown from now on, a batch of squares in [-1, 1] each time."""
    seen: list[torch.Tensor] = []
    restore = restorer.restore_batch

    def watched(damaged: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        seen.append(damaged)
        return restore(damaged, *arguments, **options)

    monkeypatch.setattr(restorer, "restore_batch", watched)
    return seen


def sources(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


@pytest.mark.parametrize("name", FILLING)
def test_fills_are_restored_once_whatever_the_restorer_does_with_photos(name: str) -> None:
    alone, twice = (tiny_restore_pipeline(self_ensemble=averages) for averages in (False, True))
    images = [call(tiny_pipeline(name), name, restore_with=restorer).images for restorer in (alone, twice)]
    assert torch.equal(*images)


@pytest.mark.parametrize("name", FILLING)
def test_every_filling_pipeline_restores_inside_the_hole_alone(
    name: str, restorer: FaceRestorePipeline
) -> None:
    pipeline = tiny_pipeline(name)
    plain = call(pipeline, name).images
    restored = call(pipeline, name, restore_with=restorer).images
    again = call(pipeline, name, restore_with=restorer).images
    hole = torch.from_numpy(HOLE)
    assert torch.equal(restored, again)
    assert torch.equal(restored[..., ~hole], faces()[..., ~hole])
    assert (restored - plain)[..., hole].abs().max() > 0.01


@pytest.mark.parametrize("name", FILLING)
def test_a_photo_is_restored_alike_alone_and_among_others(name: str, restorer: FaceRestorePipeline) -> None:
    pipeline, photos = tiny_pipeline(name), faces(2)
    both = call(pipeline, name, photos, generator=sources(2), restore_with=restorer, max_batch_size=1).images
    second = call(pipeline, name, photos[1:], generator=sources(2)[1:], restore_with=restorer).images
    torch.testing.assert_close(both[1], second[0], atol=1e-4, rtol=0)


def test_the_restored_face_fades_in_from_the_rim(restorer: FaceRestorePipeline) -> None:
    fill, holes = faces() * 2 - 1, torch.zeros(1, 1, SIDE, SIDE)
    holes[..., 20:44, 20:44] = 1
    restored = restore_fill(restorer, fill, holes, sources(1), 1)
    whole = restore_fill(restorer, fill, torch.ones_like(holes), sources(1), 1)
    share = (restored - fill)[0, :, 32, 20:32] / (whole - fill)[0, :, 32, 20:32]
    wanted = torch.tensor([min((place + 1) / FEATHER, 1.0) for place in range(12)])
    torch.testing.assert_close(share.median(0).values, wanted, atol=1e-3, rtol=0)
    assert torch.equal(restored * (1 - holes), fill * (1 - holes))


def test_a_restorer_is_shown_a_fill_as_it_knows_damaged_photos(
    restorer: FaceRestorePipeline, shown: list[torch.Tensor]
) -> None:
    fill = faces(2) * 2 - 1
    restore_fill(restorer, fill, torch.ones(2, 1, SIDE, SIDE), sources(2), 4)
    for seen, picture in zip(shown[0], faces(2), strict=True):
        wanted = degrade(picture.permute(1, 2, 0).numpy(), "thesis", rng=0, severity=SEVERITY)
        torch.testing.assert_close(seen.add(1).div(2).permute(1, 2, 0).numpy(), wanted, atol=1e-6, rtol=0)
        assert np.abs(np.diff(wanted, axis=1)).mean() < 0.7 * picture.diff(dim=2).abs().mean().item()


def test_fills_after_strokes_are_shown_as_they_are(
    restorer: FaceRestorePipeline, shown: list[torch.Tensor]
) -> None:
    fill = faces(2) * 2 - 1
    holes = torch.ones(2, 1, SIDE, SIDE)
    restore_fill(restorer, fill, holes, sources(2), 4, strokes=[HOLE, None])
    assert torch.equal(shown[0][0], fill[0]) and not torch.equal(shown[0][1], fill[1])
    lines = np.zeros((SIDE, SIDE), bool)
    lines[SIDE // 2] = True
    pipelines = {
        "edit": tiny_pipeline("edit"),
        "exemplar": tiny_exemplar_pipeline(use_sketch=True),
    }
    for name, options, damages in (
        ("edit", {"sketch": lines}, False),
        ("edit", {"sketch": lines, "strengths": {"sketch": 0}}, True),
        ("edit", {}, True),
        ("exemplar", {"sketch": lines}, False),
        ("exemplar", {}, True),
    ):
        plain = call(pipelines[name], name, **options).images
        call(pipelines[name], name, restore_with=restorer, **options)
        inside = (shown[-1][0].add(1).div(2) - plain[0])[..., torch.from_numpy(HOLE)]
        assert (inside.abs().max() > 0.02) == damages, (name, options)


def test_squares_without_a_face_stay_as_they_were_filled(restorer: FaceRestorePipeline) -> None:
    fill, holes = faces(3) * 2 - 1, torch.ones(3, 1, SIDE, SIDE)
    restored = restore_fill(restorer, fill, holes, sources(3), 4, [False, True, False])
    assert torch.equal(restored[::2], fill[::2]) and not torch.equal(restored[1], fill[1])
    alone = restore_fill(restorer, fill[1:2], holes[1:2], sources(3)[1:2], 4)
    torch.testing.assert_close(restored[1:2], alone, atol=1e-4, rtol=0)
    assert restore_fill(restorer, fill, holes, sources(3), 4, [False] * 3) is fill


def test_holes_anywhere_are_not_taken_for_faces(
    pipe: FaceInpaintPipeline, portrait: np.ndarray, restorer: FaceRestorePipeline
) -> None:
    corner = box_mask(portrait.shape, (2, 2, 30, 30))
    options: dict[str, Any] = {"region": "image", "output_type": "np"}
    plain, restored = (
        pipe(
            portrait, corner, restore_with=given, generator=torch.Generator().manual_seed(0), **options
        ).images[0]
        for given in (None, restorer)
    )
    assert (plain == restored).all()


def test_of_the_steps_the_last_picture_is_restored(restorer: FaceRestorePipeline) -> None:
    pipeline = tiny_pipeline("inpaint")
    plain = call(pipeline, "inpaint", return_steps=True)
    restored = call(pipeline, "inpaint", return_steps=True, restore_with=restorer)
    for before, after in zip(plain.steps[0][:-1], restored.steps[0][:-1], strict=True):
        assert torch.equal(before, after)
    assert not torch.equal(plain.steps[0][-1], restored.steps[0][-1])
    assert torch.equal(restored.steps[0][-1], restored.images[0])


def test_a_session_restores_and_forgets_the_restorer(restorer: FaceRestorePipeline) -> None:
    pipeline = tiny_pipeline("edit")
    assert isinstance(pipeline, FaceEditPipeline)
    photo = (faces()[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    session = pipeline.edit_session(photo, aligned=True)
    plain = np.asarray(session.edit(HOLE, seed=1).images[0])
    session.undo()
    restored = np.asarray(session.edit(HOLE, seed=1, restore_with=restorer).images[0])
    assert (plain != restored)[HOLE].any() and (plain == restored)[~HOLE].all()
    assert "restore_with" not in session.steps[-1].settings
    assert session.steps[-1].settings["restored"] is True


def test_a_replay_without_the_restorer_says_so(restorer: FaceRestorePipeline, tmp_path: Path) -> None:
    pipeline = tiny_pipeline("edit")
    assert isinstance(pipeline, FaceEditPipeline)
    photo = (faces()[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    session = pipeline.edit_session(photo, aligned=True)
    made = np.asarray(session.edit(HOLE, seed=1, restore_with=restorer).images[0])
    session.save(tmp_path / "session.zip")
    (step,) = read_script(tmp_path / "session.zip")
    again = pipeline.edit_session(photo, aligned=True)
    said = again.replay(step).notes
    assert [note.kind for note in said if isinstance(note, Note)] == ["restorer-missing"]
    assert "restored" not in again.steps[-1].settings
    again.undo()
    replayed = again.replay(step, restore_with=restorer)
    assert replayed.notes == [] and (np.asarray(replayed.images[0]) == made).all()


def test_colours_that_were_asked_for_stay_in_a_gray_photo(restorer: FaceRestorePipeline) -> None:
    pipeline = tiny_pipeline("edit")
    gray = faces().mean(1, keepdim=True).expand(-1, 3, -1, -1)
    small = box_mask((SIDE, SIDE), (28, 28, 36, 36))
    paint = np.zeros((SIDE, SIDE, 4), np.uint8)
    paint[small] = (20, 60, 220, 255)
    options: dict[str, Any] = {"mask": small, "color": paint, "semantics": None}
    filled, restored = (
        call(pipeline, "edit", gray, restore_with=given, **options).images[0] for given in (None, restorer)
    )
    spread = [float(np.ptp(picture.numpy()[:, small], axis=0).mean()) for picture in (filled, restored)]
    assert spread[0] > 0.005 and spread[1] > 0.3 * spread[0]


def test_a_restorer_of_another_size_sees_the_damage_of_its_own(
    restorer: FaceRestorePipeline, shown: list[torch.Tensor]
) -> None:
    fill, holes = faces()[..., :48, :48] * 2 - 1, torch.ones(1, 1, 48, 48)
    restored = restore_fill(restorer, fill, holes, sources(1), 1)
    assert restored.shape == fill.shape and restored.abs().max() <= 1
    assert not torch.equal(restored, fill)
    (seen,) = shown[0].add(1).div(2).permute(0, 2, 3, 1).numpy()
    assert seen.shape == (SIDE, SIDE, 3)
    enlarged = scale_faces(fill, SIDE)[0].add(1).div(2).permute(1, 2, 0).clamp(0, 1).numpy()
    np.testing.assert_allclose(seen, degrade(enlarged, "thesis", rng=0, severity=SEVERITY), atol=1e-6)


@pytest.mark.parametrize("name", FILLING)
def test_what_cannot_restore_is_refused_before_any_work(name: str) -> None:
    pipeline = tiny_pipeline(name)
    with pytest.raises(ValueError, match="restore_with is a str; it must be a FaceRestorePipeline"):
        call(pipeline, name, image="no-such-file.png", restore_with="starter")


@pytest.mark.slow
def test_the_bundled_restorer_gives_fills_of_the_bundled_inpainter_detail(portrait: np.ndarray) -> None:
    inpaint = FaceInpaintPipeline.from_pretrained(starter("face-inpaint"))
    restore = FaceRestorePipeline.from_pretrained(starter("face-restore"))
    hole = box_mask(portrait.shape, (80, 75, 170, 175))

    def detail(**options: Any) -> float:
        filled = inpaint(
            portrait, hole, generator=torch.Generator().manual_seed(0), output_type="np", **options
        ).images[0]
        gray = filled.mean(-1)
        laplacian = 4 * gray[1:-1, 1:-1] - gray[:-2, 1:-1] - gray[2:, 1:-1] - gray[1:-1, :-2] - gray[1:-1, 2:]
        return float(np.square(laplacian)[hole[1:-1, 1:-1]].mean())

    assert detail(restore_with=restore) > 1.3 * detail()
