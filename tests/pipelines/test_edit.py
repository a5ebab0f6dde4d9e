"""The edit pipeline around tiny real networks: what it promises to callers."""

from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from facekit import FaceEditPipeline
from facekit.conditions.guidance import encoder_input
from facekit.conditions.semantics import CLASS_NAMES, PALETTE
from facekit.conditions.text import TextGuide
from facekit.faces import detect_faces
from facekit.pipelines.edit.render import Renderer
from tests.helpers.masks import box_mask
from tests.tiny.networks import tiny_text_guide
from tests.tiny.pipelines import tiny_edit_pipeline

FIVE = ("sketch", "semantics", "color", "exemplar", "prompt")


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(number)


@pytest.fixture(scope="module")
def pipe() -> FaceEditPipeline:
    return tiny_edit_pipeline()


@pytest.fixture(scope="module")
def guide() -> TextGuide:
    return tiny_text_guide()


@pytest.fixture(scope="module")
def drawn(portrait: np.ndarray, eyes: np.ndarray, guide: TextGuide) -> dict[str, dict[str, Any]]:
    """Arguments for each of the five modalities."""
    strokes = np.zeros_like(eyes)
    strokes[95:98, 90:150] = True
    paint = np.zeros((256, 256, 4), dtype=np.uint8)
    paint[90:110, 95:140] = (30, 200, 60, 255)
    return {
        "sketch": {"sketch": strokes},
        "semantics": {"semantics": {"hair": box_mask(eyes.shape, (95, 90, 120, 110))}},
        "color": {"color": paint},
        "exemplar": {"exemplar": np.ascontiguousarray(portrait[:, ::-1, ::-1])},
        "prompt": {"prompt": "old", "text_guide": guide, "num_inference_steps": 2},
    }


@pytest.fixture(scope="module")
def plain(pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray) -> Any:
    """Edits of the aligned portrait without randomness, as float32 `[256, 256, 3]`."""

    def edit(**options: Any) -> np.ndarray:
        settings = {"aligned": True, "noise": "none", "output_type": "np"} | options
        return pipe(portrait, eyes, **settings).images[0]

    return edit


