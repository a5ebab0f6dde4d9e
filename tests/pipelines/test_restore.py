"""The restoration pipeline around tiny real networks: what it promises to callers."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import diffusers
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from facekit import FaceRestorePipeline
from facekit.faces import Face, align_face, detect_faces
from facekit.pipelines.restore import FaceRestoreOutput, keep_coarse_structure
from tests.tiny.pipelines import tiny_restore_pipeline


@pytest.fixture(scope="module")
def pipe() -> FaceRestorePipeline:
    return tiny_restore_pipeline()


@pytest.fixture(scope="module")
def found(portrait: np.ndarray) -> list[Face]:
    return detect_faces(portrait)


@pytest.fixture(scope="module")
def two_faces(found: list[Face]) -> Any:
    """A detector for `couple` that needs no time."""
    face = found[0]
    mirrored = face.landmarks[[1, 0, 2, 4, 3]] * [-1, 1] + [511, 0]
    x0, y0, x1, y1 = face.box
    second = Face(1, (511 - x1, y0, 511 - x0, y1), face.score, mirrored)
    return lambda image: [face, second]


def seed(value: int = 0) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(value)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "I;16"])
def test_pixels_outside_the_face_come_back_bit_identical(
    pipe: FaceRestorePipeline, portrait: np.ndarray, found: list[Face], mode: str
) -> None:
    if mode == "I;16":
        given = Image.fromarray(np.asarray(Image.fromarray(portrait).convert("L")).astype(np.uint16) * 250)
    else:
        given = Image.fromarray(portrait).convert(mode)
    if mode == "RGBA":
        given.putalpha(Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1))))

    result = pipe(given, detector=lambda image: found, generator=seed()).images[0]

    assert (result.mode, result.size) == (given.mode, given.size)
    shown = [np.asarray(i.convert("RGBA") if mode == "P" else i) for i in (given, result)]
    outside = ~align_face(portrait, found[0]).covers((0, 0, 256, 256))
    assert outside.sum() > 5000
    np.testing.assert_array_equal(shown[1][outside], shown[0][outside])
    assert (shown[1][~outside] != shown[0][~outside]).mean() > 0.4
    if mode == "RGBA":
        np.testing.assert_array_equal(shown[1][..., 3], shown[0][..., 3])


def test_all_faces_of_a_large_group_are_restored_alike_each_time(pipe: FaceRestorePipeline) -> None:
    head = cv2.resize(astronaut()[:230, 120:330], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    photo = np.full((4 * 120, 6 * 110, 3), (90, 110, 130), np.uint8)
    for place in range(24):
        row, column = divmod(place, 6)
        photo[row * 120 + 2 :, column * 110 + 2 :][: head.shape[0], : head.shape[1]] = head
    first, second = (pipe(photo, generator=torch.Generator().manual_seed(0)) for _ in range(2))
    assert len(first.faces[0]) == 24 and first.notes == []
    np.testing.assert_array_equal(np.asarray(first.images[0]), np.asarray(second.images[0]))


def test_the_bundled_detector_finds_the_face(pipe: FaceRestorePipeline, portrait: np.ndarray) -> None:
    output = pipe(portrait, generator=seed())
    assert isinstance(output, FaceRestoreOutput)
    assert len(output.faces[0]) == 1 and output.notes == []
    assert len(output.similarities[0]) == 1 and -1 <= output.similarities[0][0] <= 1


def test_a_photo_without_faces_comes_back_with_a_note(pipe: FaceRestorePipeline) -> None:
    sky = np.linspace(0, 255, 128 * 96 * 3).reshape(96, 128, 3).astype(np.uint8)
    output = pipe(sky, return_aligned=True, output_type="np")
    np.testing.assert_array_equal(np.rint(output.images[0] * 255), sky)
    assert output.faces == [[]] and output.similarities == [[]] and output.aligned_inputs == [[]]
    assert "no face was found" in output.notes[0] and "aligned=True" in output.notes[0]


def test_faces_are_chosen_by_index(pipe: FaceRestorePipeline, couple: np.ndarray, two_faces: Any) -> None:
    both = pipe(couple, detector=two_faces, generator=seed(), output_type="np")
    right = pipe(couple, detector=two_faces, faces=[1], generator=seed(), output_type="np")
    assert [face.index for face in both.faces[0]] == [0, 1]
    assert [face.index for face in right.faces[0]] == [1]
    given = couple.astype(np.float32) / 255
    assert np.array_equal(right.images[0][:, :256], given[:, :256])
    assert not np.array_equal(right.images[0][:, 256:], given[:, 256:])
    assert not np.array_equal(both.images[0][:, :256], given[:, :256])
    with pytest.raises(ValueError, match="choose from 0 to 1"):
        pipe(couple, detector=two_faces, faces=[2])


def test_small_faces_are_left_with_the_reason(
    pipe: FaceRestorePipeline, couple: np.ndarray, two_faces: Any
) -> None:
    def one_small(image: np.ndarray) -> list[Face]:
        large, other = two_faces(image)
        middle = other.landmarks.mean(0)
        return [
            large,
            Face(1, (*(middle - 12), *(middle + 12)), 1.0, (other.landmarks - middle) / 4 + middle),
        ]

    output = pipe(couple, detector=one_small, generator=seed())
    assert len(output.faces[0]) == 1
    assert output.notes == ["face 1 is 24 pixels wide, below min_face_size=32: left as it was"]
    assert len(pipe(couple, detector=one_small, min_face_size=20).faces[0]) == 2


def test_faces_turned_to_the_side_are_restored_with_a_note(
    pipe: FaceRestorePipeline, portrait: np.ndarray, found: list[Face]
) -> None:
    landmarks = found[0].landmarks.copy()
    landmarks[:, 0] = landmarks[2, 0] + 0.2 * (landmarks[:, 0] - landmarks[2, 0])
    output = pipe(portrait, detector=lambda image: [Face(0, found[0].box, 1.0, landmarks)])
    assert len(output.faces[0]) == 1
    assert "turned far to the side" in output.notes[0]


def test_a_seed_gives_one_result_whatever_the_batch(
    pipe: FaceRestorePipeline, couple: np.ndarray, two_faces: Any
) -> None:
    def run(value: int, most: int) -> np.ndarray:
        output = pipe(
            [couple, couple], detector=two_faces, generator=seed(value), max_batch_size=most, output_type="np"
        )
        return output.images

    first = run(3, 4)
    np.testing.assert_allclose(run(3, 1), first, atol=1.01 / 255)
    assert np.abs(run(4, 4) - first).max() > 0.01


def test_each_photo_can_have_its_generator(pipe: FaceRestorePipeline, portrait: np.ndarray) -> None:
    batch = pipe([portrait, portrait], aligned=True, generator=[seed(1), seed(2)], output_type="np").images
    alone = pipe(portrait, aligned=True, generator=seed(2), output_type="np").images
    np.testing.assert_allclose(batch[1], alone[0], atol=1.01 / 255)
    assert np.abs(batch[0] - batch[1]).max() > 0.01


def test_candidates_differ_and_are_ordered_by_photo(
    pipe: FaceRestorePipeline, couple: np.ndarray, two_faces: Any
) -> None:
    output = pipe(
        [couple, couple // 2],
        detector=two_faces,
        num_images=3,
        generator=seed(),
        return_aligned=True,
        output_type="np",
    )
    assert output.images.shape == (6, 256, 512, 3)
    assert [len(row) for row in output.similarities] == [2] * 6
    for row, inputs in zip((0, 1, 2), output.aligned_inputs[:3], strict=True):
        np.testing.assert_array_equal(inputs, output.aligned_inputs[0], err_msg=str(row))
    assert np.abs(output.images[0] - output.images[1]).max() > 0.01
    assert not np.array_equal(output.aligned_inputs[0], output.aligned_inputs[3])


@pytest.mark.parametrize("size", [40, 64, 200])
def test_aligned_faces_keep_their_size(pipe: FaceRestorePipeline, portrait: np.ndarray, size: int) -> None:
    face = cv2.resize(portrait, (size, size), interpolation=cv2.INTER_AREA)
    output = pipe(face, aligned=True, generator=seed(), return_aligned=True)
    assert output.images[0].size == (size, size)
    assert output.faces == [[]]
    assert output.aligned_outputs[0][0].size == (64, 64)


def test_an_aligned_face_that_is_not_square_is_continued(
    pipe: FaceRestorePipeline, portrait: np.ndarray
) -> None:
    narrow = portrait[:, 20:180]
    output = pipe(narrow, aligned=True, generator=seed(), return_aligned=True, output_type="np")
    assert output.images.shape == (1, *narrow.shape)
    assert output.notes[0].startswith("the photo is 160x256, and an aligned face is square")
    seen = output.aligned_inputs[0][0]
    np.testing.assert_array_equal(seen[:, :12], seen[:, 13:25][:, ::-1])  # 24 columns of 64 are mirrored


def test_aligned_outputs_are_what_is_delivered(pipe: FaceRestorePipeline, portrait: np.ndarray) -> None:
    face = cv2.resize(portrait, (64, 64), interpolation=cv2.INTER_AREA)
    output = pipe(face, aligned=True, generator=seed(), return_aligned=True)
    given, restored = output.aligned_inputs[0][0], output.aligned_outputs[0][0]
    np.testing.assert_array_equal(np.asarray(given), face)
    np.testing.assert_array_equal(np.asarray(restored), np.asarray(output.images[0]))


@pytest.mark.parametrize("steps", [None, 1, 3])
def test_style_prompts_show_every_step(
    pipe: FaceRestorePipeline, portrait: np.ndarray, steps: int | None
) -> None:
    output = pipe(portrait, aligned=True, num_inference_steps=steps, generator=seed(), return_aligned=True)
    (prompts,) = output.style_prompts[0]
    assert len(prompts) == (steps or 4)
    assert all(prompt.size == (64, 64) for prompt in prompts)
    assert len({np.asarray(prompt).tobytes() for prompt in prompts}) == len(prompts)


def test_what_the_output_does_not_need_is_not_computed(
    pipe: FaceRestorePipeline, portrait: np.ndarray
) -> None:
    ran = []
    hooks = [
        level.up.register_forward_hook(lambda *args, k=k: ran.append(f"up {k}"))
        for k, level in enumerate(pipe.prior.levels, start=1)
    ]
    hooks.append(pipe.prior.to_rgb.register_forward_hook(lambda *args: ran.append("rgb")))
    hooks.append(pipe.style_encoder.register_forward_hook(lambda *args: ran.append("encoder")))
    pipe(portrait, aligned=True, num_images=2)
    for hook in hooks:
        hook.remove()
    assert ran == ["encoder", *[f"up {k}" for k in range(1, 5)]]
    assert pipe.prior.num_levels == 5


def test_fidelity_moves_the_coarse_structure() -> None:
    restored, damaged = torch.randn(2, 1, 3, 256, 256, generator=seed()).unbind(0)

    def coarse(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(x, 8)

    left = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        result = keep_coarse_structure(restored, damaged, value)
        left.append(float(coarse(result - damaged).norm() / coarse(restored - damaged).norm()))
    assert left == pytest.approx([1, 0.75, 0.5, 0.25, 0], abs=0.15)
    fine = keep_coarse_structure(restored, damaged, 1.0) - restored
    assert fine.diff(dim=-1).norm() < 0.1 * restored.diff(dim=-1).norm()


def test_fidelity_brings_the_result_nearer_to_the_face(
    pipe: FaceRestorePipeline, portrait: np.ndarray
) -> None:
    similarities, distances = [], []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        output = pipe(portrait, aligned=True, fidelity=value, generator=seed(), output_type="np")
        similarities.append(output.similarities[0][0])
        distances.append(np.abs(output.images[0] - portrait / 255).mean())
    assert similarities == sorted(similarities) and similarities[-1] > similarities[0]
    assert distances == sorted(distances, reverse=True)


def test_given_latents_and_style_replace_drawn_ones(pipe: FaceRestorePipeline, portrait: np.ndarray) -> None:
    for network in (pipe.prior, pipe.restorer):
        assert any(name.endswith("noise.strength") for name, _ in network.named_parameters())
    latents, z = torch.randn(1, 12, 16, generator=seed(8)), torch.randn(1, 16, generator=seed(9))
    options = {"aligned": True, "output_type": "np", "generator": seed()}
    seen = {}

    def record(pipe: Any, step: int, timestep: int, tensors: dict) -> None:
        seen.setdefault(step, tensors["latents"])

    first = pipe(portrait, latents=latents, z=z, callback_on_step_end=record, **options).images
    options["generator"] = seed()
    assert np.array_equal(pipe(portrait, latents=latents, z=z, **options).images, first)
    options["generator"] = seed()
    assert not np.array_equal(pipe(portrait, latents=-latents, z=z, **options).images, first)
    options["generator"] = seed()
    assert not np.array_equal(pipe(portrait, latents=latents, z=-z, **options).images, first)
    with torch.no_grad():
        scaled = torch.nn.functional.interpolate(
            torch.from_numpy(cv2.resize(portrait, (64, 64), interpolation=cv2.INTER_AREA))
            .permute(2, 0, 1)[None]
            .float()
            / 127.5
            - 1,
            (32, 32),
            mode="bilinear",
        )
        predicted = pipe.code_diffuser(latents, 3, pipe.style_encoder(scaled))
        expected = pipe.scheduler.step(predicted, 3, latents).prev_sample
    torch.testing.assert_close(seen[0], expected, atol=2e-2, rtol=2e-2)
    with pytest.raises(ValueError, match=r"latents has the shape .*\[2, 12, 16\] is needed"):
        pipe(portrait, aligned=True, num_images=2, latents=latents)
    with pytest.raises(ValueError, match="z has the shape"):
        pipe(portrait, aligned=True, z=z[:, :3])


def test_calls_at_the_same_time_have_their_own_steps(pipe: FaceRestorePipeline, portrait: np.ndarray) -> None:
    def restored(steps: int, meanwhile: Any = None) -> np.ndarray:
        def between(pipe: Any, step: int, timestep: int, tensors: dict[str, Any]) -> dict[str, Any]:
            if meanwhile is not None:
                meanwhile(step)
            return tensors

        options = {"num_inference_steps": steps, "generator": seed(), "callback_on_step_end": between}
        return np.asarray(pipe(portrait, aligned=True, fidelity=0, **options).images[0])

    alone = {steps: restored(steps) for steps in (1, 2, 4)}
    assert not np.array_equal(alone[1], alone[4])
    # Another call in the middle of this one, at a moment that cannot be missed.
    np.testing.assert_array_equal(restored(4, lambda step: restored(1)), alone[4])
    with ThreadPoolExecutor(3) as threads:
        wanted = [1, 2, 4] * 3
        for steps, picture in zip(wanted, threads.map(restored, wanted), strict=True):
            np.testing.assert_array_equal(picture, alone[steps])


def test_the_callback_can_change_the_codes(pipe: FaceRestorePipeline, portrait: np.ndarray) -> None:
    steps = []

    def blank(pipe: Any, step: int, timestep: int, tensors: dict) -> dict | None:
        steps.append((step, timestep, sorted(tensors), tuple(tensors["latents"].shape)))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 3 else None

    inputs = ("latents", "style_codes")
    plain = pipe(portrait, aligned=True, generator=seed(), output_type="np").images
    changed = pipe(
        portrait,
        aligned=True,
        generator=seed(),
        output_type="np",
        callback_on_step_end=blank,
        callback_on_step_end_tensor_inputs=inputs,
    ).images
    assert steps == [(i, 3 - i, sorted(inputs), (1, 12, 16)) for i in range(4)]
    assert not np.array_equal(plain, changed)


def test_the_background_hook_enlarges_the_photo(
    pipe: FaceRestorePipeline, portrait: np.ndarray, found: list[Face]
) -> None:
    def double(rgb: np.ndarray) -> np.ndarray:
        return rgb.repeat(2, axis=0).repeat(2, axis=1)

    given = np.dstack([portrait, np.full((256, 256), 77, np.uint8)])
    result = pipe(given, detector=lambda image: found, background=double, generator=seed()).images[0]
    assert result.size == (512, 512) and result.mode == "RGBA"
    pixels = np.asarray(result)
    assert (pixels[..., 3] == 77).all()
    large = Face(0, tuple(np.array(found[0].box) * 2), 1.0, (found[0].landmarks + 0.5) * 2 - 0.5)
    outside = ~align_face(double(portrait), large).covers((0, 0, 512, 512))
    np.testing.assert_array_equal(pixels[outside, :3], double(portrait)[outside])
    assert (pixels[~outside, :3] != double(portrait)[~outside]).mean() > 0.4
    for wrong in (lambda rgb: rgb[::2, ::2], lambda rgb: rgb[..., 0], lambda rgb: rgb.repeat(2, axis=0)):
        with pytest.raises(ValueError, match="background hook"):
            pipe(portrait, detector=lambda image: found, background=wrong)


@pytest.mark.parametrize("output_type", ["pil", "np", "pt"])
def test_output_types(pipe: FaceRestorePipeline, portrait: np.ndarray, output_type: str) -> None:
    output = pipe(portrait, aligned=True, output_type=output_type, return_aligned=True, generator=seed())
    image, face, prompt = output.images[0], output.aligned_outputs[0][0], output.style_prompts[0][0][0]
    if output_type == "pil":
        assert image.mode == face.mode == prompt.mode == "RGB"
    elif output_type == "np":
        assert image.shape == (256, 256, 3) and face.shape == prompt.shape == (64, 64, 3)
        assert 0 <= image.min() and image.max() <= 1
    else:
        assert image.shape == (3, 256, 256) and face.shape == prompt.shape == (3, 64, 64)


def test_tuples_and_missing_identity(portrait: np.ndarray) -> None:
    pipe = tiny_restore_pipeline(identity=False)
    output = pipe(portrait, aligned=True)
    assert output.similarities is None
    assert len(pipe(portrait, aligned=True, return_dict=False)) == 3


def test_saved_loaded_and_loaded_bare(
    tmp_path: Path, pipe: FaceRestorePipeline, portrait: np.ndarray
) -> None:
    expected = pipe(portrait, aligned=True, generator=seed(), output_type="np").images
    pipe.save_pretrained(tmp_path / "all")
    for load in (FaceRestorePipeline.from_pretrained, diffusers.DiffusionPipeline.from_pretrained):
        again = load(tmp_path / "all")
        assert type(again) is FaceRestorePipeline
        again.set_progress_bar_config(disable=True)
        images = again(portrait, aligned=True, generator=seed(), output_type="np").images
        np.testing.assert_allclose(images, expected, atol=1.01 / 255)
    tiny_restore_pipeline(identity=False).save_pretrained(tmp_path / "some")
    assert FaceRestorePipeline.from_pretrained(tmp_path / "some").identity_encoder is None


def test_bfloat16_is_near_float32(tmp_path: Path, pipe: FaceRestorePipeline, portrait: np.ndarray) -> None:
    pipe.save_pretrained(tmp_path)
    half = FaceRestorePipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    half.set_progress_bar_config(disable=True)
    assert half.code_diffuser.dtype == torch.float32 and half.restorer.dtype == torch.bfloat16
    expected, got = (
        p(portrait, aligned=True, generator=seed(), output_type="np").images for p in (pipe, half)
    )
    assert np.abs(expected - got).mean() < 0.02


def test_ablation_without_prior_features(portrait: np.ndarray) -> None:
    pipe = tiny_restore_pipeline(use_prior_features=False, use_style_codes=False)
    ran = []
    pipe.prior.register_forward_hook(lambda *args: ran.append(1))
    assert pipe(portrait, aligned=True).images[0].size == (256, 256)
    assert not ran


@pytest.mark.parametrize("own", [0.0, 0.8])
def test_the_models_own_fidelity_is_saved_and_used(tmp_path: Path, portrait: np.ndarray, own: float) -> None:
    tiny_restore_pipeline(identity=False, fidelity=own).save_pretrained(tmp_path)
    pipe = FaceRestorePipeline.from_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)

    def restored(**options: float) -> np.ndarray:
        return pipe(portrait, aligned=True, generator=seed(), output_type="np", **options).images

    np.testing.assert_array_equal(restored(), restored(fidelity=own))
    assert not np.array_equal(restored(), restored(fidelity=0.4))


def test_a_self_ensemble_is_the_mean_of_the_face_and_its_mirror_image(
    pipe: FaceRestorePipeline, portrait: np.ndarray
) -> None:
    # Of the networks' size, because enlarging clips, and of 16 bits, because rounding is coarse.
    face = cv2.resize(portrait, (64, 64), interpolation=cv2.INTER_AREA).astype(np.uint16) * 257
    faces = [face, face[::-1]]
    mirrored = [face[:, ::-1] for face in faces]

    def restored(photos: list[np.ndarray], **options: Any) -> np.ndarray:
        options = {"num_images": 2, "fidelity": 0.3, "generator": seed()} | options
        return np.stack(pipe(photos, aligned=True, output_type="np", **options).images)

    alone, twins = restored(faces), restored(mirrored)[:, :, ::-1]
    assert np.abs(alone - twins).max() > 0.01
    both = restored(faces, self_ensemble=True)
    np.testing.assert_allclose(both, (alone + twins) / 2, atol=2 / 65535)
    np.testing.assert_allclose(restored(faces, self_ensemble=True, max_batch_size=1), both, atol=1e-3)
    given = {"latents": torch.randn(4, 12, 16, generator=seed(8)), "z": torch.randn(4, 16, generator=seed(9))}
    alone, twins = restored(faces, **given), restored(mirrored, **given)[:, :, ::-1]
    np.testing.assert_allclose(
        restored(faces, self_ensemble=True, **given), (alone + twins) / 2, atol=2 / 65535
    )


def test_restore_batch_takes_part_in_the_self_ensemble(pipe: FaceRestorePipeline) -> None:
    faces = torch.rand(2, 3, 64, 64, generator=seed()) * 2 - 1

    def restored(faces: torch.Tensor, self_ensemble: bool | None) -> torch.Tensor:
        return pipe.restore_batch(faces, [seed(1), seed(2)], 0.0, self_ensemble=self_ensemble)

    wanted = (restored(faces, False) + restored(faces.flip(-1), False).flip(-1)) / 2
    torch.testing.assert_close(restored(faces, True), wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(restored(faces, None), restored(faces, False), atol=1e-5, rtol=0)


def test_mirror_images_leave_generators_as_one_pass_does(pipe: FaceRestorePipeline) -> None:
    faces, left = torch.rand(1, 3, 64, 64, generator=seed()) * 2 - 1, []
    for self_ensemble in (True, False):
        source = seed(3)
        pipe.restore_batch(faces, [source], self_ensemble=self_ensemble)
        left.append(torch.randn(1, generator=source).item())
    assert left[0] == left[1] != torch.randn(1, generator=seed(3)).item()


def test_callbacks_have_no_part_in_mirror_images(pipe: FaceRestorePipeline, portrait: np.ndarray) -> None:
    steps: list[int] = []

    def count(pipe: Any, step: int, timestep: int, tensors: dict) -> None:
        steps.append(step)
        pipe.interrupt = step == 1 and ends

    def restored(**options: Any) -> np.ndarray:
        return pipe(portrait, aligned=True, generator=seed(), output_type="np", **options).images

    for ends, expected in ((False, [0, 1, 2, 3]), (True, [0, 1])):
        steps.clear()
        averaged = restored(self_ensemble=True, callback_on_step_end=count)
        assert steps == expected
        alone = restored(callback_on_step_end=count)
        assert np.array_equal(averaged, alone) == ends, "an interrupted call makes no mirror image"


@pytest.mark.parametrize(("averages", "steps"), [(False, 4), (True, 8)])
def test_one_progress_bar_counts_the_steps_of_both_passes(
    pipe: FaceRestorePipeline, portrait: np.ndarray, capfd: pytest.CaptureFixture[str], averages, steps
) -> None:
    pipe.set_progress_bar_config(disable=False)
    try:
        pipe(portrait, aligned=True, generator=seed(), self_ensemble=averages)
    finally:
        pipe.set_progress_bar_config(disable=True)
    shown = capfd.readouterr().err
    assert f"{steps}/{steps}" in shown and shown.count("100%") == 1


def test_without_code_diffuser_there_is_no_progress_bar(
    pipe: FaceRestorePipeline, portrait: np.ndarray, capfd: pytest.CaptureFixture[str]
) -> None:
    without = FaceRestorePipeline(**pipe.components | {"code_diffuser": None, "scheduler": None})
    without(portrait, aligned=True, generator=seed(), self_ensemble=True)
    assert "it/s" not in capfd.readouterr().err


def test_the_models_own_self_ensemble_is_saved_and_used(tmp_path: Path, portrait: np.ndarray) -> None:
    tiny_restore_pipeline(identity=False, self_ensemble=True).save_pretrained(tmp_path)
    pipe = FaceRestorePipeline.from_pretrained(tmp_path)
    pipe.set_progress_bar_config(disable=True)
    own, averaged, alone = (
        pipe(portrait, aligned=True, generator=seed(), output_type="np", **options).images
        for options in ({}, {"self_ensemble": True}, {"self_ensemble": False})
    )
    np.testing.assert_array_equal(own, averaged)
    assert not np.array_equal(own, alone)


def test_models_that_say_nothing_of_fidelity_give_the_networks_picture(
    tmp_path: Path, portrait: np.ndarray
) -> None:
    """As converted published weights do: I_out = G(I_de, w^0, z, F^s), thesis section 3.2.1."""
    pipe = tiny_restore_pipeline(identity=False)
    pipe.save_pretrained(tmp_path)
    index = tmp_path / "model_index.json"
    entries = json.loads(index.read_text())
    del entries["fidelity"], entries["self_ensemble"]
    index.write_text(json.dumps(entries))
    silent = FaceRestorePipeline.from_pretrained(tmp_path)
    silent.set_progress_bar_config(disable=True)
    got, wanted = (
        p(portrait, aligned=True, generator=seed(), output_type="np", **o).images
        for p, o in ((silent, {}), (pipe, {"fidelity": 0, "self_ensemble": False}))
    )
    np.testing.assert_allclose(got, wanted, atol=1.5 / 255)  # not every processor adds up the same way twice
    with pytest.raises(ValueError, match="fidelity is 2"):
        tiny_restore_pipeline(fidelity=2)


def test_without_code_diffuser_the_encoders_codes_are_the_prompts(
    pipe: FaceRestorePipeline, tmp_path: Path, portrait: np.ndarray
) -> None:
    """Thesis Table 3.3, (a)."""
    parts = pipe.components | {"code_diffuser": None, "scheduler": None}
    FaceRestorePipeline(**parts).save_pretrained(tmp_path)
    without = FaceRestorePipeline.from_pretrained(tmp_path)
    without.set_progress_bar_config(disable=True)
    assert without.code_diffuser is without.scheduler is None
    options = {"aligned": True, "output_type": "np", "return_aligned": True}
    given, z = torch.zeros(1, 12, 16), torch.randn(1, 16, generator=seed(9))
    output = without(portrait, z=z, generator=seed(), **options)

    def replaced(pipe: Any, step: int, timestep: int, tensors: dict) -> dict:
        return {"latents": tensors["style_codes"]}  # in place of what the diffuser makes

    names = ("latents", "style_codes")
    same = pipe(
        portrait,
        latents=given,
        z=z,
        generator=seed(),
        num_inference_steps=1,
        callback_on_step_end=replaced,
        callback_on_step_end_tensor_inputs=names,
        **options,
    )
    np.testing.assert_allclose(output.style_prompts[0][0], same.style_prompts[0][0], atol=1e-6)
    # The scheduler's own noise is drawn from the same generators before that of the networks.
    np.testing.assert_allclose(output.images, same.images, atol=0.1)
    assert not np.array_equal(output.images, pipe(portrait, z=z, generator=seed(), **options).images)
    for settings in ({"num_inference_steps": 4}, {"latents": given}):
        (name,) = settings
        with pytest.raises(ValueError, match=f"{name} is for the code diffuser"):
            without(portrait, aligned=True, **settings)
    with pytest.raises(ValueError, match="pass scheduler"):
        FaceRestorePipeline(**pipe.components | {"scheduler": None})


def test_the_truths_own_inversion_stands_beside_the_prompts(
    pipe: FaceRestorePipeline, couple: np.ndarray, two_faces: Any
) -> None:
    """Thesis Fig. 3.7: the prior's picture of the codes that the style encoder reads off the undamaged face."""
    damaged = cv2.GaussianBlur(couple, (0, 0), 4)
    output = pipe(
        [damaged, damaged // 2],
        truth=[couple, couple],
        detector=two_faces,
        num_images=2,
        generator=seed(),
        return_aligned=True,
        output_type="pt",
    )
    assert len(output.truth_prompts) == len(output.aligned_truths) == 4
    for truths, prompts in zip(output.aligned_truths, output.truth_prompts, strict=True):
        assert len(truths) == len(prompts) == 2
        with torch.no_grad():
            codes = pipe.style_encoder(truths * 2 - 1)
            drawn = pipe.prior(w_plus=codes, noise="fixed").image
        wanted = torch.nn.functional.adaptive_avg_pool2d(drawn, 64).clamp(-1, 1) / 2 + 0.5
        torch.testing.assert_close(prompts, wanted, atol=1e-2, rtol=1e-2)
    plain = pipe(damaged, detector=two_faces, generator=seed(), return_aligned=True)
    assert plain.truth_prompts is None and plain.aligned_truths is None


@pytest.mark.parametrize(
    ("truth", "options", "message"),
    [
        (np.zeros((256, 256, 3), np.uint8), {"return_aligned": False}, "Pass return_aligned=True"),
        ([np.zeros((256, 256, 3), np.uint8)] * 2, {}, "2 truths for 1 photos"),
        (np.zeros((200, 256, 3), np.uint8), {}, "truth is 256x200 and the photo that was damaged 256x256"),
    ],
)
def test_truths_that_do_not_fit_are_refused(
    pipe: FaceRestorePipeline, portrait: np.ndarray, truth: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pipe(portrait, truth=truth, **{"return_aligned": True} | options)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fidelity": 1.5}, "fidelity is 1.5"),
        ({"fidelity": "high"}, "fidelity is 'high'"),
        ({"self_ensemble": "False"}, "self_ensemble is 'False'"),
        ({"num_images": 0}, "num_images is 0"),
        ({"max_batch_size": 2.5}, "max_batch_size is 2.5"),
        ({"num_inference_steps": 5}, "between 1 and 4"),
        ({"min_face_size": -1}, "min_face_size"),
        ({"output_type": "latent"}, "output_type is 'latent'"),
        ({"generator": [torch.Generator()] * 2}, "2 generators for 1 photos"),
        ({"callback_on_step_end_tensor_inputs": ["codes"]}, "codes"),
        ({"faces": "both"}, "faces must be"),
    ],
)
def test_bad_settings_are_refused(
    pipe: FaceRestorePipeline, portrait: np.ndarray, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pipe(portrait, **settings)


def test_bad_photos_are_refused(pipe: FaceRestorePipeline, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pipe(tmp_path / "nothing.png")
    with pytest.raises(ValueError, match="NaN"):
        pipe(torch.full((3, 64, 64), float("nan")))
    with pytest.raises(ValueError, match="empty list"):
        pipe([])


def test_networks_that_overflow_are_reported(portrait: np.ndarray) -> None:
    pipe = tiny_restore_pipeline()
    pipe.restorer.to_rgb.bias.data.fill_(float("inf"))
    with pytest.raises(ValueError, match="NaN or infinity"):
        pipe(portrait, aligned=True)
