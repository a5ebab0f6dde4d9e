"""`facekit inspect`: what facekit sees in a picture and its mask, and whether a model made or changed it."""

import argparse
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit_cli.arguments import file_path
from facekit_cli.loop import say_skipped
from facekit_cli.options import add_mask_option
from facekit_cli.photos import check_report, find_photos, match_files, pick_file
from facekit_cli.results import write_json
from facekit_cli.words import reword

if TYPE_CHECKING:
    from facekit.images.photo import Photo
    from facekit.provenance import Inspection

HELP = "tell what pictures and masks hold, and whether a model made or changed them"
DESCRIPTION = "Tell what each picture holds, and read its origin from its file and from its pixels."
EXAMPLES = """\
examples:
  facekit inspect picture.png
  facekit inspect folder/ --json origin.json
  facekit inspect photo.jpg --mask mask.png --faces

A picture's size is that of the upright picture; its mode, depth and colour profile are those that results come back in.
"gray" or "in one tone" (such as sepia): it has no colours of its own, and gets none.
With --mask: how much of the photo is hole, and which of the mask's pixels count. With --faces, which takes as long as
all the rest: the faces that inpaint, exemplar and edit find, numbered as their --faces option numbers them; restore
also looks for smaller ones, and may count more.

Two labels are looked for: what the file says (IPTC DigitalSourceType, by any program that writes it), and facekit's
invisible mark in the pixels. That neither is there does not mean that no model was at work. About one unmarked picture
in 10,000 is taken for marked.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments and options."""
    parser.add_argument(
        "photos", nargs="+", type=file_path, metavar="FILE", help="picture files, or folders of them"
    )
    add_mask_option(parser)
    parser.add_argument("--faces", action="store_true", help="also find the faces")
    parser.add_argument("--json", type=file_path, metavar="REPORT", help="write a report of every picture")


def run(args: argparse.Namespace) -> int:
    """Print what is in each picture; 0 when all could be read, else 1."""
    from facekit.images.photo import load_image
    from facekit.provenance import inspect

    entries: list[dict[str, Any]] = []
    failed = False
    paths, left_out = find_photos(args.photos)
    check_report(args)
    masks = {} if args.mask is None else match_files(paths, args.mask, "mask")
    for path in paths:
        try:
            photo = load_image(path)
            found = inspect(path, photo=photo)
            entry = {"photo": str(path), "picture": _describe_picture(path, photo)} | asdict(found)
        except (OSError, ValueError) as error:
            message = reword(error, args)
            print(f"failed: {path}: {message}", file=sys.stderr)
            entries.append({"photo": str(path), "error": message})
            failed = True
            continue
        lines = [
            f"picture: {_say_picture(entry['picture'])}",
            f"metadata: {_say_metadata(found)}",
            f"watermark: {_say_watermark(found)}",
        ]
        if args.faces:
            entry["faces"] = _find_faces(photo)
            lines += _say_faces(entry["faces"])
        if args.mask is not None:
            try:
                entry["mask"] = _measure_mask(masks, path, photo, args.mask)
                lines += _say_mask(entry["mask"])
            except (OSError, ValueError) as error:
                message = reword(error, args)
                print(f"failed: {path}: {message}", file=sys.stderr)
                entry["mask"] = {"error": message}
                failed = True
        print("\n  ".join([str(path), *lines]))
        entries.append(entry)
    say_skipped(left_out)
    entries += [{"photo": str(file), "skipped": reason} for file, reason in left_out.items()]
    if args.json:
        try:
            write_json({"command": "inspect", "photos": entries}, args.json)
        except OSError as error:
            print(f"the report {args.json} could not be written: {error}", file=sys.stderr)
            return 1
    return 1 if failed else 0


