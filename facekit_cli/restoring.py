"""Restore photos and write the results: what `facekit restore` and `facekit_cli.batch` share."""

import argparse
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from facekit_cli.arguments import hub_name, seed_number
from facekit_cli.errors import UsageError
from facekit_cli.models import load_pipeline, pick_dtype, place_model
from facekit_cli.options import add_model_option, add_self_ensemble_option, check_counts, parse_faces
from facekit_cli.results import provenance_of, save_picture
from facekit_cli.words import reword

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from facekit.faces import Face
    from facekit.images.origin import Provenance
    from facekit.images.photo import ImageInput, Photo
    from facekit.models.identity_encoder import FaceIdentity
    from facekit.pipelines.background import BackgroundUpscaler
    from facekit.pipelines.restore import FaceRestoreOutput, FaceRestorePipeline

T = TypeVar("T")

GAP = 4  # pixels between the pictures of a row
DETECTORS = ("mtcnn", "retinaface", "scrfd")


def add_restore_options(parser: argparse.ArgumentParser, batch_size: int) -> None:
    """Add the arguments of `FaceRestorePipeline` as options; those that are not given keep the pipeline's defaults.

    `batch_size`: default of `--batch-size`, faces that the networks see at once.
    """
    parser.add_argument(
        "--fidelity",
        type=float,
        metavar="F",
        help="0 to 1: how much of the photo's coarse structure is kept (default: the model's own; 0 is its network's "
        "picture alone)",
    )
    add_self_ensemble_option(parser)
    parser.add_argument(
        "--faces", default="all", help="all, largest, or numbers from the left, counted from 0: 0,2"
    )
    parser.add_argument(
        "--min-face-size",
        type=float,
        metavar="PIXELS",
        help="leave smaller faces as they are (default: the pipeline's)",
    )
    parser.add_argument(
        "--detector", choices=DETECTORS, default="mtcnn", help="what finds the faces (default: mtcnn)"
    )
    parser.add_argument(
        "--aligned", action="store_true", help="the photos are aligned faces: no face detection"
    )
    parser.add_argument(
        "--candidates",
        type=int,
        default=1,
        metavar="N",
        help="results for each photo: NAME-1.png, NAME-2.png",
    )
    parser.add_argument(
        "--scale",
        type=int,
        metavar="N",
        help="enlarge the photos N-fold, faces sharp (default: 1, or as much as the --background enlarges)",
    )
    parser.add_argument(
        "--background",
        type=hub_name,
        metavar="MODEL",
        help="network such as Real-ESRGAN's that enlarges what is around the faces, in place of cubic interpolation: a "
        ".safetensors file, or OWNER/NAME or OWNER/NAME/FILE.safetensors on the Hub (needs facekit[background])",
    )
    parser.add_argument(
        "--background-tile",
        type=int,
        metavar="PIXELS",
        help="side of what that network sees at once (default: what becomes 1024 pixels); smaller takes less memory",
    )
    parser.add_argument(
        "--steps", type=int, metavar="T", help="denoising steps (default: those the model was trained with)"
    )
    parser.add_argument(
        "--save-faces",
        action="store_true",
        help="also write the aligned faces before and after, and the style prompt of every step, to NAME-faces/",
    )
    add_model_option(parser)
    parser.add_argument(
        "--identity",
        type=hub_name,
        metavar="MODEL",
        help="identity encoder (folder or Hub id): the report says how alike each face stayed",
    )
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of the random codes (default: 0)")
    parser.add_argument(
        "--batch-size",
        type=int,
        default=batch_size,
        metavar="N",
        help=f"faces that the networks see at once (default: {batch_size})",
    )
    parser.add_argument(
        "--max-pixels", type=int, metavar="N", help="refuse larger photos; 0: no limit (default: 200 million)"
    )