def test_matched_tones_leave_the_middle_of_a_large_hole_alone(
    pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    large = np.zeros_like(eyes)
    large[40:216, 40:216] = True
    options = {"aligned": True, "noise": "none", "output_type": "np"}
    plain, matched = (
        pipe(portrait, large, match_tones=wanted, **options).images[0] for wanted in (False, True)
    )
    np.testing.assert_array_equal(plain[110:146, 110:146], matched[110:146, 110:146])
    assert (plain != matched)[large].mean() > 0.5


def test_the_photos_detail_is_put_back_inside_the_hole(
    pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    large = np.zeros_like(eyes)
    large[40:216, 40:216] = True
    options = {"aligned": True, "noise": "none", "output_type": "np"}
    plain, kept = (pipe(portrait, large, keep_detail=wanted, **options).images[0] for wanted in (False, True))
    np.testing.assert_array_equal(plain[~large], kept[~large])
    photo, fill, detailed = (
        cv2.Laplacian(np.float32(picture).mean(-1), cv2.CV_32F)[60:196, 60:196].ravel()
        for picture in (portrait / 255, plain, kept)
    )
    assert np.corrcoef(photo, detailed)[0, 1] > 0.9 > 0.3 > np.corrcoef(photo, fill)[0, 1]


def test_detail_is_put_back_at_the_photos_own_resolution(pipe: FaceEditPipeline) -> None:
    """The face is three times as wide as the networks' picture of it."""
    photo = np.array(Image.fromarray(astronaut()).resize((1536, 1536), Image.Resampling.LANCZOS))
    grain = np.random.default_rng(0).normal(0, 12, photo.shape[:2])[..., None]
    photo = np.clip(photo + grain, 0, 255).astype(np.uint8)
    hole = np.zeros(photo.shape[:2], bool)
    hole[100:350, 540:800] = True
    (face,) = detect_faces(photo)
    plain, kept = (
        np.asarray(pipe(photo, hole, keep_detail=wanted, known_faces=[[face]], generator=seed()).images[0])
        for wanted in (False, True)
    )
    assert np.array_equal(plain[~hole], kept[~hole])
    inner = np.s_[200:300, 600:740]
    fine = [
        cv2.Laplacian(np.float32(picture[inner]).mean(-1), cv2.CV_32F).std()
        for picture in (photo, plain, kept)
    ]
    assert fine[1] < 0.1 * fine[0] and fine[2] > 0.3 * fine[0]


@pytest.fixture(scope="module")
def matching() -> Any:
    """Edits of aligned portraits without randomness, by a model that matches tones."""
    pipeline = tiny_edit_pipeline()
    pipeline.register_to_config(match_tones=True)

    def edit(photos: Any, mask: np.ndarray, **options: Any) -> list[np.ndarray]:
        return pipeline(photos, mask, aligned=True, noise="none", output_type="np", **options).images

    return edit


def test_painted_colours_set_the_tones(
    matching: Any, drawn: dict[str, dict[str, Any]], portrait: np.ndarray, eyes: np.ndarray
) -> None:
    def fill(wanted: bool | None, **guidance: Any) -> np.ndarray:
        return matching(portrait, eyes, match_tones=wanted, **guidance)[0]

    np.testing.assert_array_equal(fill(None), fill(True))
    np.testing.assert_array_equal(fill(1), fill(True))  # as `facekit evaluate` reads it
    np.testing.assert_array_equal(fill(None, **drawn["color"]), fill(False, **drawn["color"]))
    assert (fill(True, **drawn["color"]) != fill(False, **drawn["color"])).any()
    ignored = {"strengths": {"color": 0.0}} | drawn["color"]
    np.testing.assert_array_equal(fill(None, **ignored), fill(None))
    np.testing.assert_array_equal(fill(None, **drawn["exemplar"]), fill(True, **drawn["exemplar"]))


def test_each_photo_of_a_batch_has_its_tones_matched_or_not(
    matching: Any, drawn: dict[str, dict[str, Any]], portrait: np.ndarray, eyes: np.ndarray
) -> None:
    paint = drawn["color"]["color"]
    painted, plain = matching([portrait] * 2, eyes, color=[paint, np.zeros_like(paint)])
    np.testing.assert_allclose(painted, matching(portrait, eyes, color=paint)[0], atol=1e-5)
    np.testing.assert_allclose(plain, matching(portrait, eyes)[0], atol=1e-5)


@pytest.mark.parametrize("subset", list(product((False, True), repeat=5)))
def test_every_subset_of_five_modalities_reacts_to_each_of_its_members(
    plain: Any,
    drawn: dict[str, dict[str, Any]],
    portrait: np.ndarray,
    eyes: np.ndarray,
    subset: tuple[bool, ...],
    results: dict[tuple[bool, ...], np.ndarray],
) -> None:
    def edited(chosen: tuple[bool, ...]) -> np.ndarray:
        if chosen not in results:
            arguments: dict[str, Any] = {}
            for name, given in zip(FIVE, chosen, strict=True):
                arguments |= drawn[name] if given else {}
            results[chosen] = plain(**arguments)
        return results[chosen]

    result = edited(subset)
    np.testing.assert_array_equal(result[~eyes], (portrait / np.float32(255))[~eyes])
    assert np.isfinite(result).all()
    for index in np.flatnonzero(subset):
        without = tuple(given and place != index for place, given in enumerate(subset))
        assert np.abs(result - edited(without)).max() > 2e-5, FIVE[index]


@pytest.fixture(scope="module")
def results() -> dict[tuple[bool, ...], np.ndarray]:
    """Edits that several tests compare with."""
    return {}


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "I;16"])
def test_known_pixels_come_back_bit_identical(
    pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray, mode: str, aligned: bool
) -> None:
    if mode == "I;16":
        gray = np.asarray(Image.fromarray(portrait).convert("L"))
        given = Image.fromarray(gray.astype(np.uint16) * 250 + 3)
    else:
        given = Image.fromarray(portrait).convert(mode)
    if mode == "RGBA":
        given.putalpha(Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1))))
    result = pipe(given, eyes, semantics={"hair": True}, attributes={"age": 1}, aligned=aligned).images[0]
    assert (result.mode, result.size) == (given.mode, given.size)
    shown = [np.asarray(i.convert("RGBA") if mode == "P" else i) for i in (given, result)]
    np.testing.assert_array_equal(shown[1][~eyes], shown[0][~eyes])
    assert (shown[1][eyes] != shown[0][eyes]).mean() > 0.4


