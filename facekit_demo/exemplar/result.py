"""The work of the Exemplar tab: from a painted photo and chosen faces to candidates and words on the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from facekit import ExemplarInpaintPipeline
from facekit.images.photo import Photo, load_image
from facekit.notes import Kind
from facekit.pipelines.exemplar.occlusion import Occlusion
from facekit.pipelines.exemplar.pipeline import ExemplarInpaintOutput
from facekit_demo.common.candidates import MAX_CANDIDATES, Captioned, around_faces
from facekit_demo.common.detail import load_detail
from facekit_demo.common.exemplar_faces import ExampleFace
from facekit_demo.common.running import (
    STEP_SIDE,
    load_pipeline,
    on_gpu,
    open_photo,
    preview,
    seeded,
    unnamed,
)
from facekit_demo.common.words import NO_FACE, in_page_words

# How much of the second face the slider can say, and so what every mix is.
SHARES = [place / 10 for place in range(11)]
TAKEN = [("Everything", "all"), ("Shapes", "shapes"), ("Colours and texture", "colours")]


@dataclass(frozen=True)
class Settings:
    """What can be set on the page.

    Attributes:
        share: 0 to 1, how much of the second example is mixed in.
        count: variations.
        strength: 0 to 1, how much the examples say.
        psi: truncation of the random codes.
        taken: what comes from the examples, a value of `TAKEN`.
        grain: noise in each pixel.
        seed: of all randomness.
        detail: whether a restorer goes over the filled faces.
        model: which draws, see `model_source`.
    """

    share: float = 0.5
    count: int = MAX_CANDIDATES
    strength: float = 1.0
    psi: float = 1.0
    taken: str = "all"
    grain: bool = True
    seed: int = 0
    detail: bool = True
    model: str | None = None


@on_gpu
def infer(
    image: Photo,
    mask: Image.Image | None,
    first: ExampleFace,
    second: ExampleFace | None,
    sketch: Image.Image | None,
    recover: Occlusion | None,
    settings: Settings,
    progress: gr.Progress | None = None,
) -> tuple[ExemplarInpaintOutput, Captioned]:
    """Run the pipeline; also gives the pictures that show how it was done.

    Raises:
        ValueError: in the words of the page.
    """
    _check(settings)
    if progress:
        progress(0, desc="Getting ready")
    pipe = load_pipeline("exemplar", settings.model)
    with in_page_words(WORDS):
        options, layers = _read(settings, pipe)
        codes = [_encoded(pipe, face) for face in (first, second) if face is not None]
        if progress:
            progress(0.3, desc="Filling in")
        output = pipe(
            image,
            mask,
            codes[0],
            second_exemplar=codes[1] if second is not None else None,
            style_layers=crossover(layers, settings.share) if second is not None else None,
            watermark=True,
            output_type="photo",
            recover=recover,
            sketch=sketch,
            num_images=int(settings.count),
            generator=seeded(settings.seed),
            return_exemplars=True,
            **options,
        )
    faces = [(output.exemplars[0], "Example")]
    if second is not None:
        faces = [(output.exemplars[0], "First"), (_seen(codes[1]), "Second")]
    faces += [(crop, "Used part") for crop in output.exemplar_crops[0]]
    return output, [(preview(picture, STEP_SIDE), text) for picture, text in faces]


@on_gpu
def draw_mixes(
    image: Photo,
    mask: Image.Image,
    first: ExampleFace,
    second: ExampleFace,
    sketch: Image.Image | None,
    settings: Settings,
    progress: gr.Progress | None = None,
) -> Captioned:
    """The filled face under every mix of two examples (thesis Fig. 5.15), a small picture for each of `SHARES`.

    Each is the first variation that `infer` makes with that share, all else as `settings` say.

    Raises:
        ValueError: in the words of the page.
    """
    _check(settings)
    pipe = load_pipeline("exemplar", settings.model)
    with in_page_words(WORDS):
        options, layers = _read(settings, pipe)
        if not layers:
            raise ValueError("nothing comes from the examples, so there is nothing to mix")
        codes = [_encoded(pipe, face) for face in (first, second)]
        photo = pipe.encode_photo(image, mask, sketch=sketch)
        faces = [face for job in photo.jobs for face in job.faces]
        mixes = []
        for place, share in enumerate(SHARES):
            if progress:
                progress((place, len(SHARES)), desc="Mixing", unit="mixes")
            # One at a time: whole photos are large, and only the faces are shown.
            output = pipe(
                photo,
                exemplar=codes[0],
                second_exemplar=codes[1],
                style_layers=crossover(layers, share),
                watermark=True,
                output_type="photo",
                generator=seeded(settings.seed),
                **options,
            )
            shown = preview(output.images[0])
            face = around_faces(shown, faces, shown.width / image.size[0])
            face.thumbnail((STEP_SIDE, STEP_SIDE), Image.Resampling.LANCZOS)
            mixes.append((face, f"{share:.0%}"))
    return mixes


def _check(settings: Settings) -> None:
    """ValueError for settings that no slider of the page has."""
    if not 1 <= settings.count <= MAX_CANDIDATES:
        raise ValueError(f"variations must lie between 1 and {MAX_CANDIDATES}, got {settings.count}")
    if not 0 <= settings.share <= 1:
        raise ValueError(f"the share of the second face must lie between 0 and 1, got {settings.share}")
    if settings.taken not in (value for _, value in TAKEN):
        raise ValueError(
            f"taken is {settings.taken!r}; choose one of {', '.join(value for _, value in TAKEN)}"
        )


def _read(settings: Settings, pipe: ExemplarInpaintPipeline) -> tuple[dict[str, Any], list[int]]:
    """Arguments of the pipeline, and which codes come from the examples."""
    options = {
        "exemplar_strength": settings.strength,
        "truncation_psi": settings.psi,
        "noise": "random" if settings.grain else "none",
    }
    usual = pipe.check_inputs(None, **options, num_images=1, max_batch_size=1, output_type="pil")
    layers = taken_layers(usual, settings.taken)
    more = {"exemplar_layers": layers, "restore_with": load_detail(settings.detail)}
    return options | more, layers


def _encoded(pipe: ExemplarInpaintPipeline, face: ExampleFace) -> Any:
    """Codes of an example; picture by picture, because each says its own face."""
    picture = face.source if face.index is None else unnamed(open_photo(face.source))
    which = "only" if face.index is None else face.index
    return pipe.encode_exemplar(picture, aligned=face.index is None, face=which)


def _seen(codes: Any) -> Photo:
    """An encoded example as the style encoder saw it."""
    return load_image(codes.faces[0].image)


def taken_layers(layers: Sequence[int], taken: str) -> list[int]:
    """Which codes come from the examples: all `layers`, the coarse half, or the fine one (thesis Fig. 5.12)."""
    layers, half = list(layers), len(layers) // 2
    return {"all": layers, "shapes": layers[:half], "colours": layers[half:]}[taken]


def crossover(layers: Sequence[int], share: float) -> int:
    """The index from which codes come from the second example (thesis Fig. 5.15): fine ones change over first."""
    return layers[-1] + 1 - round(share * len(layers)) if layers else 0


# Notes and refusals that the page words in its own way.
WORDS: dict[Kind, str] = {
    "mask-beside-faces": "the mask does not touch {who}. Paint over a part of the face",
    "no-face": NO_FACE,
    "no-sketch-channel": "This model takes no lines. Remove them and try again.",
    "drawing-partly-outside": "{share} of the {drawing} lie outside the painted part and are ignored",
    "reference-is-photo": (
        "the example is the photo itself: the hole is filled after what it hides. Choose another example to change it"
    ),
    "reference-small": (
        "the example's face is cut from {side:.0f} pixels and seen at {size}: it shows less detail than the fill "
        "could have"
    ),
}
