"""The exemplar pipeline: masks at the limits, and bad input that is refused before a network runs."""

from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from facekit import ExemplarInpaintPipeline
from tests.helpers.masks import box_mask
from tests.tiny.pipelines import tiny_exemplar_pipeline


@pytest.fixture(scope="module")
def pipe() -> ExemplarInpaintPipeline:
    return tiny_exemplar_pipeline()


def test_masks_at_the_limits(
    pipe: ExemplarInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray, example: np.ndarray
) -> None:
    empty, full = np.zeros_like(eyes), np.ones_like(eyes)
    output = pipe([portrait, portrait], [empty, eyes], example, num_images=2)
    for index in range(2):
        np.testing.assert_array_equal(np.asarray(output.images[index]), portrait)
    assert (np.asarray(output.images[2]) != portrait).any()
    assert output.notes == ["image 0: the mask is empty: the photo comes back as it was"]
    output = pipe(portrait, full, example, aligned=True)
    assert (np.asarray(output.images[0]) != portrait).any(-1).mean() > 0.9
    assert "the mask covers the whole picture: the result is invented from nothing" in output.notes
    output = pipe(portrait, eyes, portrait)
    assert any(note.startswith("exemplar is the photo itself") for note in output.notes)
    small = np.asarray(Image.fromarray(example).resize((30, 30)))
    output = pipe(portrait, eyes, small, exemplar_aligned=True)
    assert output.notes == [
        "the exemplar's face is cut from 30 pixels and seen at 64: it shows less detail than the fill could have"
    ]
    large = Image.fromarray(portrait).resize((300, 300))
    output = pipe(large, np.asarray(Image.fromarray(eyes).resize((300, 300))), example, aligned=True)
    assert output.notes == [
        "a filled face is 300 pixels wide in the photo and 64 in the network: "
        "it will look softer than its surroundings"
    ]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"exemplar": None}, "exemplar is missing"),
        ({"mask": None}, "mask is missing. Pass one, or recover='glasses' or recover='lower_face'"),
        ({"exemplar": []}, "exemplar is an empty list"),
        ({"noise": "loud"}, "noise is 'loud'; choose one of 'random', 'fixed', 'none'"),
        ({"output_type": "latent"}, "output_type is 'latent'"),
        ({"num_images": 0}, "num_images is 0"),
        ({"max_batch_size": 1.5}, "max_batch_size is 1.5"),
        ({"exemplar_strength": 1.5}, "exemplar_strength is 1.5"),
        ({"truncation_psi": -1}, "truncation_psi is -1"),
        ({"truncation_psi": float("nan")}, "truncation_psi is nan"),
        ({"exemplar_layers": [1]}, "exemplar_layers has 1; the codes that an exemplar gives here are 2, 3"),
        ({"exemplar_layers": [10]}, "exemplar_layers has 10"),
        ({"exemplar_layers": [True]}, "exemplar_layers has True"),
        ({"style_layers": 6}, "pass second_exemplar"),
        (
            {"style_layers": 3, "second_exemplar": "given"},
            "style_layers is 3; it must lie between 4 .* and 10",
        ),
        ({"style_layers": 11, "second_exemplar": "given"}, "style_layers is 11"),
        ({"style_layers": [3], "second_exemplar": "given"}, "style_layers has 3"),
        ({"exemplar_face": "biggest"}, "exemplar_face is 'biggest'"),
        ({"recover": "hat"}, "'hat' cannot be recovered; choose one of 'glasses', 'lower_face'"),
        ({"detector": "nobody"}, "nobody"),
        ({"max_pixels": 1000}, "the limit is 1,000"),
    ],
)
def test_wrong_settings_are_refused(
    pipe: ExemplarInpaintPipeline,
    portrait: np.ndarray,
    eyes: np.ndarray,
    example: np.ndarray,
    settings: dict[str, Any],
    message: str,
) -> None:
    if settings.get("second_exemplar"):
        settings = settings | {"second_exemplar": example}
    called = []
    hooks = [
        network.register_forward_hook(lambda *_: called.append(1))
        for network in (pipe.style_encoder, pipe.multi_style_generator)
    ]
    with pytest.raises(ValueError, match=message):
        pipe(**{"image": portrait, "mask": eyes, "exemplar": example} | settings)
    for hook in hooks:
        hook.remove()
    assert not called


def test_wrong_sweeps_are_refused(
    pipe: ExemplarInpaintPipeline, portrait: np.ndarray, eyes: np.ndarray, example: np.ndarray
) -> None:
    cases = [
        ({"num_images": 2}, "a sweep sets num_images itself"),
        ({"crossovers": []}, r"crossovers is \[\]; pass at least one whole number"),
        ({"crossovers": [3]}, "between 4"),
        ({"exemplar_layers": []}, "nothing to mix"),
        ({"second_exemplar": None}, "pass exemplar and second_exemplar"),
        ({"image": [portrait, portrait]}, "one photo and two exemplars"),
        ({"crossovers": [[4, 5]]}, "pass at least one whole number"),
        ({"noise": "loud"}, "noise is 'loud'"),
        ({"mask": None}, "mask is missing"),
    ]
    given = {
        "image": portrait,
        "mask": eyes,
        "exemplar": example,
        "second_exemplar": example,
        "aligned": True,
    }
    called = []
    hook = pipe.style_encoder.register_forward_hook(lambda *_: called.append(1))
    for settings, message in cases:
        with pytest.raises(ValueError, match=message):
            pipe.sweep(**given | settings)
    hook.remove()
    assert not called
    photo = pipe.encode_photo(portrait, eyes, aligned=True)
    with pytest.raises(ValueError, match="has its mask and sketch already"):
        pipe.sweep(**given | {"image": photo})
    assert len(pipe.sweep(**given | {"image": photo, "mask": None, "crossovers": [5, 6]}).images) == 2


def test_networks_that_give_nan_are_noticed(
    portrait: np.ndarray, eyes: np.ndarray, example: np.ndarray
) -> None:
    broken = tiny_exemplar_pipeline()
    broken.multi_style_generator.conv.conv.weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"NaN or infinity in torch\.float32"):
        broken(portrait, eyes, example, aligned=True)


def test_advice_where_no_face_can_be_filled_names_what_the_pipeline_has(
    pipe: ExemplarInpaintPipeline, example: np.ndarray
) -> None:
    blank = np.full((200, 200, 3), 127, dtype=np.uint8)
    with pytest.raises(ValueError, match=r"no face was found\. Pass aligned=True where") as caught:
        pipe(blank, np.ones((200, 200), bool), example)
    assert "region" not in str(caught.value)
    photo = np.ascontiguousarray(astronaut())
    with pytest.raises(ValueError, match=r"the mask does not touch the face\. Mark a part of a face\.$"):
        pipe(photo, box_mask(photo.shape, (20, 400, 120, 480)), example)