@torch.inference_mode()
def test_the_edit_follows_equations_6_1_to_6_3(pipe: FaceEditPipeline) -> None:
    source = seed(1)
    known, face = (torch.rand(1, 3, 64, 64, generator=source) * 2 - 1 for _ in range(2))
    # The exemplar is seen in 8 bits.
    face = torch.round((face + 1) * 127.5) / 127.5 - 1
    hole, strokes = torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    hole[..., 20:50, 10:40] = 1
    strokes[..., 30:32, 12:38] = 1
    semantics = torch.zeros(1, 19, 64, 64)
    semantics[:, 17, 20:30, 10:40] = 1
    color = torch.zeros(1, 3, 64, 64)
    color[..., 40:45, 10:20] = torch.tensor([51, 102, 255])[None, :, None, None] / 127.5 - 1
    masked = known * (1 - hole)

    projected = pipe.style_encoder(encoder_input(masked, strokes, semantics, color))
    style = pipe.style_encoder(encoder_input(face))
    turned = pipe.latent_warper.offsets(projected - style, style) + style
    codes = turned + 1.5 * pipe.directions.direction("smile")
    bank = pipe.prior(w_plus=codes, noise="fixed", feature_layer="conv").features
    features = pipe.aggregation(masked, hole, strokes, semantics, color)
    predicted = pipe.refiner(features, codes, bank, noise="fixed")
    expected = ((predicted * hole + masked + 1) / 2).clamp(0, 1)

    labels = np.full((64, 64), -1, dtype=np.int32)
    labels[20:30, 10:40] = 17
    layer = np.zeros((64, 64, 4), dtype=np.uint8)
    layer[40:45, 10:20] = (51, 102, 255, 255)
    photo = (known + 1) / 2
    output = pipe(
        photo,
        hole,
        sketch=strokes,
        semantics=labels,
        color=layer,
        exemplar=(face + 1) / 2,
        attributes={"smile": 1.5},
        aligned=True,
        noise="fixed",
        output_type="pt",
        return_inversions=True,
    )
    torch.testing.assert_close(output.images, expected, rtol=0, atol=1e-5)
    assert torch.equal(output.images * (1 - hole), photo * (1 - hole))
    # Fig. 6.13: what the prior makes of w^p, w^e, w_hat and w*.
    of = {"projected": projected, "exemplar": style, "warped": turned, "edited": codes}
    assert list(output.inversions) == list(of)
    for name, w_plus in of.items():
        picture = ((pipe.prior(w_plus=w_plus, noise="fixed").image + 1) / 2).clamp(0, 1)
        torch.testing.assert_close(output.inversions[name][0], picture, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_pose_is_taken_from_a_face_or_from_a_face_and_its_mirror_image(
    pipe: FaceEditPipeline, portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the renderer is handed, for w^wa = H(w^ta - w^so, w^so) + w^so.
    seen = []
    render = Renderer.render

    def spy(renderer: Renderer, w_plus: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append(w_plus)
        return render(renderer, w_plus, *rest)

    small = np.asarray(Image.fromarray(portrait).resize((64, 64)))
    photo, other = (torch.from_numpy(p / np.float32(255))[None] for p in (small, small[::-1].copy()))
    photo, other = photo.movedim(-1, 1), other.movedim(-1, 1)
    own, mirrored, shown = (
        pipe.style_encoder(encoder_input(2 * x - 1)) for x in (photo, photo.flip(3), other)
    )
    hole = torch.zeros(1, 1, 64, 64)
    hole[..., 20:40, 20:40] = 1
    options = {"aligned": True, "noise": "none"}
    monkeypatch.setattr(Renderer, "render", spy)
    pipe(photo, hole, pose_from=other, **options)
    pipe(photo, hole, pose_from="front", **options)
    pipe(photo, hole, exemplar=other, pose_from=photo, **options)
    pipe(photo, hole, exemplar="self", align_pose=False, **options)
    warp = pipe.latent_warper
    expected = [warp(shown, own), warp(0.5 * own + 0.5 * mirrored, own), warp(own, shown), own]
    for found, wanted in zip(seen, expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=2e-5)


def test_inversions_come_for_every_candidate_and_change_nothing(
    pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray, drawn: dict[str, dict[str, Any]]
) -> None:
    options = {"aligned": True, "noise": "none", "num_images": 2, "attributes": {"smile": 1.0}}
    options |= drawn["exemplar"] | {"generator": seed(), "return_inversions": True}
    output = pipe(portrait, eyes, **options, output_type="pt")
    assert list(output.inversions) == ["projected", "exemplar", "warped", "edited"]
    assert all(len(shown) == len(output.images) == 2 for shown in output.inversions.values())

    assert all(shown[0].shape == (1, 3, 64, 64) for shown in output.inversions.values())
    assert torch.equal(output.inversions["projected"][0], output.inversions["projected"][1])
    assert not torch.equal(output.inversions["edited"][0], output.inversions["edited"][1])  # by their variety

    plainly = pipe(portrait, eyes, **options | {"return_inversions": False, "generator": seed()})
    assert plainly.inversions is None
    pictures = pipe(portrait, eyes, **options | {"generator": seed()})
    assert np.array_equal(np.asarray(pictures.images[0]), np.asarray(plainly.images[0]))
    assert pictures.inversions["warped"][0][0].size == (64, 64)


def test_inversions_show_only_what_an_edit_had(
    pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    def names(mask: np.ndarray = eyes, **options: Any) -> list[str]:
        given = {"aligned": True, "return_inversions": True} | options
        return list(pipe(portrait, mask, **given).inversions)

    assert names() == ["projected", "edited"]
    assert names(exemplar="self", align_pose=False) == ["projected", "exemplar", "edited"]
    assert names(pose_from="front") == ["projected", "warped", "edited"]
    assert names(np.zeros_like(eyes), aligned=False) == []


def test_an_empty_mask_leaves_the_photo_and_says_so(
    pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    output = pipe([portrait, portrait], [np.zeros_like(eyes), eyes], generator=seed(), output_type="np")
    np.testing.assert_array_equal(output.images[0], portrait / np.float32(255))
    assert (output.images[1] != output.images[0]).any()
    assert output.notes == ["image 0: the mask is empty: the photo comes back as it was"]
    assert [len(faces) for faces in output.faces] == [0, 1]


def test_faces_that_are_known_are_not_sought(
    pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    def never(_photo: np.ndarray) -> list:
        raise AssertionError("the photo was searched")

    expected = pipe(portrait, eyes, generator=seed(), output_type="np")
    found = detect_faces(portrait)
    known = pipe(portrait, eyes, known_faces=[found], detector=never, generator=seed(), output_type="np")
    np.testing.assert_array_equal(known.images, expected.images)
    with pytest.raises(ValueError, match="known_faces has 1 entries for 2 photos"):
        pipe([portrait, portrait], eyes, known_faces=[found])


def test_strengths_go_from_nothing_to_all(plain: Any, drawn: dict[str, dict[str, Any]]) -> None:
    nothing = plain()
    modalities = {
        **drawn,
        "attributes": {"attributes": {"smile": 2.0}},
        "pose": {"pose_from": drawn["exemplar"]["exemplar"]},
    }
    for name, arguments in modalities.items():
        off, half, on = (plain(**arguments, strengths={name: strength}) for strength in (0, 0.5, 1))
        np.testing.assert_array_equal(off, nothing)
        np.testing.assert_array_equal(on, plain(**arguments))
        assert np.abs(half - nothing).max() > 1e-6 and np.abs(half - on).max() > 1e-6, name
    for strengths, message in (
        ({"colour": 1}, "known are sketch, semantics, color, exemplar, pose, attributes, prompt"),
        ({"sketch": 2}, "strength of sketch is 2; it must lie between 0"),
        ({"sketch": True}, "strength of sketch is True"),
    ):
        with pytest.raises(ValueError, match=message):
            plain(strengths=strengths)


def test_candidates_seeds_and_batches(
    pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray, drawn: dict[str, dict[str, Any]]
) -> None:
    photos, masks = [portrait, np.ascontiguousarray(portrait[:, ::-1])], [eyes, eyes[:, ::-1]]
    options = {"num_images": 2, "output_type": "np", "exemplar": drawn["exemplar"]["exemplar"]}
    together = pipe(photos, masks, generator=[seed(0), seed(1)], **options).images
    assert together.shape == (4, 256, 256, 3) and (together[0] != together[1]).any()
    small = pipe(photos, masks, generator=[seed(0), seed(1)], max_batch_size=1, **options).images
    np.testing.assert_allclose(together, small, atol=1.5 / 255)
    for index in range(2):
        alone = pipe(photos[index], masks[index], generator=seed(index), **options).images
        np.testing.assert_allclose(together[2 * index : 2 * index + 2], alone, atol=1.5 / 255)


def test_variety_truncation_and_noise(plain: Any, pipe: FaceEditPipeline) -> None:
    first = plain(noise="random", generator=seed(1))
    np.testing.assert_array_equal(first, plain(noise="random", generator=seed(1)))
    assert (first != plain(noise="random", generator=seed(2))).any()
    # Without noise and variety nothing is random; with variety the codes are.
    np.testing.assert_array_equal(plain(generator=seed(1)), plain(generator=seed(2)))
    varied = [plain(generator=seed(n), variety=1) for n in (1, 2)]
    assert (varied[0] != varied[1]).any()
    z = torch.ones(1, 16)
    np.testing.assert_array_equal(plain(variety=1, z=z, generator=seed(1)), plain(variety=1, z=z))
    # A full truncation leaves the average.
    averages = [plain(generator=seed(n), variety=1, truncation_psi=0) for n in (1, 2)]
    np.testing.assert_array_equal(*averages)
    assert (plain(noise="fixed") != plain()).any()


def test_semantic_maps_of_all_kinds_say_the_same(plain: Any, eyes: np.ndarray) -> None:
    labels = np.full(eyes.shape, 255, dtype=np.uint8)
    labels[90:100, 95:150], labels[100:110, 95:150] = 17, 1
    palette = np.array([*PALETTE, *[(222, 222, 222)] * 237], dtype=np.uint8)[labels]
    layer = np.dstack([palette, np.where(labels == 255, 0, 255).astype(np.uint8)])
    layer[labels == 255] = 0
    indexed = Image.fromarray(palette).quantize(4, dither=Image.Dither.NONE)
    named = {"hair": labels == 17, "skin": labels == 1}
    expected = plain(semantics=labels)
    signed = np.where(labels == 255, -1, labels.astype(np.int64))
    others = (signed, torch.from_numpy(signed), Image.fromarray(labels), palette, layer, indexed, named)
    for other in others:
        np.testing.assert_array_equal(plain(semantics=other), expected)
    assert np.abs(plain(semantics=np.full_like(labels, 255)) - expected).max() > 1e-6
    np.testing.assert_array_equal(
        plain(semantics={"hair": True}), plain(semantics=np.full_like(labels, CLASS_NAMES.index("hair")))
    )


def test_color_is_strokes_or_a_picture(plain: Any, portrait: np.ndarray, eyes: np.ndarray) -> None:
    layer = np.dstack([portrait[::-1], np.where(eyes, 255, 0).astype(np.uint8)])
    np.testing.assert_array_equal(plain(color=layer), plain(color=Image.fromarray(portrait[::-1])))
    layer[..., 3] = 0
    np.testing.assert_array_equal(plain(color=layer), plain())


def test_guidance_outside_the_mask_is_ignored_with_a_note(
    pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    def edit(**options: Any) -> tuple[np.ndarray, list[str]]:
        output = pipe(portrait, eyes, aligned=True, noise="none", output_type="np", **options)
        return output.images[0], output.notes

    inside = np.zeros_like(eyes)
    inside[95:98, 90:150] = True
    both = inside.copy()
    both[200:203, 90:150] = True
    for name, draw in (
        ("sketch", lambda m: {"sketch": m}),
        ("semantic map", lambda m: {"semantics": {"nose": m}}),
        ("colour guidance", lambda m: {"color": np.dstack([portrait, np.where(m, 255, 0).astype(np.uint8)])}),
    ):
        small, notes = edit(**draw(inside))
        assert notes == []
        large, notes = edit(**draw(both))
        np.testing.assert_array_equal(small, large)
        assert notes == [f"50% of the {name} lies outside the mask and is ignored"]
        _, notes = edit(**draw(both & ~inside))
        assert notes == [f"the {name} lies outside the mask and is ignored"]


def test_guidance_travels_with_the_face(pipe: FaceEditPipeline, portrait: np.ndarray) -> None:
    # The photo turned, scaled and shifted: the network should see the same face and the same drawing.
    drawing = {
        "mask": box_mask(portrait.shape, (85, 85, 160, 150)),
        "sketch": box_mask(portrait.shape, (95, 100, 150, 103)),
        "semantics": np.where(box_mask(portrait.shape, (95, 110, 120, 130)), 10, 255).astype(np.uint8),
        "color": np.zeros((256, 256, 4), dtype=np.uint8),
    }
    drawing["color"][110:140, 125:155] = (250, 10, 10, 255)
    seen = []
    for turn in (False, True):

        def moved(array: np.ndarray, resample: int, turn: bool = turn) -> np.ndarray:
            image = Image.fromarray(array).resize((512, 512), resample) if turn else Image.fromarray(array)
            return np.asarray(image.rotate(12, resample) if turn else image)

        nearest = Image.Resampling.NEAREST
        mask, sketch = (moved(drawing[name].astype(np.uint8), nearest) > 0 for name in ("mask", "sketch"))
        labels = drawing["semantics"] + 1 if turn else drawing["semantics"]
        labels = moved(labels, nearest) - np.uint8(1) if turn else labels
        color = moved(drawing["color"], nearest)
        photo = moved(portrait, Image.Resampling.BICUBIC)
        jobs = pipe._plan_photos(
            photo,
            mask,
            sketch,
            labels,
            color,
            aligned=False,
            faces="all",
            detector=None,
            known_faces=None,
            max_pixels=None,
        )
        seen.append(jobs[0].drawn[0])
    first, second = seen
    maps = [
        (first.cut.hole, second.cut.hole, 0.9),
        (first.seen.labels == 10, second.seen.labels == 10, 0.75),
        (first.seen.color.where, second.seen.color.where, 0.75),
        (first.seen.sketch, second.seen.sketch, 0.4),
    ]
    for one, two, least in maps:
        assert (one & two).sum() / (one | two).sum() > least
    assert (
        np.abs(
            second.seen.color.colors[second.seen.color.where].mean(0) - np.array([250, 10, 10]) / 255
        ).max()
        < 0.03
    )


def test_the_face_parser_gives_a_map_to_paint_on(portrait: np.ndarray, eyes: np.ndarray) -> None:
    pipe = tiny_edit_pipeline(parser=True)
    (labels,) = pipe.semantic_maps(portrait)
    assert labels.shape == (256, 256) and labels.dtype == np.uint8
    assert labels[100, 120] < 19 and labels[255, 0] == 255
    (whole,) = pipe.semantic_maps(portrait, aligned=True)
    assert (whole < 19).all()
    pipe(portrait, eyes, semantics=labels)
    with pytest.raises(ValueError, match="no face parser"):
        tiny_edit_pipeline().semantic_maps(portrait)


def test_text_reports_its_steps_and_can_be_ended(
    pipe: FaceEditPipeline, plain: Any, drawn: dict[str, dict[str, Any]]
) -> None:
    steps = []

    def note(owner: FaceEditPipeline, step: int, total: int, tensors: dict[str, torch.Tensor]) -> None:
        steps.append((step, total, tuple(tensors["w_plus"].shape)))
        owner.interrupt = len(steps) == 3

    # Small steps, so that each of them is better than the last.
    gentle = {"learning_rate": 0.01, "clip_weight": 1.0, "reg_weight": 0.0}
    arguments = drawn["prompt"] | {"num_inference_steps": 9, "text_options": gentle}
    ended = plain(**arguments, callback_on_step_end=note)
    assert steps == [(1, 9, (1, 10, 16)), (2, 9, (1, 10, 16)), (3, 9, (1, 10, 16))]
    whole = plain(**arguments)
    literal = plain(**arguments | {"text_options": gentle | {"search": "thesis"}})
    assert (literal != whole).any()
    assert (ended != whole).any() and not pipe.interrupt
    with torch.inference_mode():
        np.testing.assert_array_equal(plain(**arguments), whole)
    assert all(p.requires_grad and p.grad is None for p in pipe.prior.parameters())
    with pytest.raises(ValueError, match="reads at most 12"):
        plain(**arguments | {"prompt": "an old face with glasses"})
    with pytest.raises(ValueError, match=r"has \['loss'\]"):
        plain(**arguments, callback_on_step_end_tensor_inputs=["loss"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attributes": {"beard": 1}}, "no attribute 'beard'; known are age, smile"),
        ({"attributes": {"smile": "much"}}, "attribute smile is 'much'"),
        ({"attributes": {"smile": float("nan")}}, "attribute smile is nan"),
        ({"semantics": {"beard": True}}, "class 'beard'; known are background, skin, l_brow"),
        ({"semantics": np.full((256, 256), 19)}, r"unknown labels \(19\). Known are 0 background, 1 skin"),
        ({"semantics": np.full((256, 256, 3), 90, np.uint8)}, r"100% of semantics shows colours of no class"),
        ({"semantics": np.ones((256, 256), bool)}, "for a mask the class that it marks"),
        ({"semantics": np.zeros((256, 200), np.uint8)}, "semantics is 200x256 and the photo 256x256"),
        ({"color": np.zeros((128, 256, 3), np.uint8)}, "color is 256x128 and the photo 256x256"),
        ({"semantics": [{}, {}]}, "2 semantic maps for 1 photos"),
        ({"mask": None}, "mask is missing"),
        ({"prompt": " "}, "prompt is ' '"),
        ({"prompt": "old", "text_options": {"search": "sgd"}}, "search must be 'adam' or 'thesis'"),
        ({"variety": 2}, "variety is 2"),
        ({"truncation_psi": -1}, "truncation_psi is -1"),
        ({"noise": "much"}, "noise is 'much'"),
        ({"num_images": 0}, "num_images is 0"),
        ({"num_inference_steps": 0.5}, "num_inference_steps is 0.5"),
        ({"output_type": "jpg"}, "output_type is 'jpg'"),
        ({"exemplar_face": "first", "exemplar": np.zeros((64, 64, 3), np.uint8)}, "exemplar_face is 'first'"),
        ({"exemplar": []}, "exemplar is an empty list"),
        ({"z": torch.ones(2, 16)}, r"\[1, 16\] is needed"),
        ({"generator": [seed(), seed()]}, "2 generators for 1 pairs"),
        ({"pose_from": [np.zeros((64, 64, 3), np.uint8)] * 2}, "2 pose references for 1 photos"),
    ],
)
def test_wrong_input_is_refused_before_any_work(
    pipe: FaceEditPipeline, portrait: np.ndarray, eyes: np.ndarray, options: dict[str, Any], message: str
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a network ran")

    networks = [c for c in pipe.components.values() if isinstance(c, torch.nn.Module)]
    hooks = [network.register_forward_pre_hook(never) for network in networks]
    try:
        with pytest.raises(ValueError, match=message):
            pipe(**{"image": portrait, "mask": eyes, "aligned": True} | options)
    finally:
        for hook in hooks:
            hook.remove()


def test_models_without_optional_parts_say_so(portrait: np.ndarray, eyes: np.ndarray, tmp_path: Path) -> None:
    pipe = tiny_edit_pipeline(directions=False)
    with pytest.raises(ValueError, match="no attribute directions"):
        pipe(portrait, eyes, attributes={"smile": 1})
    pipe.save_pretrained(tmp_path)
    again = FaceEditPipeline.from_pretrained(tmp_path)
    assert again.directions is None and again.attribute_names == ()
    options = {"aligned": True, "generator": None, "noise": "none", "output_type": "np"}
    np.testing.assert_array_equal(
        again(portrait, eyes, **options).images, pipe(portrait, eyes, **options).images
    )
    with pytest.raises(ValueError, match="the directions has 18 of 16"):
        directions = tiny_edit_pipeline().directions.from_tensors({"age": torch.ones(16)})
        FaceEditPipeline(**{**pipe.components, "directions": directions})
