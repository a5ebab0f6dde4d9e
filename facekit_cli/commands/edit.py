"""`facekit edit`: change a masked part of faces by drawings, exemplars, words and sliders."""

import argparse
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit.images.files import remove_parts
from facekit.notes import Note
from facekit_cli.arguments import file_name, file_path, hub_name
from facekit_cli.errors import UsageError
from facekit_cli.loop import finish, work_through
from facekit_cli.models import (
    load_pipeline,
    load_restore_with,
    place_model,
    place_restore_with,
    settle_device,
)
from facekit_cli.options import (
    add_device_options,
    add_exemplar_options,
    add_face_options,
    add_mask_option,
    add_output_options,
    add_photos,
    add_restorer_option,
    add_sketch_filter,
    add_tones_option,
    check_counts,
    parse_exemplar_face,
    parse_faces,
)
from facekit_cli.photos import (
    check_kept,
    check_writable,
    fail_early,
    find_photos,
    match_files,
    open_inputs,
    pick_file,
    plan_outputs,
    result_stems,
)
from facekit_cli.restoring import faces_folder
from facekit_cli.results import provenance_of, save_picture

if TYPE_CHECKING:
    from facekit.conditions.text import TextGuide
    from facekit.pipelines.edit.pipeline import FaceEditPipeline
    from facekit.pipelines.edit.settings import FaceEditOutput
    from facekit.pipelines.restore import FaceRestorePipeline

HELP = "edit a part of faces by drawings, exemplars, words and sliders"
DESCRIPTION = "Edit the part of each face that a mask marks, guided by any mix of what follows."
EXAMPLES = """\
examples:
  facekit edit photo.jpg --mask mouth.png --attribute smile=2 --exemplar self --output new
  facekit edit photo.jpg --mask hair.png --semantics map.png --color strokes.png --sketch lines.png
      --output new --candidates 4
  facekit edit photo.jpg --mask face.png --draw-sketch canny --color makeup.png --output painted
  facekit edit photo.jpg --mask face.png --pose-from front --strength pose=0.5 --output turned
  facekit edit photo.jpg --mask face.png --prompt "a face with blue eyes" --output said
  facekit edit people/ --script edits/session.json --output replayed

The mask is white (128 or more of 255; a bright colour will do) where the face may change, or painted on a
transparent layer, or the erased, transparent part of a copy of the photo. Everything outside the mask comes back
as it was; results are PNG (TIFF for CMYK) or --format. Drawings lie on the photo: a sketch is
strokes; a semantic map has the labels 0 to 18, the palette's colours, or is a transparent layer in these; colours
are a transparent layer, or a whole picture. Strengths go from 0 to 1, for sketch, semantics, color, exemplar,
pose, attributes and prompt.

A script is JSON: {"edits": [{"mask": "mask.png", "attributes": {"smile": 2}, "seed": 7}, ...]} with its pictures
beside it, or a session that was saved (a folder or zip). Its edits are done one after another. One of them may paste an
object of another photo, and the next make it seamless:
  {"edits": [{"object": "hat.png", "place": [240, 90], "width": 180}, {"mask": "rim", "exemplar": "self"}]}
hat.png is a cut-out with transparency, or any photo with "object_mask": "mask.png"; place is its middle.
"""

