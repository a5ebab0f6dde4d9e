"""Fixed inputs and calls of all pipelines with the bundled models, whose results `test_recorded_results.py` holds."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from skimage.data import astronaut

from facekit import (
    ExemplarInpaintPipeline,
    FaceEditPipeline,
    FaceInpaintPipeline,
    FaceRestorePipeline,
    PhotoMendPipeline,
    starter,
)
from facekit.conditions.semantics import CLASS_NAMES, PALETTE
from facekit.conditions.sketch import read_sketch
from facekit.faces import align_face, detect_faces
from facekit.images.masks import read_mask
from facekit.pipelines.edit.session.session import EditSession
from tests.tiny.networks import tiny_text_guide

PIPELINES = {
    "inpaint": (FaceInpaintPipeline, "face-inpaint"),
    "restore": (FaceRestorePipeline, "face-restore"),
    "exemplar": (ExemplarInpaintPipeline, "exemplar-inpaint"),
    "edit": (FaceEditPipeline, "face-edit"),
    "mend": (PhotoMendPipeline, "photo-mend"),
}


@lru_cache
def pipeline(name: str) -> Any:
    """One of `PIPELINES` with its starter's weights."""
    pipeline_class, task = PIPELINES[name]
    found = pipeline_class.from_pretrained(starter(task))
    found.set_progress_bar_config(disable=True)
    return found


# Inputs, all of one photo in the public domain.


@lru_cache
def whole() -> np.ndarray:
    """uint8 `[512, 512, 3]` with one face."""
    return astronaut()


@lru_cache
def portrait() -> np.ndarray:
    """uint8 `[256, 256, 3]` with the same face."""
    return np.ascontiguousarray(whole()[0:256, 100:356])


@lru_cache
def other() -> np.ndarray:
    """The portrait mirrored, with red and blue exchanged: another face, for the networks."""
    return np.ascontiguousarray(portrait()[:, ::-1, ::-1])


@lru_cache
def aligned(source: Callable[[], np.ndarray] = portrait) -> np.ndarray:
    """The face of a portrait, aligned, uint8 `[256, 256, 3]`."""
    picture = source()
    return align_face(picture, detect_faces(picture)[0], 256).image


@lru_cache
def couple() -> np.ndarray:
    """uint8 `[256, 512, 3]` with two faces."""
    return np.concatenate([portrait(), other()], axis=1)


@lru_cache
def blurred() -> np.ndarray:
    """The portrait with a damaged face."""
    return cv2.resize(cv2.resize(portrait(), (64, 64), interpolation=cv2.INTER_AREA), (256, 256))


@lru_cache
def scratched() -> np.ndarray:
    """The portrait with two scratches and a hole in a corner."""
    photo = portrait().copy()
    cv2.line(photo, (20, 240), (200, 20), (255, 255, 255), 2)
    cv2.line(photo, (0, 90), (255, 150), (250, 250, 245), 3)
    photo[216:, 206:] = 255
    return photo


@lru_cache
def gray() -> np.ndarray:
    """The portrait without colours, uint8 `[256, 256]`."""
    return cv2.cvtColor(portrait(), cv2.COLOR_RGB2GRAY)


@lru_cache
def translucent() -> np.ndarray:
    """The portrait with an opacity that falls from top to bottom, uint8 `[256, 256, 4]`."""
    return np.dstack([portrait(), np.repeat(np.linspace(255, 60, 256).astype(np.uint8)[:, None], 256, 1)])