def check_restore_options(args: argparse.Namespace) -> None:
    """Refuse options that cannot work, without importing torch; `args.model` becomes the model's place.

    Raises UsageError.
    """
    check_counts(args, "candidates", "scale", "batch_size", "steps")
    if args.fidelity is not None and not 0 <= args.fidelity <= 1:
        raise UsageError(f"--fidelity is {args.fidelity:g}; it must lie between 0 and 1")
    for option in ("min_face_size", "max_pixels"):
        value = getattr(args, option)
        if value is not None and not value >= 0:
            raise UsageError(f"--{option.replace('_', '-')} is {value:g}; it must be 0 or more")
    if args.aligned and (args.background or args.scale not in (None, 1)):
        option = "--background" if args.background else "--scale"
        raise UsageError(
            f"{option} enlarges what is around the faces; with --aligned there is nothing around"
        )
    if args.background_tile is not None and args.background is None:
        raise UsageError(
            "--background-tile is for the network that --background names; name it, or leave this out"
        )
    parse_faces(args.faces)
    args.model = place_model(args.model, "face-restore")


def load_restorer(args: argparse.Namespace, device: "torch.device") -> "FaceRestorePipeline":
    """Load the pipeline of `--model`, with the encoder of `--identity`.

    Raises UsageError where a model or a detector cannot be loaded, or the model has fewer steps than `--steps`.
    """
    import numpy as np

    from facekit.faces import detect_faces
    from facekit.pipelines.restore import FaceRestorePipeline

    components = {} if args.identity is None else {"identity_encoder": _load_identity(args, device)}
    pipeline = load_pipeline(FaceRestorePipeline, args.model, device, args.dtype, **components)
    try:
        pipeline.plan_steps(args.steps)
    except ValueError as error:
        raise UsageError(f"--steps {args.steps}: ", error) from error
    if not args.aligned:
        try:
            detect_faces(np.zeros((64, 64, 3), np.uint8), detector=args.detector)
        except (ImportError, OSError) as error:
            raise UsageError(error) from error
    return pipeline


def load_background(args: argparse.Namespace, device: "torch.device") -> "BackgroundUpscaler | None":
    """Load the network of `--background`, None without it. Raises UsageError where it cannot be loaded."""
    if args.background is None:
        return None
    from facekit.pipelines.background import BackgroundUpscaler

    try:
        return BackgroundUpscaler.from_pretrained(
            args.background, dtype=pick_dtype(args.dtype, device), device=device, tile=args.background_tile
        )
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"the background {args.background} cannot be used: ", error) from error


def _load_identity(args: argparse.Namespace, device: "torch.device") -> "FaceIdentity":
    from facekit.models.identity_networks import load_face_identity

    try:
        return load_face_identity(args.identity, pick_dtype(args.dtype, device))
    except (OSError, ValueError) as error:
        raise UsageError(f"the identity encoder {args.identity} cannot be loaded: ", error) from error


def settings_of(args: argparse.Namespace, pipeline: "FaceRestorePipeline | None" = None) -> dict[str, Any]:
    """The settings that decide the results, for a report; with a pipeline its defaults stand in place of None."""
    names = (
        *("fidelity", "self_ensemble", "faces", "min_face_size", "detector", "aligned", "candidates"),
        *("scale", "background", "steps", "save_faces", "identity", "seed", "dtype", "provenance"),
        *("format", "quality"),
    )
    settings = {name: getattr(args, name) for name in names}
    if args.scale is None and args.background is None:
        settings["scale"] = 1
    if pipeline is not None:
        for name in ("fidelity", "self_ensemble"):
            if settings[name] is None:
                settings[name] = pipeline.config[name]
        if args.min_face_size is None:
            defaults = inspect.signature(type(pipeline).__call__).parameters
            settings["min_face_size"] = defaults["min_face_size"].default
        steps = pipeline.plan_steps(args.steps)
        settings["steps"] = 0 if steps is None else len(steps.timesteps)
    return {"model": args.model} | settings