# Options that are one file for all photos or a folder of files with the photos' names.
DRAWINGS = ("mask", "sketch", "semantics", "color")
REFERENCES = {"exemplar": "self", "pose_from": "front"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments and options."""
    add_photos(parser)
    add_mask_option(parser)
    parser.add_argument(
        "--script", type=file_path, metavar="FILE", help="edits to do one after another, instead of one edit"
    )
    for name, what in (
        ("sketch", "strokes"),
        ("semantics", "a map of classes"),
        ("color", "colours, as strokes or a picture"),
    ):
        parser.add_argument(
            f"--{name}", type=file_path, help=f"{what}: one for all, or a folder as for masks"
        )
    add_sketch_filter(parser)
    parser.add_argument(
        "--exemplar",
        "-e",
        type=file_name,
        metavar="PICTURE",
        help="a face that sets the style, a folder as for masks, or: self (the photo's own face)",
    )
    parser.add_argument(
        "--pose-from",
        type=file_name,
        metavar="PICTURE",
        help="a face whose pose to take, a folder as for masks, or: front (look straight ahead)",
    )
    parser.add_argument(
        "--prompt", metavar="TEXT", help="words for CLIP, for example 'a face with blue eyes'"
    )
    parser.add_argument("--clip", type=hub_name, metavar="MODEL", help="folder or Hub id of the CLIP model")
    parser.add_argument(
        "--steps", type=int, default=200, metavar="N", help="steps of the words' search (default: 200)"
    )
    parser.add_argument(
        "--search",
        choices=("adam", "thesis"),
        help="how the words' search goes: adam (default), or thesis, its Eq. 6.4 to the letter: plain gradient descent "
        "under an L2 norm, whose edits are faint",
    )
    parser.add_argument(
        "--attribute",
        "-a",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="how far to go, for example smile=2; may be said again",
    )
    parser.add_argument(
        "--strength",
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="how much one kind of guidance counts, for example sketch=0.5; may be said again",
    )
    parser.add_argument(
        "--no-align-pose", action="store_true", help="do not turn the exemplar to the photo's pose"
    )
    add_output_options(parser)
    parser.add_argument("--candidates", type=int, default=1, metavar="N", help="results for each photo")
    parser.add_argument(
        "--variety",
        type=float,
        metavar="V",
        help="0 to 1: share of random codes (default: 0, further candidates 0.5)",
    )
    parser.add_argument(
        "--truncation",
        type=float,
        default=1.0,
        metavar="PSI",
        help="below 1: random codes nearer the average",
    )
    parser.add_argument(
        "--save-session",
        type=file_path,
        metavar="DIR",
        help="also write each photo's session as DIR/NAME.zip, with its edits and their pictures",
    )
    parser.add_argument(
        "--save-faces",
        action="store_true",
        help="also write what the model sees in each face's codes to NAME-faces/: of the masked face (projected), of "
        "the exemplar, turned to the pose (warped), and as edited; of a script those of its last edit",
    )
    add_restorer_option(parser)
    add_tones_option(parser)
    parser.add_argument(
        "--keep-detail",
        action="store_true",
        help="put the photo's own fine light and shade back: strands and pores stay where hair, lips or skin get "
        "another colour",
    )
    add_exemplar_options(parser, "exemplars and pose references")
    add_face_options(parser, "codes and noise")
    add_device_options(parser)


def run(args: argparse.Namespace) -> int:
    """Edit all photos; 0 when all went well, 1 when some failed."""
    settings = _gather_settings(args)
    args.model = place_model(args.model, "face-edit")
    place_restore_with(args)
    found = find_photos(args.photos)
    photos = found.photos
    script = _read_script(args)
    drawings = {}
    for name in (*DRAWINGS, *REFERENCES):
        given = getattr(args, name)
        if given is not None and given != REFERENCES.get(name):
            drawings[name] = match_files(photos, Path(given), name.replace("_", " "))
    plan = plan_outputs(found, args, args.candidates, faces_folder if args.save_faces else None)
    outputs = plan.outputs
    sessions = _plan_sessions(args, photos, outputs)
    fail_early(plan, lambda photo: open_inputs(photo, drawings.get("mask", {}), args.mask))

    def edit_one(
        pipeline: "FaceEditPipeline",
        guide: "TextGuide | None",
        restorer: "FaceRestorePipeline | None",
        photo: Path,
    ) -> dict[str, Any]:
        from facekit.images.photo import Photo
        from facekit.images.tensors import expect_kind

        if script is None:
            own = {
                name: pick_file(photo, files, name.replace("_", " "), getattr(args, name))
                for name, files in drawings.items()
            }
            words = {name: word for name, word in REFERENCES.items() if getattr(args, name) == word}
            edits = [words | own | settings]
        else:
            edits = script
        session = pipeline.edit_session(photo, aligned=args.aligned)
        if args.draw_sketch is not None:
            from facekit.conditions.sketch import sketch_photo

            edits[0]["sketch"] = sketch_photo(
                session.original,
                filter=args.draw_sketch,
                lines_of=edits[0].get("sketch"),
                size=pipeline.refiner.config.sample_size,
                aligned=args.aligned,
                known_faces=session.faces,
            )
        notes: list[Note] = []
        images: list[Photo] = []
        faces = 0
        for edit in edits:
            output = session.replay(
                edit,
                watermark=args.provenance == "both",
                output_type="photo",
                text_guide=guide,
                restore_with=restorer,
                return_inversions=args.save_faces and edit is edits[-1],
            )
            notes += [note for note in output.notes if note not in notes]
            images, faces = expect_kind(output.images, Photo), len(output.faces[0])
        chosen = range(len(images)) if script is None else [edits[-1].get("choice", 0)]
        images = images if script is None else [session.photo]
        for candidate, path in zip(chosen, outputs[photo], strict=True):
            _save_inversions(output, candidate, faces_folder(path), args, pipeline)
        if photo in sessions:
            session.save(sessions[photo])
        for image, path in zip(images, outputs[photo], strict=True):
            save_picture(image, path, provenance_of(args, pipeline, restorer), args.quality)
        return {"status": "done", "faces": faces, "edits": len(edits), "notes": notes}

    work = None
    if outputs:
        from facekit.pipelines.edit.pipeline import FaceEditPipeline, read_attribute_names

        with suppress(OSError, ValueError):  # of a folder without such a model, loading says more
            if os.path.isdir(args.model):
                _check_settings(settings, script, read_attribute_names(args.model))
        device = settle_device(args)
        pipeline = load_pipeline(FaceEditPipeline, args.model, device, args.dtype)
        restorer = load_restore_with(args, device)
        plan.remove_parts()
        for path in plan.results:
            remove_parts(faces_folder(path))
        guide = _prepare(pipeline, args, settings, script)
        work = partial(edit_one, pipeline, guide, restorer)
    details = {
        photo: {name: str(files[photo]) for name, files in drawings.items() if photo in files}
        | {"outputs": [str(path) for path in paths]}
        for photo, paths in outputs.items()
    }
    entries = work_through("edit", plan, details, work)
    reported = {
        key: getattr(args, key) for key in ("model", "restore_with", "device", "dtype", "format", "quality")
    }
    reported |= {"script": str(args.script)} if script is not None else settings
    return finish("edit", entries, reported, args)


def _save_inversions(
    output: "FaceEditOutput",
    candidate: int,
    folder: Path,
    args: argparse.Namespace,
    pipeline: "FaceEditPipeline",
) -> None:
    """Write what the prior makes of the codes of one result's faces as FACE-NAME.png, where that was asked for."""
    from facekit.images.photo import Photo
    from facekit.images.tensors import expect_kind
    from facekit.provenance import watermark_picture

    indices = [0] if args.aligned else [face.index for face in output.faces[0]]
    for name, shown in (output.inversions or {}).items():
        for index, picture in zip(indices, expect_kind(shown[candidate], Photo), strict=True):
            if args.provenance == "both":
                picture = watermark_picture(picture)
            save_picture(
                picture, folder / f"{index}-{name}.png", provenance_of(args, pipeline, kind="generated")
            )


def _gather_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of `EditSession.edit` but for pictures; refuses what cannot work without importing torch."""
    check_counts(args, "candidates")
    if args.mask is None and args.script is None:
        raise UsageError("say what may change with --mask, or name edits with --script")
    if args.mask is not None and args.script is not None:
        raise UsageError("a script says itself how to edit; leave out --mask, or --script")
    settings = {
        "attributes": _parse_numbers(args.attribute, "--attribute"),
        "strengths": _parse_numbers(args.strength, "--strength"),
        "prompt": args.prompt,
        "num_inference_steps": args.steps,
        "align_pose": not args.no_align_pose,
        "num_images": args.candidates,
        "variety": args.variety,
        "truncation_psi": args.truncation,
        "noise": args.noise,
        "faces": parse_faces(args.faces),
        "exemplar_face": parse_exemplar_face(args.exemplar_face),
        "exemplar_aligned": args.aligned or args.exemplar_aligned,
        "seed": args.seed,
    }
    if args.search is not None:
        settings["text_options"] = {"search": args.search}
    if args.match_tones is not None:
        settings["match_tones"] = args.match_tones
    if args.keep_detail:
        settings["keep_detail"] = True
    if args.script is not None:
        guided = (
            *DRAWINGS,
            "draw_sketch",
            *REFERENCES,
            "attribute",
            "strength",
            "prompt",
            "search",
            "keep_detail",
        )
        given = [name for name in guided if name != "mask" and getattr(args, name)]
        if args.match_tones is not None:
            given.append("match_tones" if args.match_tones else "no_match_tones")
        if given or args.candidates > 1:
            option = f"--{given[0].replace('_', '-')}" if given else "--candidates"
            raise UsageError(f"a script says itself how to edit; leave out {option}")
    elif args.search is not None and args.prompt is None:
        raise UsageError("--search is how words are searched for; say which with --prompt, or leave it out")
    return settings


def _parse_numbers(given: Sequence[str], option: str) -> dict[str, float]:
    """`NAME=NUMBER` as a mapping."""
    numbers = {}
    for text in given:
        name, mark, number = text.partition("=")
        try:
            numbers[name.strip()] = float(number)
        except ValueError:
            mark = ""
        if not mark or not name.strip():
            raise UsageError(f"{option} is {text!r}; say a name and a number, such as smile=2")
    return numbers


def _read_script(args: argparse.Namespace) -> list[dict[str, Any]] | None:
    if args.script is None:
        return None
    from facekit.images.photo import MAX_PIXELS
    from facekit.pipelines.edit.session.script import read_script

    try:
        edits = read_script(args.script, MAX_PIXELS)
    except (ValueError, OSError) as error:
        raise UsageError(error) from error
    if not edits:
        raise UsageError(f"{args.script} has no edits")
    return edits


def _plan_sessions(
    args: argparse.Namespace, photos: Sequence[Path], outputs: Mapping[Path, Any]
) -> dict[Path, Path]:
    if args.save_session is None:
        return {}
    check_writable([args.save_session], "--save-session")
    stems = result_stems(photos)
    files = {photo: args.save_session / f"{stems[photo]}.zip" for photo in outputs}
    check_kept(list(files.values()), photos, args, "save_session")
    if args.json is not None and os.path.realpath(args.json) in map(os.path.realpath, files.values()):
        raise UsageError(f"--json {args.json} is where a session goes; name another one")
    existing = [file for file in files.values() if file.exists()]
    if existing and not args.overwrite:
        raise UsageError(f"{existing[0]} exists already; say --overwrite or choose another --save-session")
    return files


def _prepare(
    pipeline: "FaceEditPipeline",
    args: argparse.Namespace,
    settings: Mapping[str, Any],
    script: list[dict[str, Any]] | None,
) -> "TextGuide | None":
    """Refuse what no photo could be edited with; returns the guide of a prompt."""
    guide = None
    _check_settings(settings, script, pipeline.attribute_names)
    try:
        for edit in [settings] if script is None else script:
            prompt = edit.get("prompt")
            pipeline.check_inputs(
                edit.get("num_images", 1),
                1,
                edit.get("num_inference_steps", 1),
                prompt,
                "photo",
                text_options=edit.get("text_options"),
            )
            if prompt is not None:
                guide = pipeline.load_text_guide(args.clip if guide is None else guide, prompt)
    except (ValueError, OSError, ImportError) as error:
        raise UsageError(error) from error
    return guide


def _check_settings(
    settings: Mapping[str, Any], script: list[dict[str, Any]] | None, attributes: Sequence[str]
) -> None:
    """Refuse settings that no photo could be edited with; `attributes` are those that the model knows. UsageError."""
    from facekit.pipelines.edit.settings import EditSettings

    try:
        for edit in [settings] if script is None else script:
            EditSettings.check(
                edit.get("strengths"),
                edit.get("attributes"),
                attributes,
                edit.get("variety"),
                edit.get("truncation_psi", 1.0),
                edit.get("noise", "random"),
                edit.get("align_pose", True),
            )
    except ValueError as error:
        raise UsageError(error) from error
