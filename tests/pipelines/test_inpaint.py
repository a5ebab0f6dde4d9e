"""The inpainting pipeline around a tiny real network: what it promises to callers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facekit import FaceInpaintPipeline
from facekit.pipelines.inpaint import FaceInpaintOutput
from tests.helpers.masks import box_mask
from tests.tiny.pipelines import tiny_inpaint_pipeline


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


@pytest.mark.parametrize(
    "settings",
    [{}, {"region": "image"}, {"region": "image", "crop": "whole"}, {"aligned": True}],
    ids=["face", "image", "whole", "aligned"],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK", "I;16", "1"])
def test_known_pixels_come_back_bit_identical(
    pipe: FaceInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray, mode: str, settings: dict[str, Any]
) -> None:
    if mode == "1" and not settings:
        pytest.skip("no detector finds a face in black and white dots")
    if mode == "I;16":
        given = Image.fromarray(
            np.asarray(Image.fromarray(portrait).convert("L")).astype(np.uint16) * 250 + 3
        )
    else:
        given = Image.fromarray(portrait).convert(mode)
    if mode in ("LA", "RGBA"):
        given.putalpha(Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1))))

    result = pipe(given, eyes, num_inference_steps=1, **settings).images[0]

    assert (result.mode, result.size) == (given.mode, given.size)
    shown = [np.asarray(i.convert("RGBA") if mode == "P" else i) for i in (given, result)]
    np.testing.assert_array_equal(shown[1][~eyes], shown[0][~eyes])
    assert (shown[1][eyes] != shown[0][eyes]).mean() > (0.1 if mode == "1" else 0.4)
    if mode in ("LA", "RGBA"):
        np.testing.assert_array_equal(shown[1][..., -1], shown[0][..., -1])


@pytest.mark.parametrize("size", [(64, 64), (300, 90), (17, 200), (640, 480)])
@pytest.mark.parametrize("crop", ["hole", "whole"])
def test_any_size_works_and_keeps_known_pixels(
    pipe: FaceInpaintPipeline, size: tuple[int, int], crop: str
) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    mask = box_mask(photo.shape, (size[0] // 3, size[1] // 3, 2 * size[0] // 3, 2 * size[1] // 3))
    result = np.asarray(pipe(photo, mask, region="image", crop=crop, num_inference_steps=1).images[0])
    np.testing.assert_array_equal(result[~mask], photo[~mask])
    assert (result[mask] != photo[mask]).mean() > 0.9


def test_the_steps_follow_equation_4_1(pipe: FaceInpaintPipeline) -> None:
    known = torch.rand(1, 3, 64, 64, generator=noise(1)) * 2 - 1
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 20:50, 10:40] = 1
    network, source = tiny_inpaint_pipeline().residual_inpainter, noise(5)
    fill = known * (1 - mask)
    with torch.no_grad():
        for _ in range(3):
            maps = [torch.randn(1, 1, 32, 32, generator=source) for _ in range(2)]
            fill = (fill + network(fill, mask, noise=maps)) * mask + known * (1 - mask)

    photo = (known + 1) / 2
    result = pipe(photo, mask, aligned=True, generator=noise(5), output_type="pt").images

    torch.testing.assert_close(result, ((fill + 1) / 2).clamp(0, 1), rtol=0, atol=1e-6)
    assert torch.equal(result * (1 - mask), photo * (1 - mask))


def test_a_generator_makes_results_repeat(
    pipe: FaceInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    first, same, other = (
        pipe(portrait, eyes, region="image", generator=noise(seed), output_type="np").images
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, same)
    assert (first != other).any()


def test_a_batch_gives_what_each_photo_gives_alone(
    pipe: FaceInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    photos = [portrait, np.ascontiguousarray(portrait[:, ::-1]), portrait[:200]]
    masks = [eyes, eyes[:, ::-1], eyes[:200]]
    sources = [noise(i) for i in range(3)]
    together = pipe(
        photos, masks, region="image", generator=sources, max_batch_size=2, output_type="np"
    ).images
    assert [image.shape for image in together] == [(256, 256, 3), (256, 256, 3), (200, 256, 3)]
    for index in range(3):
        alone = pipe(
            photos[index], masks[index], region="image", generator=noise(index), output_type="np"
        ).images
        np.testing.assert_allclose(together[index], alone[0], atol=2 / 255)


def test_one_mask_serves_all_photos_and_parts_of_the_batch_do_not_matter(
    pipe: FaceInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    photos = [portrait, portrait // 2]
    options = {"region": "image", "output_type": "np", "generator": None}
    whole, parts = (
        pipe(photos, eyes, **options | {"generator": noise()}, max_batch_size=size).images for size in (8, 1)
    )
    assert whole.shape == (2, 256, 256, 3)
    np.testing.assert_allclose(whole, parts, atol=1.5 / 255)


def test_every_step_is_returned_with_its_residual(
    pipe: FaceInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    photo = Image.fromarray(portrait).convert("RGBA")
    output = pipe(photo, eyes, num_inference_steps=4, return_steps=True)
    assert len(output.steps) == len(output.residuals) == 1
    assert [step.mode for step in output.steps[0]] == ["RGBA"] * 4
    np.testing.assert_array_equal(np.asarray(output.steps[0][-1]), np.asarray(output.images[0]))
    assert (np.asarray(output.steps[0][0]) != np.asarray(output.steps[0][1])).any()
    for residual in output.residuals[0]:
        assert residual.shape == (256, 256) and residual.dtype == np.float32
        assert (residual[~eyes] == 0).all() and residual[eyes].mean() > 0
    maps = output.heat_maps()[0]
    peak = np.argmax([r.max() for r in output.residuals[0]])
    row, column = np.unravel_index(np.argmax(output.residuals[0][peak]), (256, 256))
    red, green, blue = np.asarray(maps[peak])[row, column]
    assert red > 100 and green == blue == 0
    assert np.asarray(maps[0])[0, 0].tolist() == [0, 0, 128]
    with pytest.raises(ValueError, match="return_steps=True"):
        FaceInpaintOutput(images=[]).heat_maps()


def test_output_types(pipe: FaceInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray) -> None:
    options = {"region": "image", "num_inference_steps": 1}
    pil, array, tensor = (
        pipe(portrait, eyes, generator=noise(), output_type=kind, **options).images
        for kind in ("pil", "np", "pt")
    )
    assert array.shape == (1, 256, 256, 3) and array.dtype == np.float32
    assert tensor.shape == (1, 3, 256, 256) and tensor.dtype == torch.float32
    np.testing.assert_array_equal(np.rint(array[0] * 255), np.asarray(pil[0]))
    np.testing.assert_array_equal(tensor[0].permute(1, 2, 0).numpy(), array[0])
    images, faces, notes = pipe(portrait, eyes, return_dict=False, **options)
    assert isinstance(images[0], Image.Image) and faces == [[]] and notes == []


def test_the_callback_sees_and_changes_each_step(
    pipe: FaceInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    seen = []

    def watch(pipeline: Any, step: int, _timestep: int, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
        assert pipeline is pipe
        seen.append((step, {key: tuple(value.shape) for key, value in tensors.items()}))
        return {"image": torch.ones_like(tensors["image"])}

    names = ["image", "residual", "mask"]
    result = pipe(
        portrait,
        eyes,
        region="image",
        callback_on_step_end=watch,
        callback_on_step_end_tensor_inputs=names,
        output_type="np",
    ).images[0]
    shapes = {"image": (1, 3, 64, 64), "residual": (1, 3, 64, 64), "mask": (1, 1, 64, 64)}
    assert seen == [(0, shapes), (1, shapes), (2, shapes)]
    assert result[100, 120].tolist() == [1, 1, 1]
    np.testing.assert_array_equal(np.rint(result[~eyes] * 255), portrait[~eyes])


# Masks at the limits


def test_an_empty_mask_returns_the_photo_with_a_note(pipe: FaceInpaintPipeline, portrait: np.ndarray) -> None:
    empty = np.zeros(portrait.shape[:2], dtype=bool)
    called = []
    output = pipe(portrait, empty, return_steps=True, callback_on_step_end=lambda *_: called.append(1))
    np.testing.assert_array_equal(np.asarray(output.images[0]), portrait)
    assert output.notes == ["the mask is empty: the photo comes back as it was"]
    assert not called and len(output.steps[0]) == 3 and not output.residuals[0][2].any()


def test_an_empty_mask_among_others(
    pipe: FaceInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    output = pipe([portrait, portrait], [np.zeros_like(eyes), eyes], return_steps=True)
    np.testing.assert_array_equal(np.asarray(output.images[0]), portrait)
    assert (np.asarray(output.images[1]) != portrait).any(axis=-1)[eyes].mean() > 0.9
    assert output.notes == ["image 0: the mask is empty: the photo comes back as it was"]
    assert [len(steps) for steps in output.steps] == [3, 3]


@pytest.mark.parametrize("region", ["face", "image"])
def test_a_full_mask_works_with_a_note(pipe: FaceInpaintPipeline, portrait: np.ndarray, region: str) -> None:
    full = np.ones(portrait.shape[:2], dtype=bool)
    output = pipe(portrait, full, region=region)
    assert (np.asarray(output.images[0]) != portrait).any(axis=-1).mean() > 0.9
    assert "the mask covers the whole picture: the result is invented from nothing" in output.notes


def test_a_hole_of_most_of_the_photo_is_noted_with_its_share(
    pipe: FaceInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    output = pipe(portrait, np.where(eyes, 0, 255).astype(np.uint8), region="image")
    (note,) = output.notes
    assert note.startswith("the mask's hole is 97.0% of the photo: white is filled, black is kept")
    half = box_mask(portrait.shape, (0, 0, 256, 128))
    assert pipe(portrait, half, region="image").notes == []


def test_a_mask_that_is_too_dark_says_so(pipe: FaceInpaintPipeline, portrait: np.ndarray) -> None:
    haze = np.tile(np.arange(256, dtype=np.uint8) // 3, (256, 1))
    output = pipe(portrait, haze)
    assert output.notes == [
        "the brightest value of mask is 85 of 255, and hole begins at 128: paint it white",
        "the mask is empty: the photo comes back as it was",
    ]


def test_a_hole_under_full_transparency_is_noted(
    pipe: FaceInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    photo = np.dstack([portrait, np.where(eyes, 0, 255).astype(np.uint8)])
    output = pipe(photo, eyes, region="image")
    assert any("transparent under the whole mask" in note for note in output.notes)
    np.testing.assert_array_equal(np.asarray(output.images[0])[..., 3], photo[..., 3])


def test_a_mask_of_another_size(pipe: FaceInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray) -> None:
    half = Image.fromarray(eyes).resize((128, 128), Image.Resampling.NEAREST)
    output = pipe(portrait, half, region="image", num_inference_steps=1)
    assert output.notes == ["mask of 128x128 was resized to the photo's 256x256"]
    with pytest.raises(ValueError, match="mask is 128x100 and the photo 256x256"):
        pipe(portrait, np.zeros((100, 128), dtype=bool), region="image")


# Wrong settings and inputs are refused before the network runs


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"region": "eyes"}, "region is 'eyes'; choose one of 'face', 'image'"),
        ({"crop": "half"}, "crop is 'half'"),
        ({"output_type": "latent"}, "output_type is 'latent'"),
        ({"num_inference_steps": 0}, "num_inference_steps is 0"),
        ({"num_inference_steps": 2.5}, "num_inference_steps is 2.5"),
        ({"num_inference_steps": True}, "num_inference_steps is True"),
        ({"max_batch_size": 0}, "max_batch_size is 0"),
        ({"callback_on_step_end_tensor_inputs": ["latents"]}, "known are"),
        ({"generator": [torch.Generator(), torch.Generator()]}, "2 generators for 1 photos"),
        ({"detector": "nobody"}, "nobody"),
        ({"max_pixels": 1000}, "the limit is 1,000"),
    ],
)
def test_wrong_settings_are_refused(
    pipe: FaceInpaintPipeline,
    portrait: np.ndarray,
    eyes: np.ndarray,
    settings: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        pipe(portrait, eyes, **settings)


def test_bad_photos_in_a_list_are_named(
    pipe: FaceInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0nothing more")
    with pytest.raises(ValueError, match=r"broken\.jpg is truncated"):
        pipe([portrait, tmp_path / "broken.jpg"], eyes)
    with pytest.raises(ValueError, match="image 1 holds 3 NaN"):
        pipe([portrait, _nan_photo()], eyes)


def _nan_photo() -> np.ndarray:
    photo = np.zeros((256, 256, 3), dtype=np.float32)
    photo[5, 5] = np.nan
    return photo


def test_a_network_that_gives_nan_is_noticed(portrait: np.ndarray, eyes: np.ndarray) -> None:
    broken = tiny_inpaint_pipeline()
    next(broken.residual_inpainter.parameters()).data.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"NaN or infinity in torch\.float32"):
        broken(portrait, eyes, region="image")


# Files, number types, registration


def test_saved_and_loaded_pipelines_agree(
    pipe: FaceInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray, tmp_path: Path
) -> None:
    pipe.save_pretrained(tmp_path / "model")
    # Imported after facekit, which mends torchvision first.
    from diffusers import DiffusionPipeline

    Image.fromarray(portrait).save(tmp_path / "photo.png")
    Image.fromarray(eyes).save(tmp_path / "mask.png")
    expected = np.asarray(pipe(portrait, eyes, generator=noise()).images[0])
    for loader in (FaceInpaintPipeline, DiffusionPipeline):
        again = loader.from_pretrained(tmp_path / "model")
        assert isinstance(again, FaceInpaintPipeline)
        result = again(str(tmp_path / "photo.png"), mask=tmp_path / "mask.png", generator=noise()).images[0]
        np.testing.assert_array_equal(np.asarray(result), expected)


def test_a_model_says_how_many_steps_it_takes(
    pipe: FaceInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray, tmp_path: Path
) -> None:
    assert pipe.config["num_inference_steps"] == 3, "the published number"
    FaceInpaintPipeline(pipe.residual_inpainter, num_inference_steps=2).save_pretrained(tmp_path)
    loaded = FaceInpaintPipeline.from_pretrained(tmp_path)
    for asked, taken in ((None, 2), (4, 4)):
        output = loaded(portrait, eyes, region="image", num_inference_steps=asked, return_steps=True)
        assert len(output.steps[0]) == taken
    with pytest.raises(ValueError, match="num_inference_steps is 0"):
        FaceInpaintPipeline(pipe.residual_inpainter, num_inference_steps=0)


def test_half_precision_stays_close(
    pipe: FaceInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray
) -> None:
    half = tiny_inpaint_pipeline().to(torch.bfloat16)
    options = {"region": "image", "output_type": "np", "num_inference_steps": 1}
    full, short = (p(portrait, eyes, generator=noise(), **options).images[0] for p in (pipe, half))
    np.testing.assert_array_equal(full[~eyes], short[~eyes])
    assert np.abs(full - short)[eyes].mean() < 0.02


@pytest.mark.slow
def test_a_small_hole_in_a_hundred_megapixels(pipe: FaceInpaintPipeline) -> None:
    photo = np.zeros((10_000, 10_000, 3), dtype=np.uint8)
    mask = box_mask(photo.shape, (5000, 7000, 5200, 7100))
    result = np.asarray(pipe(photo, mask, region="image", num_inference_steps=1).images[0])
    assert result[7050, 5100].any()
    result = result.copy()
    result[mask] = 0
    assert not result.any()