@dataclass(frozen=True)
class FacePictures:
    """What `--save-faces` writes of one face: the aligned face before and after, and the style prompt of each step.

    With `--truth` also the undamaged face, and the style prompt of its own codes.
    """

    before: "Photo"
    after: "Photo"
    prompts: list["Photo"]
    truth: "Photo | None" = None
    truth_prompt: "Photo | None" = None

    def strip(self) -> "Image.Image":
        """Thesis Fig. 3.7: before, the prompt of every step, that of the truth, after, the truth, in a row."""
        from PIL import Image

        from facekit.images.photo import as_uint8

        row = [self.before, *self.prompts, self.truth_prompt, self.after, self.truth]
        shown = [as_uint8(photo.rgb) for photo in row if photo is not None]
        side = shown[0].shape[0]
        strip = Image.new("RGB", (len(shown) * (side + GAP) - GAP, side), "white")
        for place, pixels in enumerate(shown):
            strip.paste(Image.fromarray(pixels), (place * (side + GAP), 0))
        return strip


@dataclass
class Restored:
    """The results of one photo; lists have an entry for each candidate, and nested lists in them one for each face.

    Attributes:
        images: the restored photo, for each candidate.
        faces: the faces that were restored (the same for all candidates); empty with `--aligned`.
        notes: remarks in the words of the command line.
        similarities: identity similarity (-1 to 1) of every face; None without an identity encoder.
        face_pictures: pictures of every face; None without `--save-faces`.
        aligned: the photo itself was one aligned face.
        provenance: what the files say of their origin; None for a photo that came back as it was.
        quality: of results that are JPEG or WebP.
    """

    images: list["Photo"]
    faces: list["Face"]
    notes: list[str]
    similarities: list[list[float]] | None
    face_pictures: list[list[FacePictures]] | None
    aligned: bool
    provenance: "Provenance | None" = None
    quality: int | None = None

    def entry(self) -> dict[str, Any]:
        """The photo's entry in a report. With 0 "faces" it came back as it was."""
        entry: dict[str, Any] = {"status": "done", "faces": 1 if self.aligned else len(self.faces)}
        if not self.aligned:
            entry["boxes"] = [
                {"face": face.index, "box": [round(float(value), 1) for value in face.box]}
                for face in self.faces
            ]
        if self.similarities is not None:
            entry["similarities"] = [[round(float(s), 4) for s in row] for row in self.similarities]
        return entry | {"notes": self.notes}

    def save(
        self, paths: Sequence[Path], skip_existing: bool = False, faces: bool = True, strips: bool = False
    ) -> None:
        """Write the results, each to its path; those that exist are left out with `skip_existing`.

        `faces` and `strips` say what is written of `face_pictures`: every picture, and all of a face in a row. They
        are written before the result: where a result exists, everything does.
        """
        for number, path in enumerate(paths):
            if skip_existing and path.exists():
                continue
            if self.face_pictures is not None and faces:
                self._save_faces(self.face_pictures[number], faces_folder(path))
            if self.face_pictures is not None and strips:
                for index, face in zip(self._indices, self.face_pictures[number], strict=True):
                    save_picture(face.strip(), faces_folder(path) / f"{index}-strip.png", self._imagined)
            save_picture(self.images[number], path, self.provenance, self.quality)

    def _save_faces(self, faces: list[FacePictures], folder: Path) -> None:
        for index, face in zip(self._indices, faces, strict=True):
            save_picture(face.before, folder / f"{index}-before.png")
            save_picture(face.after, folder / f"{index}-after.png", self.provenance)
            for step, prompt in enumerate(face.prompts, start=1):
                save_picture(prompt, folder / f"{index}-prompt-{step}.png", self._imagined)
            if face.truth is not None and face.truth_prompt is not None:
                save_picture(face.truth, folder / f"{index}-truth.png")
                save_picture(face.truth_prompt, folder / f"{index}-truth-prompt.png", self._imagined)

    @property
    def _indices(self) -> list[int]:
        """The number of each face of `face_pictures`."""
        return [face.index for face in self.faces] if not self.aligned else [0]

    @property
    def _imagined(self) -> "Provenance | None":
        return self.provenance and replace(self.provenance, kind="generated")


