"""The exemplar pipeline around tiny real networks: what it promises to callers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facekit import ExemplarInpaintPipeline
from facekit.images.photo import load_image
from tests.helpers.masks import box_mask
from tests.tiny.pipelines import tiny_exemplar_pipeline


def seed(number: int = 0) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(number)


@pytest.fixture(scope="module")
def pipe() -> ExemplarInpaintPipeline:
    return tiny_exemplar_pipeline()


@pytest.fixture(scope="module")
def model() -> ExemplarInpaintPipeline:
    """With identity encoder and sketch channel."""
    return tiny_exemplar_pipeline(identity=True, use_sketch=True)


@pytest.fixture(scope="module")
def other(portrait: np.ndarray) -> np.ndarray:
    """And another."""
    return (255 - portrait[::-1] // 2).astype(np.uint8)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "I;16"])
def test_known_pixels_come_back_bit_identical(
    pipe: ExemplarInpaintPipeline,
    portrait: np.ndarray,
    eyes: np.ndarray,
    example: np.ndarray,
    mode: str,
    aligned: bool,
) -> None:
    if mode == "I;16":
        gray = np.asarray(Image.fromarray(portrait).convert("L"))
        given = Image.fromarray(gray.astype(np.uint16) * 250 + 3)
    else:
        given = Image.fromarray(portrait).convert(mode)
    if mode in ("LA", "RGBA"):
        given.putalpha(Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1))))
    result = pipe(given, eyes, example, aligned=aligned).images[0]
    assert (result.mode, result.size) == (given.mode, given.size)
    shown = [np.asarray(i.convert("RGBA") if mode == "P" else i) for i in (given, result)]
    np.testing.assert_array_equal(shown[1][~eyes], shown[0][~eyes])
    assert (shown[1][eyes] != shown[0][eyes]).mean() > 0.4
    if mode in ("LA", "RGBA"):
        np.testing.assert_array_equal(shown[1][..., -1], shown[0][..., -1])


@torch.inference_mode()
def test_the_fill_follows_equations_5_1_to_5_3(pipe: ExemplarInpaintPipeline) -> None:
    source = seed(1)
    known, guide = (torch.rand(1, 3, 64, 64, generator=source) * 2 - 1 for _ in range(2))
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 20:50, 10:40] = 1
    z = torch.randn(1, 16, generator=source)
    network, encoder = pipe.multi_style_generator, pipe.style_encoder
    stochastic = network.mapping(z)[:, None].expand(-1, 4, -1)
    mixed = torch.cat([stochastic, encoder(guide, styles=(4, 10))], 1)
    predicted = network(known, mask, w_plus=mixed, noise="fixed").image
    photo, example = (known + 1) / 2, (guide + 1) / 2
    result = pipe(photo, mask, example, aligned=True, z=z, noise="fixed", output_type="pt").images
    expected = ((predicted * mask + known * (1 - mask) + 1) / 2).clamp(0, 1)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-5)
    assert torch.equal(result * (1 - mask), photo * (1 - mask))


def test_exemplars_change_the_fill_and_seeds_repeat_it(
    pipe: ExemplarInpaintPipeline,
    portrait: np.ndarray,
    eyes: np.ndarray,
    example: np.ndarray,
    other: np.ndarray,
) -> None:
    def fill(guide: np.ndarray, number: int, **options: Any) -> np.ndarray:
        settings = {"aligned": True, "generator": seed(number), "output_type": "np"} | options
        return pipe(portrait, eyes, guide, **settings).images[0]

    first = fill(example, 1)
    np.testing.assert_array_equal(first, fill(example, 1))
    assert (first != fill(other, 1)).any() and (first != fill(example, 2)).any()
    # At strength 0 nothing is left of the exemplar, without layers neither.
    for options in ({"exemplar_strength": 0}, {"exemplar_layers": []}):
        np.testing.assert_allclose(fill(example, 1, **options), fill(other, 1, **options), atol=1e-6)
    # Noise off: only z is random, and a full truncation leaves not even that.
    pipe.multi_style_generator.latent_avg += 1
    for noise in ("fixed", "none"):
        still = [fill(example, n, noise=noise, truncation_psi=0) for n in (1, 2)]
        np.testing.assert_array_equal(*still)
    assert (fill(example, 1, noise="fixed") != fill(example, 2, noise="fixed")).any()
    pipe.multi_style_generator.latent_avg -= 1


def test_candidates_differ_and_do_not_depend_on_batches(
    pipe: ExemplarInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray, example: np.ndarray
) -> None:
    photos = [portrait, np.ascontiguousarray(portrait[:, ::-1])]
    masks = [eyes, eyes[:, ::-1]]
    options = {"num_images": 2, "output_type": "np"}
    together = pipe(photos, masks, example, generator=[seed(0), seed(1)], **options).images
    assert together.shape == (4, 256, 256, 3)
    assert (together[0] != together[1]).any()
    small = pipe(photos, masks, example, generator=[seed(0), seed(1)], max_batch_size=1, **options).images
    np.testing.assert_allclose(together, small, atol=1.5 / 255)
    for index in range(2):
        alone = pipe(photos[index], masks[index], example, generator=seed(index), **options).images
        np.testing.assert_allclose(together[2 * index : 2 * index + 2], alone, atol=1.5 / 255)


def test_pairing_of_photos_and_exemplars(
    pipe: ExemplarInpaintPipeline,
    portrait: np.ndarray,
    eyes: np.ndarray,
    example: np.ndarray,
    other: np.ndarray,
) -> None:
    options = {"aligned": True, "noise": "none", "output_type": "np"}
    z = torch.ones(2, 16)
    many = pipe(portrait, eyes, [example, other], z=z, **options).images
    both = pipe([portrait, portrait // 2], eyes, [example, other], z=z, **options).images
    one = pipe([portrait, portrait // 2], eyes, example, z=z, **options).images
    assert many.shape == both.shape == one.shape == (2, 256, 256, 3)
    for index, guide in enumerate((example, other)):
        alone = pipe(portrait, eyes, guide, z=z[:1], **options).images[0]
        np.testing.assert_allclose(many[index], alone, atol=1e-5)
    np.testing.assert_allclose(both[0], many[0], atol=1e-5)
    np.testing.assert_allclose(one[0], both[0], atol=1e-5)
    assert np.abs(one[1] - both[1]).max() > 1e-3
    with pytest.raises(ValueError, match="3 exemplars for 2 photos"):
        pipe([portrait, portrait], eyes, [example] * 3, aligned=True)
    with pytest.raises(ValueError, match="1 generators for 2 pairs"):
        pipe(portrait, eyes, [example, other], aligned=True, generator=[seed()])
    with pytest.raises(ValueError, match=r"z has the shape \[2, 16\]; \[1, 16\]"):
        pipe(portrait, eyes, example, aligned=True, z=z)


def test_mixing_two_exemplars(
    pipe: ExemplarInpaintPipeline,
    portrait: np.ndarray,
    eyes: np.ndarray,
    example: np.ndarray,
    other: np.ndarray,
) -> None:
    options = {"aligned": True, "noise": "none", "z": torch.ones(1, 16), "output_type": "np"}

    def fill(first: np.ndarray, second: np.ndarray | None = None, **more: Any) -> np.ndarray:
        return pipe(portrait, eyes, first, second_exemplar=second, **options, **more).images[0]

    close = {"atol": 1e-5}
    np.testing.assert_allclose(fill(example, other, style_layers=10), fill(example), **close)
    np.testing.assert_allclose(fill(example, other, style_layers=4), fill(other), **close)
    half = fill(example, other, style_layers=7)
    np.testing.assert_allclose(half, fill(other, example, style_layers=[4, 5, 6]), **close)
    np.testing.assert_allclose(half, fill(example, other), **close)
    assert min(np.abs(half - fill(example)).max(), np.abs(half - fill(other)).max()) > 1e-4

    swept = pipe.sweep(
        portrait, eyes, example, other, aligned=True, noise="none", z=options["z"], max_pixels=10**6
    )
    assert swept.crossovers == list(range(4, 11)) and len(swept.images) == 7
    np.testing.assert_array_equal(np.asarray(swept.images[3]), np.rint(half * 255))
    grid = swept.grid(side=64, columns=5)
    assert grid.size == (320, 128)
    assert np.asarray(grid)[:64, :64].std() > 10 and (np.asarray(grid)[64:, 256:] == 255).all()
    # Random codes and noise are the same in all of them.
    kept = pipe.sweep(portrait, eyes, example, other, crossovers=[9, 9], generator=seed(3), aligned=True)
    np.testing.assert_array_equal(*map(np.asarray, kept.images))


def test_which_codes_come_from_the_exemplar(
    pipe: ExemplarInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray, example: np.ndarray
) -> None:
    options = {"aligned": True, "noise": "none", "z": torch.ones(1, 16), "output_type": "np"}
    usual = pipe(portrait, eyes, example, **options).images[0]
    same = pipe(portrait, eyes, example, exemplar_layers=np.arange(4, 10), **options).images[0]
    np.testing.assert_array_equal(usual, same)
    for layers in ([2, 3], range(2, 10), [9]):
        changed = pipe(portrait, eyes, example, exemplar_layers=layers, **options).images[0]
        assert np.abs(changed - usual).max() > 1e-4


def test_codes_and_features_are_reused(
    pipe: ExemplarInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray, example: np.ndarray
) -> None:
    photo, guide = pipe.encode_photo(portrait, eyes), pipe.encode_exemplar(example)
    calls: list[str] = []
    hooks = [
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, module in (
            ("encoder", pipe.style_encoder),
            ("stem", pipe.multi_style_generator.stem),
            ("decoder", pipe.multi_style_generator.conv),
        )
    ]
    again = pipe(photo, exemplar=guide, generator=seed(1)).images[0]
    mixed = pipe(photo, exemplar=example, second_exemplar=guide, generator=seed(1)).images[0]
    assert calls == ["decoder", "encoder", "decoder"]
    for hook in hooks:
        hook.remove()
    fresh = pipe(portrait, eyes, example, generator=seed(1)).images[0]
    np.testing.assert_array_equal(np.asarray(again), np.asarray(fresh))
    np.testing.assert_array_equal(np.asarray(mixed), np.asarray(fresh))
    with pytest.raises(ValueError, match="has its mask and sketch already"):
        pipe(photo, eyes, guide)
    guide.codes = guide.codes[:, 1:]
    with pytest.raises(ValueError, match="exemplar was not encoded by this pipeline"):
        pipe(photo, exemplar=guide)


def test_a_sketch_in_the_hole(
    model: ExemplarInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray, example: np.ndarray
) -> None:
    options = {
        "aligned": True,
        "generator": None,
        "z": torch.ones(1, 16),
        "noise": "none",
        "output_type": "np",
    }
    plain = model(portrait, eyes, example, **options)
    inside = box_mask(portrait.shape, (100, 95, 150, 99))
    drawn = model(portrait, eyes, example, sketch=inside, **options)
    assert np.abs(drawn.images[0] - plain.images[0]).max() > 1e-3 and drawn.notes == plain.notes == []
    np.testing.assert_array_equal(drawn.images[0][~eyes], plain.images[0][~eyes])
    # Outside the hole it is ignored; a drawing on white paper is understood.
    beyond = inside | box_mask(portrait.shape, (10, 10, 60, 14))
    wider = model(portrait, eyes, example, sketch=beyond, **options)
    np.testing.assert_array_equal(wider.images[0], drawn.images[0])
    assert wider.notes == ["50% of the sketch lies outside the hole and is ignored"]
    paper = np.where(inside, 0, 255).astype(np.uint8)
    dark = model(portrait, eyes, example, sketch=paper, **options)
    np.testing.assert_array_equal(dark.images[0], drawn.images[0])
    assert dark.notes == ["sketch is mostly white: its dark lines are the strokes"]
    # On whole photos it travels with the face.
    face = {"generator": seed(), "noise": "none"}
    with_face, without = (
        np.asarray(model(portrait, eyes, example, sketch=s, **face | {"generator": seed()}).images[0])
        for s in (inside, None)
    )
    assert (with_face != without).any()
    with pytest.raises(ValueError, match="2 sketches for 1 photos"):
        model(portrait, eyes, example, sketch=[inside, inside])
    with pytest.raises(ValueError, match="this model takes no sketch"):
        tiny_exemplar_pipeline()(portrait, eyes, example, sketch=inside)


def test_exemplars_and_similarities_are_returned(
    model: ExemplarInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray, example: np.ndarray
) -> None:
    output = model(
        portrait, eyes, [example, portrait // 2], num_images=2, aligned=True, return_exemplars=True
    )
    assert len(output.images) == 4 and [len(s) for s in output.similarities] == [1] * 4
    assert all(-1 <= s[0] <= 1 for s in output.similarities)
    assert [picture.size for picture in output.exemplars] == [(64, 64)] * 2
    crop = output.exemplar_crops[1][0]
    assert crop.mode == "RGBA" and len(output.exemplar_crops) == 2
    alpha = np.asarray(crop)[..., 3] > 0
    assert alpha.mean() == pytest.approx(eyes.mean(), abs=0.01)
    np.testing.assert_array_equal(np.asarray(crop)[alpha][:, :3], np.asarray(output.exemplars[1])[alpha])
    images, faces, notes = tiny_exemplar_pipeline()(portrait, eyes, example, aligned=True, return_dict=False)
    assert isinstance(images[0], Image.Image) and faces == [[]] and notes == []


def test_tones_are_matched_where_wanted(
    pipe: ExemplarInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray, example: np.ndarray
) -> None:
    options = {"aligned": True, "z": torch.ones(1, 16), "noise": "none", "output_type": "np"}
    plain, matched = (
        pipe(portrait, eyes, example, match_tones=wanted, **options).images[0] for wanted in (None, True)
    )
    np.testing.assert_array_equal(plain[~eyes], matched[~eyes])
    line = np.s_[86, 95:150]
    known = load_image(portrait).rgb[84, 95:150] / 255
    assert np.abs(matched[line] - known).mean() < np.abs(plain[line] - known).mean()
    large = np.zeros_like(eyes)
    large[40:216, 40:216] = True
    plain, matched = (
        pipe(portrait, large, example, match_tones=wanted, **options).images[0] for wanted in (False, True)
    )
    np.testing.assert_array_equal(plain[110:146, 110:146], matched[110:146, 110:146])
    assert (plain != matched)[large].mean() > 0.5


def test_saved_and_loaded_pipelines_agree(
    model: ExemplarInpaintPipeline,
    portrait: np.ndarray,
    eyes: np.ndarray,
    example: np.ndarray,
    tmp_path: Path,
) -> None:
    from diffusers import DiffusionPipeline

    model.save_pretrained(tmp_path / "model")
    for name, picture in (("photo", portrait), ("mask", eyes), ("exemplar", example)):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")
    expected = np.asarray(model(portrait, eyes, example, generator=seed()).images[0])
    for loader in (ExemplarInpaintPipeline, DiffusionPipeline):
        again = loader.from_pretrained(tmp_path / "model")
        assert isinstance(again, ExemplarInpaintPipeline) and again.identity_encoder is not None
        result = again(
            str(tmp_path / "photo.png"),
            tmp_path / "mask.png",
            tmp_path / "exemplar.png",
            generator=seed(),
        ).images[0]
        np.testing.assert_array_equal(np.asarray(result), expected)
    # The identity encoder is optional.
    tiny_exemplar_pipeline().save_pretrained(tmp_path / "without")
    assert ExemplarInpaintPipeline.from_pretrained(tmp_path / "without").identity_encoder is None


def test_half_precision_stays_close(
    pipe: ExemplarInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray, example: np.ndarray
) -> None:
    half = tiny_exemplar_pipeline().to(torch.bfloat16)
    options = {"aligned": True, "output_type": "np", "noise": "none"}
    full, short = (p(portrait, eyes, example, generator=seed(), **options).images[0] for p in (pipe, half))
    np.testing.assert_array_equal(full[~eyes], short[~eyes])
    assert np.abs(full - short)[eyes].mean() < 0.03