def _describe_picture(path: Path, photo: "Photo") -> dict[str, Any]:
    """What the file holds, as the other commands take it."""
    from PIL.ExifTags import Base

    from facekit.images.opening import open_header
    from facekit.images.tint import find_tint

    with open_header(path, str(path), None) as opened:
        form, orientation = opened.format, opened.getexif().get(Base.Orientation, 1)
    width, height = photo.size
    tint = find_tint(photo)
    bits = {"bool": 1, "int32": 16}.get(photo.pixels.dtype.name, 8 * photo.pixels.dtype.itemsize)
    return {
        "format": form,
        "width": width,
        "height": height,
        "mode": photo.mode,
        "bits": bits,
        "colors": "many" if tint is None else "tone" if tint.offsets.any() else "gray",
        "transparency": photo.alpha is not None or "transparency" in photo.info,
        "profile": _name_profile(photo.info.get("icc_profile")),
        "orientation": orientation,
        "notes": list(photo.notes),
    }


def _name_profile(content: bytes | None) -> str | None:
    """Name of a colour profile, "unreadable" for one that is none; None without."""
    import io

    from PIL import ImageCms

    if not content:
        return None
    try:
        return ImageCms.getProfileDescription(io.BytesIO(content)).strip() or "without a name"
    except ImageCms.PyCMSError:
        return "unreadable"


def _say_picture(picture: dict[str, Any]) -> str:
    depth = f"{picture['bits']} bit" + ("s" if picture["bits"] > 1 else "")
    words = [f"{picture['format']}, {picture['width']}x{picture['height']}, mode {picture['mode']}, {depth}"]
    words += {"many": [], "tone": ["in one tone"], "gray": ["gray"]}[picture["colors"]]
    words += ["with transparency"] if picture["transparency"] else []
    words += [f"profile {picture['profile'] or 'none'}"]
    if picture["orientation"] != 1:
        words += [f"turned upright (EXIF orientation {picture['orientation']})"]
    return "; ".join([", ".join(words), *picture["notes"]])


def _find_faces(photo: "Photo") -> list[dict[str, Any]]:
    from facekit.faces import detect_faces
    from facekit.images.photo import as_uint8

    return [
        {
            "face": face.index,
            "box": [round(float(value), 1) for value in face.box],
            "score": round(face.score, 2),
        }
        for face in detect_faces(as_uint8(photo.rgb))
    ]


def _say_faces(faces: list[dict[str, Any]]) -> list[str]:
    lines = []
    for face in faces:
        left, top, right, bottom = (round(value) for value in face["box"])
        size, place = f"{right - left}x{bottom - top} pixels", f"{left},{top} to {right},{bottom}"
        lines.append(f"face {face['face']}: {size}, {place} (score {face['score']:.2f})")
    return lines or ["faces: none found"]


def _measure_mask(masks: Mapping[Path, Path], path: Path, photo: "Photo", given: Path) -> dict[str, Any]:
    """How much of the photo its mask marks as hole, and by which rule."""
    from facekit.images.masks import read_mask

    mask = pick_file(path, masks, "mask", given)
    reading = read_mask(mask, photo.size)
    share = float(reading.hole.mean())
    return {"file": str(mask), "hole": share, "rule": reading.rule, "notes": reading.notes}


def _say_mask(mask: dict[str, Any]) -> list[str]:
    from facekit.images.masks import format_share

    line = f"mask {mask['file']}: {format_share(mask['hole'])} of the photo is hole ({mask['rule']})"
    return [line, *(f"  {note}" for note in mask["notes"])]


def _say_metadata(found: "Inspection") -> str:
    origin = found.metadata
    if origin is None:
        return "nothing about a model"
    model = f", model {origin.model}" if origin.model else ""
    revision = f", revision {origin.revision}" if origin.revision else ""
    terms = f"; terms of the weights: {origin.terms}" if origin.terms else ""
    kind = f"{origin.kind} ({origin.source_type.rsplit('/', 1)[-1]})"
    return f"{kind} by {origin.software}{model}{revision}{terms}"


def _say_watermark(found: "Inspection") -> str:
    mark = found.watermark
    score = f"score {mark.score:.1f}, threshold {mark.threshold:.1f}"
    if not mark.found:
        return f"not found ({score})"
    left, top, right, bottom = mark.box
    return f"found around {left},{top} to {right},{bottom} ({score})"