def faces_folder(result: Path) -> Path:
    """Where `--save-faces` puts the aligned faces of a result."""
    return result.with_name(f"{result.stem}-faces")


def restore(
    pipeline: "FaceRestorePipeline",
    images: Sequence["ImageInput"],
    seeds: Sequence[int],
    args: argparse.Namespace,
    truths: Sequence["ImageInput"] | None = None,
    return_faces: bool = False,
    background: "BackgroundUpscaler | None" = None,
) -> list[Restored]:
    """Restore photos together, each with its own seed.

    Args:
        truths: the undamaged photos, for `return_faces`.
        return_faces: give `Restored.face_pictures` also without `--save-faces`.
        background: from `load_background`.

    Raises what the pipeline raises where one of them cannot be restored.
    """
    import torch

    from facekit.images.photo import Photo
    from facekit.images.tensors import expect_kind

    options: dict[str, Any] = {}
    for name in ("fidelity", "min_face_size"):
        if getattr(args, name) is not None:
            options[name] = getattr(args, name)
    if args.max_pixels is not None:
        options["max_pixels"] = args.max_pixels or None
    output = pipeline(
        list(images),
        scale=args.scale,
        background=background,
        aligned=args.aligned,
        faces=parse_faces(args.faces),
        detector=args.detector,
        self_ensemble=args.self_ensemble,
        num_inference_steps=args.steps,
        num_images=args.candidates,
        generator=[torch.Generator("cpu").manual_seed(seed) for seed in seeds],
        return_aligned=args.save_faces or return_faces,
        truth=None if truths is None else list(truths),
        watermark=args.provenance == "both",
        max_batch_size=args.batch_size,
        output_type="photo",
        **options,
    )

    def own(values: list[T], number: int) -> list[T]:
        return values[number * args.candidates : (number + 1) * args.candidates]

    results, face_pictures = expect_kind(output.images, Photo), _collect_faces(output, args)
    origin = provenance_of(args, pipeline)
    if origin is not None and background is not None:
        names = [name for name in (origin.model, background.name) if name]
        origin = replace(origin, model=" and ".join(names))
    return [
        Restored(
            images=own(results, number),
            faces=output.faces[number],
            notes=[reword(note.alone, args) for note in output.notes if note.photo in (number, None)],
            similarities=None if output.similarities is None else own(output.similarities, number),
            face_pictures=None if face_pictures is None else own(face_pictures, number),
            aligned=args.aligned,
            provenance=origin if args.aligned or background is not None or output.faces[number] else None,
            quality=args.quality,
        )
        for number in range(len(images))
    ]


def _collect_faces(output: "FaceRestoreOutput", args: argparse.Namespace) -> list[list[FacePictures]] | None:
    """The faces of each result; what models made is marked where that is wanted. None where they were not returned."""
    from facekit.images.photo import Photo
    from facekit.images.tensors import expect_kind
    from facekit.provenance import watermark_picture

    inputs, outputs, prompts = output.aligned_inputs, output.aligned_outputs, output.style_prompts
    if inputs is None or outputs is None or prompts is None:
        return None

    def label(photo: Photo) -> Photo:
        return watermark_picture(photo) if args.provenance == "both" else photo

    collected = [
        [
            FacePictures(before, label(after), [label(step) for step in expect_kind(steps, Photo)])
            for before, after, steps in zip(
                expect_kind(befores, Photo), expect_kind(afters, Photo), faces, strict=True
            )
        ]
        for befores, afters, faces in zip(inputs, outputs, prompts, strict=True)
    ]
    if output.aligned_truths is None or output.truth_prompts is None:
        return collected
    return [
        [
            replace(face, truth=truth, truth_prompt=label(prompt))
            for face, truth, prompt in zip(
                faces, expect_kind(truths, Photo), expect_kind(prompts, Photo), strict=True
            )
        ]
        for faces, truths, prompts in zip(collected, output.aligned_truths, output.truth_prompts, strict=True)
    ]