def box(left: int, top: int, right: int, bottom: int, size: tuple[int, int] = (256, 256)) -> np.ndarray:
    """A mask bool `[H, W]` of a size (width, height)."""
    mask = np.zeros(size[::-1], dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


EYES, MOUTH, BEYOND = box(90, 85, 155, 115), box(100, 120, 150, 150), box(60, 60, 240, 200)
ALIGNED_EYES = box(70, 100, 190, 145)
BOTH = np.concatenate([EYES, EYES[:, ::-1]], axis=1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def enlarged(rgb: np.ndarray) -> np.ndarray:
    return cv2.resize(rgb, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)


def layer(mask: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """A transparent layer uint8 `[H, W, 4]`, painted where the mask is."""
    return np.where(mask[..., None], np.array([*color, 255], np.uint8), np.uint8(0))


def lines() -> np.ndarray:
    """A sketch, white on black, uint8 `[256, 256]`."""
    strokes = np.zeros((256, 256), np.uint8)
    cv2.ellipse(strokes, (125, 135), (20, 9), 0, 0, 360, 255, 2)
    return strokes


def labels(mask: np.ndarray, word: str) -> np.ndarray:
    return np.where(mask, np.uint8(CLASS_NAMES.index(word)), np.uint8(255))


@dataclass
class Result:
    """What a case gave: the pictures, those that they were made of, and further facts."""

    images: list[Any]
    sources: list[Any]
    notes: list[str] | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def of(output: Any, *sources: Any, **facts: Any) -> Result:
    """The result of a pipeline's output; one source stands for all."""
    images = list(output.images)
    sources = tuple(sources) * len(images) if len(sources) == 1 else sources
    faces = getattr(output, "faces", None)
    if faces is not None:
        facts["faces"] = [[face.index for face in group] for group in faces]
    return Result(images, list(sources), output.notes, facts)


CASES: dict[str, Callable[[], Result]] = {}
# Left to the slow tests, so that the others together take little more than half a minute of one core.
SLOW = set(
    """
    inpaint/unmatched_tones inpaint/tensors inpaint/region_image_whole inpaint/layer
    inpaint/resized_mask inpaint/translucent inpaint/two_faces_largest inpaint/two_faces_second
    inpaint/batch_one_mask inpaint/other_seed inpaint/full_mask
    restore/fidelity_1 restore/steps_2 restore/other_seed restore/translucent restore/two_faces_largest
    mend/other_seed exemplar/unmatched_tones exemplar/other_seed exemplar/layers exemplar/truncation
    exemplar/fixed_noise
    exemplar/second exemplar/second_layers exemplar/second_of_two exemplar/whole_photo exemplar/given_z
    edit/sketch_on_paper edit/palette edit/own_exemplar edit/exemplar_is_photo edit/unturned_exemplar
    edit/pose_of_exemplar edit/truncation edit/fixed_noise edit/no_noise edit/unmatched_tones edit/other_seed
    edit/nothing_drawn edit/whole_photo edit/gray edit/resized_drawings edit/ignored edit/words
    """.split()
)


def case(name: str) -> Callable[[Callable[[], Result]], Callable[[], Result]]:
    def keep(run: Callable[[], Result]) -> Callable[[], Result]:
        CASES[name] = run
        return run

    return keep


# Options that a case computes when it runs, where they are functions.
LATE = ("exemplar", "second_exemplar", "pose_from", "mask", "semantics", "color", "text_guide", "generator")


def add(pipeline_name: str, name: str, image: Callable[[], Any], **options: Any) -> None:
    """A case that is one call."""

    @case(f"{pipeline_name}/{name}")
    def run() -> Result:
        given = {key: value() if key in LATE and callable(value) else value for key, value in options.items()}
        given.setdefault("generator", seeded())
        picture = image()
        output = pipeline(pipeline_name)(picture, **given)
        sources = picture if isinstance(picture, list) else [picture]
        if "background" in given:
            sources = [given["background"](source) for source in sources]
        repeats = len(output.images) // len(sources)
        return of(output, *(source for source in sources for _ in range(repeats)))


def eyes_alike(rgb: np.ndarray = EYES) -> dict[str, Any]:
    """One mask in all forms that masks come in."""
    white = np.where(rgb, np.uint8(255), np.uint8(0))
    photo = portrait()
    erased = np.dstack([photo, np.where(rgb, np.uint8(0), np.uint8(255))])
    few = np.where(rgb[..., None], np.array([0, 90, 0], np.uint8), np.uint8(0))
    few[130:150, 10:40] = (200, 0, 0)
    return {
        "bool": rgb,
        "white": white,
        "picture": Image.fromarray(white),
        "black_and_white": Image.fromarray(rgb),
        "tensor": torch.from_numpy(rgb.astype(np.float32))[None, None],
        "floats": rgb.astype(np.float32),
        "sixteen_bits": rgb.astype(np.uint16) * 65535,
        "ones": rgb.astype(np.uint8),
        "labels": np.where(rgb, np.uint8(3), np.uint8(0)),
        "gray": np.where(rgb, np.uint8(90), np.uint8(20)),
        "soft": cv2.GaussianBlur(white, (0, 0), 30),
        "red_layer": layer(rgb, (255, 0, 0)),
        "erased_photo": erased,
        "red": np.where(rgb[..., None], np.array([180, 0, 0], np.uint8), np.uint8(0)),
        "colour_labels": few,
        "resized": cv2.resize(white, (128, 128), interpolation=cv2.INTER_NEAREST),
        "empty": np.zeros_like(rgb),
        "full": np.ones_like(rgb),
        "inverted": ~rgb,
        "dim": np.where(rgb, np.uint8(100), np.uint8(99)),
        # These are refused.
        "photo": photo,
        "other_shape": np.zeros((128, 200), np.uint8),
        "turned": np.zeros((256, 200), np.uint8),
        "text": ["no mask"],
        "no_such_file": "no-such-mask.png",
        "out_of_range": rgb.astype(np.float32) * 7,
        "negative": rgb.astype(np.int16) * -5,
    }


# Inpainting

for _name, _options in {
    "face": {},
    "unmatched_tones": {"match_tones": False},
    "watermark": {"watermark": True},
    "other_seed": {"generator": lambda: seeded(7)},
    "floats": {"output_type": "np"},
    "tensors": {"output_type": "pt"},
    "region_image": {"region": "image"},
    "region_image_whole": {"region": "image", "crop": "whole"},
    "beyond_faces": {"mask": BEYOND},
    "empty_mask": {"mask": np.zeros_like(EYES)},
    "layer": {"mask": layer(EYES, (255, 0, 0))},
    "resized_mask": {"mask": lambda: eyes_alike()["resized"]},
}.items():
    add("inpaint", _name, portrait, **{"mask": EYES} | _options)
add("inpaint", "whole_photo", whole, mask=box(180, 80, 270, 130, (512, 512)))
add("inpaint", "full_mask", portrait, mask=np.ones_like(EYES), region="image")
add("inpaint", "aligned", aligned, mask=ALIGNED_EYES, aligned=True)
add("inpaint", "gray", gray, mask=EYES)
add("inpaint", "translucent", translucent, mask=EYES)
add("inpaint", "two_faces", couple, mask=BOTH)
add("inpaint", "two_faces_largest", couple, mask=BOTH, faces="largest")
add("inpaint", "two_faces_second", couple, mask=BOTH, faces=[1])
add(
    "inpaint",
    "batch",
    lambda: [portrait(), gray()],
    mask=[EYES, MOUTH],
    generator=lambda: [seeded(1), seeded(2)],
    max_batch_size=1,
)
add("inpaint", "batch_one_mask", lambda: [portrait(), other()], mask=BEYOND)


@case("inpaint/steps")
def _() -> Result:
    given = {"num_inference_steps": 3, "return_steps": True, "generator": seeded()}
    output = pipeline("inpaint")(portrait(), EYES, **given)
    change = [round(float(residual.max()), 2) for residual in output.residuals[0]]
    images = [*output.steps[0], *output.heat_maps()[0]]
    return Result(images, [portrait()] * 3 + images[3:], output.notes, {"largest_change": change})


# Mending

for _name, _options in {
    "found": {},
    "mask": {"damage": MOUTH | box(0, 200, 60, 256), "restore_faces": False, "contrast": 0.5},
    "other_seed": {"generator": lambda: seeded(7)},
}.items():
    add("mend", _name, scratched, **_options)

# Restoration

for _name, _options in {
    "face": {},
    "fidelity_0": {"fidelity": 0.0},
    "fidelity_1": {"fidelity": 1.0},
    "steps_2": {"num_inference_steps": 2},
    "watermark": {"watermark": True},
    "other_seed": {"generator": lambda: seeded(7)},
    "candidates": {"num_images": 2},
    "too_small": {"min_face_size": 200},
    "given_codes": {"latents": torch.zeros(1, 14, 128), "z": torch.zeros(1, 128)},
    "enlarged": {"background": enlarged},
}.items():
    add("restore", _name, blurred, **_options)
add("restore", "whole_photo", whole)
add("restore", "aligned", lambda: aligned(blurred), aligned=True)
add("restore", "gray", gray)
add("restore", "translucent", translucent)
add("restore", "no_face", lambda: portrait()[200:, :80])
add("restore", "no_face_enlarged", lambda: portrait()[200:, :80], background=enlarged)
add("restore", "two_faces", couple)
add("restore", "two_faces_largest", couple, faces="largest")
add(
    "restore",
    "batch",
    lambda: [blurred(), portrait()[200:, :80], couple()],
    generator=lambda: [seeded(1), seeded(2), seeded(3)],
    max_batch_size=1,
)


@case("restore/turned")
def _() -> Result:
    photo = np.ascontiguousarray(np.rot90(blurred()))
    return of(pipeline("restore")(photo, generator=seeded()), photo)


@case("restore/return_aligned")
def _() -> Result:
    output = pipeline("restore")(blurred(), return_aligned=True, generator=seeded())
    (before,), (after,), (steps,) = (
        output.aligned_inputs[0],
        output.aligned_outputs[0],
        output.style_prompts[0],
    )
    return Result([before, after, *steps], [before, before, *steps], output.notes)


# Filling after an exemplar

for _name, _options in {
    "face": {},
    "watermark": {"watermark": True},
    "unmatched_tones": {"match_tones": False},
    "other_seed": {"generator": lambda: seeded(7)},
    "candidates": {"num_images": 2},
    "layers": {"exemplar_layers": [6, 7, 8]},
    "strength": {"exemplar_strength": 0.5},
    "truncation": {"truncation_psi": 0.5},
    "fixed_noise": {"noise": "fixed"},
    "no_noise": {"noise": "none"},
    "second": {"second_exemplar": portrait},
    "second_crossover": {"second_exemplar": portrait, "style_layers": 8},
    "second_layers": {"second_exemplar": portrait, "style_layers": [4, 9]},
    "own_photo": {"exemplar": portrait},
    "aligned_exemplar": {"exemplar": lambda: aligned(other), "exemplar_aligned": True},
    "small_exemplar": {"exemplar": lambda: cv2.resize(aligned(other), (64, 64)), "exemplar_aligned": True},
    "largest_of_two": {"exemplar": couple, "exemplar_face": "largest"},
    "second_of_two": {"exemplar": couple, "exemplar_face": 1},
    "several": {"exemplar": lambda: [other(), portrait()]},
    "glasses": {"mask": None, "recover": "glasses"},
    "lower_face": {"recover": "lower_face"},
    "sketch": {"mask": MOUTH, "sketch": lines()},
    "sketch_outside": {"sketch": lines()},
    "beyond_faces": {"mask": BEYOND},
    "empty_mask": {"mask": np.zeros_like(EYES)},
    "given_z": {"z": torch.zeros(1, 128)},
}.items():
    add("exemplar", _name, portrait, **{"mask": EYES, "exemplar": other} | _options)
add("exemplar", "whole_photo", whole, mask=box(180, 80, 270, 130, (512, 512)), exemplar=other)
add("exemplar", "aligned", aligned, mask=ALIGNED_EYES, exemplar=lambda: aligned(other), aligned=True)
add("exemplar", "gray", gray, mask=EYES, exemplar=other)
add("exemplar", "two_faces", couple, mask=BOTH, exemplar=other)
add(
    "exemplar",
    "batch",
    lambda: [portrait(), gray()],
    mask=[EYES, BEYOND],
    exemplar=other,
    generator=lambda: [seeded(1), seeded(2)],
)


@case("exemplar/encoded")
def _() -> Result:
    pipe = pipeline("exemplar")
    codes, photo = pipe.encode_exemplar(other()), pipe.encode_photo(portrait(), EYES)
    output = pipe(photo, exemplar=codes, generator=seeded(), return_exemplars=True)
    pictures = [*output.images, *output.exemplars, *output.exemplar_crops[0]]
    return Result(pictures, [portrait(), *pictures[1:]], output.notes)


@case("exemplar/sweep")
def _() -> Result:
    output = pipeline("exemplar").sweep(
        portrait(), EYES, other(), portrait(), crossovers=[4, 9, 14], generator=seeded(), noise="none"
    )
    return Result(output.images, [portrait()] * 3, output.notes, {"crossovers": output.crossovers})


@case("exemplar/proposed_masks")
def _() -> Result:
    pipe = pipeline("exemplar")
    masks = [pipe.propose_masks(portrait(), kind)[0] for kind in ("glasses", "lower_face")]
    masks += [pipe.propose_masks(aligned(), "glasses", aligned=True)[0]]
    return Result([mask.astype(np.uint8) * 255 for mask in masks], [portrait()[..., 0]] * 3)


# Editing

for _name, _options in {
    "mask_alone": {},
    "sketch": {"sketch": lines()},
    "sketch_on_paper": {"sketch": 255 - lines()},
    "labels": {"semantics": labels(MOUTH, "u_lip")},
    "palette": {"semantics": np.array(PALETTE, np.uint8)[np.where(MOUTH, 12, 1)]},
    "palette_layer": {"semantics": layer(MOUTH, PALETTE[11])},
    "named_masks": {"semantics": {"skin": True, "mouth": lines()}},
    "colour_strokes": {"color": layer(box(110, 125, 130, 140), (200, 30, 60))},
    "colour_picture": {"color": other},
    "exemplar": {"exemplar": other},
    "own_exemplar": {"exemplar": "self"},
    "exemplar_is_photo": {"exemplar": portrait},
    "several_exemplars": {"exemplar": lambda: [other(), portrait()]},
    "unturned_exemplar": {"exemplar": other, "align_pose": False},
    "attributes": {"attributes": {"smile": 2.0}},
    "front": {"pose_from": "front"},
    "pose": {"pose_from": other},
    "pose_of_exemplar": {"exemplar": other, "pose_from": portrait, "strengths": {"pose": 0.5}},
    "variety": {"variety": 0.8},
    "truncation": {"variety": 0.8, "truncation_psi": 0.5},
    "candidates": {"num_images": 2},
    "fixed_noise": {"noise": "fixed"},
    "no_noise": {"noise": "none"},
    "unmatched_tones": {"match_tones": False},
    "watermark": {"watermark": True},
    "other_seed": {"generator": lambda: seeded(7)},
    "outside": {
        "sketch": np.roll(lines(), -30, axis=0),
        "semantics": labels(EYES, "hair"),
        "color": layer(box(110, 110, 130, 140), (200, 30, 60)),
    },
    "nothing_drawn": {"sketch": np.zeros_like(lines())},
    "beyond_faces": {"mask": BEYOND},
    "resized_drawings": {
        "sketch": lines()[::2, ::2],
        "semantics": labels(MOUTH, "mouth")[::2, ::2],
        "color": layer(MOUTH, (200, 30, 60))[::2, ::2],
    },
    "all_together": {
        "sketch": lines(),
        "semantics": labels(MOUTH, "mouth"),
        "color": layer(box(110, 125, 130, 140), (200, 30, 60)),
        "exemplar": other,
        "attributes": {"smile": 1.0, "age": -1.0},
        "pose_from": "front",
        "variety": 0.2,
        "strengths": {"sketch": 0.5, "color": 0.7, "exemplar": 0.6, "attributes": 0.5},
    },
    "ignored": {
        "exemplar": other,
        "sketch": lines(),
        "strengths": {"exemplar": 0, "sketch": 0},
    },
}.items():
    add("edit", _name, portrait, **{"mask": MOUTH} | _options)
add("edit", "whole_photo", whole, mask=box(200, 120, 250, 150, (512, 512)), attributes={"smile": 1.0})
add("edit", "aligned", aligned, mask=ALIGNED_EYES, exemplar=lambda: aligned(other), aligned=True)
add("edit", "gray", gray, mask=MOUTH)
add("edit", "gray_painted", gray, mask=MOUTH, color=layer(MOUTH, (200, 30, 60)))
add(
    "edit",
    "two_faces",
    couple,
    mask=np.concatenate([MOUTH, MOUTH[:, ::-1]], axis=1),
    sketch=np.concatenate([lines(), lines()[:, ::-1]], axis=1),
)
add(
    "edit",
    "batch",
    lambda: [portrait(), other()],
    mask=[MOUTH, BEYOND],
    exemplar=other,
    sketch=lines(),
    generator=lambda: [seeded(1), seeded(2)],
)
add(
    "edit",
    "words",
    portrait,
    mask=MOUTH,
    prompt="abc",
    text_guide=tiny_text_guide,
    num_inference_steps=2,
)


@case("edit/session")
def _() -> Result:
    session = pipeline("edit").edit_session(portrait())
    first = session.edit(MOUTH, attributes={"smile": 2.0}, seed=1, num_images=2)
    session.choose(1)
    second = session.edit(EYES, exemplar=other(), sketch=lines(), seed=2)
    images = [*first.images, *second.images, session.image]
    session.undo()
    images.append(session.image)
    session.redo()
    with tempfile.TemporaryDirectory() as folder:
        session.save(Path(folder) / "session.zip")
        loaded = EditSession.load(None, Path(folder) / "session.zip")
    images.append(loaded.image)
    notes = [*first.notes, *second.notes, *loaded.steps[1].notes]
    return Result(images, [portrait()] * len(images), notes, {"edits": len(loaded.history)})


@case("edit/parts")
def _() -> Result:
    maps = pipeline("edit").semantic_maps(portrait()) + pipeline("edit").semantic_maps(
        aligned(), aligned=True
    )
    counts = [{CLASS_NAMES[c]: int((m == c).sum()) for c in range(19) if (m == c).sum() > 300} for m in maps]
    # Counts of pixels along edges are not exact.
    rounded = [{word: round(count, -2) for word, count in found.items()} for found in counts]
    return Result([Image.fromarray(m) for m in maps], [m for m in maps], None, {"pixels": rounded})


# What is said of masks, and what is refused


def told(read: Callable[[], Any]) -> Any:
    """What reading a mask gave, or the error."""
    try:
        found = read()
    except (ValueError, TypeError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    hole, notes, *rule = (found.hole, found.notes, found.rule) if hasattr(found, "hole") else found
    return {"share": round(float(hole.mean()), 4), "notes": list(notes)} | ({"rule": rule[0]} if rule else {})


def readings() -> dict[str, Any]:
    """How every kind of mask and sketch is understood."""
    size = (256, 256)
    masks = {name: told(lambda mask=mask: read_mask(mask, size)) for name, mask in eyes_alike().items()}
    drawn = {"lines": lines(), "on_paper": 255 - lines(), "layer": layer(lines() > 0, (0, 0, 255))}
    return masks | {f"sketch {n}": told(lambda s=s: read_sketch(s, size)) for n, s in drawn.items()}


REFUSALS: dict[str, tuple[str, dict[str, Any]]] = {
    "region": ("inpaint", {"region": "nose"}),
    "crop": ("inpaint", {"crop": "nose"}),
    "steps": ("inpaint", {"num_inference_steps": 0}),
    "batch": ("inpaint", {"max_batch_size": 0}),
    "output type": ("inpaint", {"output_type": "jpg"}),
    "callback": ("inpaint", {"callback_on_step_end_tensor_inputs": ["latents"]}),
    "no face": ("inpaint", {"image": portrait()[200:, :80], "mask": np.ones((56, 80), bool)}),
    "no face under the mask": ("inpaint", {"mask": box(0, 0, 20, 20)}),
    "no such face": ("inpaint", {"faces": [3]}),
    "wrong faces": ("inpaint", {"faces": "smallest"}),
    "detector": ("inpaint", {"detector": "none"}),
    "masks": ("inpaint", {"mask": [EYES, EYES, EYES]}),
    "generators": ("inpaint", {"generator": [seeded(), seeded()]}),
    "generator": ("inpaint", {"generator": 3}),
    "no file": ("inpaint", {"image": "no-such-photo.jpg"}),
    "web address": ("inpaint", {"image": "https://example.org/a.jpg"}),
    "folder": ("inpaint", {"image": "tests"}),
    "small": ("inpaint", {"image": portrait()[:9, :9]}),
    "large": ("inpaint", {"max_pixels": 1000}),
    "none": ("inpaint", {"image": []}),
    "kind": ("inpaint", {"image": 3}),
    "floats": ("inpaint", {"image": portrait().astype(np.float32)}),
    "channels first": ("inpaint", {"image": portrait().transpose(2, 0, 1)}),
    "not finite": ("inpaint", {"image": np.full((64, 64), np.nan)}),
    "fidelity": ("restore", {"fidelity": 1.5}),
    "candidates": ("restore", {"num_images": 0}),
    "face size": ("restore", {"min_face_size": -1}),
    "restore steps": ("restore", {"num_inference_steps": 99}),
    "not square": ("restore", {"image": portrait()[:200], "aligned": True}),
    "latents": ("restore", {"latents": torch.zeros(2, 3, 4)}),
    "no such face to restore": ("restore", {"faces": [1]}),
    "exemplar missing": ("exemplar", {"exemplar": None}),
    "mask missing": ("exemplar", {"mask": None}),
    "exemplar without face": ("exemplar", {"exemplar": portrait()[200:, :80]}),
    "exemplar with faces": ("exemplar", {"exemplar": couple()}),
    "exemplar face": ("exemplar", {"exemplar_face": "first"}),
    "exemplar not square": ("exemplar", {"exemplar": portrait()[:200], "exemplar_aligned": True}),
    "no face to fill": ("exemplar", {"image": portrait()[200:, :80], "mask": np.ones((56, 80), bool)}),
    "no face under the hole": ("exemplar", {"mask": box(0, 0, 20, 20)}),
    "nothing to recover": ("exemplar", {"image": portrait()[200:, :80], "mask": None, "recover": "glasses"}),
    "recover": ("exemplar", {"recover": "hat"}),
    "strength": ("exemplar", {"exemplar_strength": 2}),
    "truncation": ("exemplar", {"truncation_psi": -1}),
    "noise": ("exemplar", {"noise": "loud"}),
    "layers": ("exemplar", {"exemplar_layers": [99]}),
    "style layers alone": ("exemplar", {"style_layers": 8}),
    "crossover": ("exemplar", {"second_exemplar": other(), "style_layers": 1}),
    "second exemplars": ("exemplar", {"second_exemplar": [other()] * 3}),
    "pairs": ("exemplar", {"image": [portrait()] * 2, "exemplar": [other()] * 3}),
    "z": ("exemplar", {"z": torch.zeros(1, 3)}),
    "sketches": ("exemplar", {"sketch": [lines()] * 3}),
    "empty mask": ("edit", {"mask": np.zeros_like(MOUTH)}),
    "edit without mask": ("edit", {"mask": None}),
    "edit without face": ("edit", {"image": portrait()[200:, :80], "mask": np.ones((56, 80), bool)}),
    "edit beside the face": ("edit", {"mask": box(0, 0, 20, 20)}),
    "attribute": ("edit", {"attributes": {"beauty": 1}}),
    "attribute number": ("edit", {"attributes": {"smile": "much"}}),
    "strengths": ("edit", {"strengths": {"mood": 1}}),
    "strength number": ("edit", {"strengths": {"sketch": 3}}),
    "variety": ("edit", {"variety": 3}),
    "prompt": ("edit", {"prompt": " "}),
    "class": ("edit", {"semantics": {"beard": True}}),
    "labels": ("edit", {"semantics": np.full((256, 256), 77, np.uint8)}),
    "colours of no class": ("edit", {"semantics": other()}),
    "semantics of floats": ("edit", {"semantics": np.zeros((256, 256))}),
    "semantics of another shape": ("edit", {"semantics": np.zeros((256, 100), np.uint8)}),
    "maps": ("edit", {"semantics": [labels(MOUTH, "skin")] * 3}),
    "pose references": ("edit", {"pose_from": [other()] * 3}),
    "no exemplars": ("edit", {"exemplar": []}),
    "pose without face": ("edit", {"pose_from": portrait()[200:, :80]}),
}


def refusals() -> dict[str, str]:
    """What is said of calls that cannot work."""
    said = {}
    for name, (which, options) in REFUSALS.items():
        call: dict[str, Any] = {"image": portrait(), "generator": seeded()}
        call |= {} if which == "restore" else {"mask": EYES}
        call |= {"exemplar": aligned(other), "exemplar_aligned": True} if which == "exemplar" else {}
        if "exemplar" in options:
            call.pop("exemplar_aligned", None)
        try:
            pipeline(which)(**call | options)
        except (ValueError, TypeError, OSError) as error:
            said[name] = f"{type(error).__name__}: {error}"
        else:
            said[name] = "nothing was refused"
    return said
