"""What other programs see in a photo before and after it was restored: `facekit restore --landmarks`, `--emotions`.

Thesis section 3.4: landmarks (Table 3.4, Fig. 3.10) and emotions (Table 3.5, Fig. 3.11).
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit_cli.arguments import file_path
from facekit_cli.errors import UsageError
from facekit_cli.restoring import GAP, Restored, faces_folder
from facekit_cli.results import save_picture

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from facekit.images.photo import Photo
    from facekit.pipelines.downstream import Landmarks, Recogniser

LANDMARKS = ("five-point", "fan")
SHOWN = 1024  # pixels, the longer side of a photo in the picture of its points


def add_look_options(parser: argparse.ArgumentParser) -> None:
    """Add `--landmarks`, `--emotions`, and `--truth`, which they and the strips of faces read."""
    parser.add_argument(
        "--landmarks",
        choices=LANDMARKS,
        help="find landmarks before and after: points for the report, and NAME-faces/landmarks.png; fan needs the "
        "extra landmarks",
    )
    parser.add_argument(
        "--emotions",
        action="store_true",
        help="name the emotion of every face before and after, in a note and the report; needs the extra emotion",
    )
    parser.add_argument(
        "--truth",
        type=file_path,
        metavar="PATH",
        help="the undamaged photo, or a folder of them with the photos' names: shown beside the restored ones by "
        "--save-faces, --strip, --landmarks and --emotions",
    )


def check_look_options(args: argparse.Namespace) -> None:
    """Refuse options that cannot work. Raises UsageError."""
    looks = bool(args.landmarks or args.emotions)
    if looks and (args.background or args.scale not in (None, 1)):
        option = "--background" if args.background else "--scale"
        raise UsageError(
            f"{option} enlarges the photo, and --landmarks and --emotions compare it with itself: say one"
        )
    if args.truth is not None and not (looks or args.save_faces or args.strip):
        raise UsageError(
            "--truth is shown by --save-faces, --strip, --landmarks and --emotions: say one of them too"
        )


@dataclass(frozen=True)
class Look:
    """Programs that look at photos.

    Attributes:
        landmarks: one of `LANDMARKS`, or None.
        detector: of five points.
        find: FAN, where it was asked for.
        recogniser: faces -> names of emotions, or None.
    """

    landmarks: str | None
    detector: str
    find: "Landmarks | None"
    recogniser: "Recogniser | None"

    def compare(
        self, restored: Restored, photo: Path, truth: Path | None, max_pixels: int | None
    ) -> tuple[dict[str, Any], list["Image.Image"]]:
        """What the report says, and for each candidate the points on the photo before, after and undamaged.

        Lists of the report have an entry for each candidate where they are about results.
        """
        from facekit.images.photo import MAX_PIXELS, as_uint8, load_image
        from facekit.pipelines.downstream import name_emotions

        limit = MAX_PIXELS if max_pixels is None else max_pixels or None
        before = load_image(photo, max_pixels=limit)
        original = None if truth is None else load_image(truth, max_pixels=limit)
        entry: dict[str, Any] = {}
        pictures: list[Image.Image] = []
        if self.landmarks is not None:
            first, true = self._points(before), None if original is None else self._points(original)
            after = [self._points(image) for image in restored.images]
            entry["landmarks"] = {"detector": self.landmarks, "before": _told(first)}
            entry["landmarks"] |= {"after": [_told(points) for points in after]}
            if true is not None:
                entry["landmarks"]["truth"] = _told(true)
            for image, points in zip(restored.images, after, strict=True):
                sides = [(before, first), (image, points)]
                sides += [] if original is None or true is None else [(original, true)]
                pictures.append(_draw_sides(sides))
        if self.recogniser is not None:
            places = None if restored.aligned else restored.faces
            named = [
                name_emotions(as_uint8(photo.rgb), places, self.recogniser)
                for photo in (before, *restored.images)
            ]
            true_names = None
            if original is not None:
                true_names = name_emotions(as_uint8(original.rgb), places, self.recogniser)
            numbers = [0] if restored.aligned else [face.index for face in restored.faces]
            entry["emotions"] = [
                {"face": number, "before": names[0], "after": list(names[1:])}
                | ({} if true_names is None else {"truth": true_names[place]})
                for place, (number, *names) in enumerate(zip(numbers, *named, strict=True))
            ]
        return entry, pictures

    def _points(self, photo: "Photo") -> list["np.ndarray"]:
        from facekit.images.photo import as_uint8
        from facekit.pipelines.downstream import find_points

        return find_points(as_uint8(photo.rgb), self.detector, self.find)


def load_look(args: argparse.Namespace) -> Look | None:
    """The programs that `--landmarks` and `--emotions` ask for. Raises UsageError where one cannot be had."""
    from facekit.metrics import WeightsUnavailable
    from facekit.metrics.networks import emotion_recogniser, fan_landmarks

    if not args.landmarks and not args.emotions:
        return None
    try:
        find = fan_landmarks() if args.landmarks == "fan" else None
        return Look(args.landmarks, args.detector, find, emotion_recogniser() if args.emotions else None)
    except WeightsUnavailable as error:
        raise UsageError(error) from error


def notes_of(entry: dict[str, Any]) -> list[str]:
    """What the command says of an entry that `Look.compare` made."""
    notes = []
    if "landmarks" in entry:
        seen = entry["landmarks"]
        counts = ", ".join(str(len(points)) for points in seen["after"])
        truth = f", in the undamaged photo {len(seen['truth'])}" if "truth" in seen else ""
        notes.append(
            f"faces found by {seen['detector']}: before {len(seen['before'])}, after {counts}{truth}"
        )
    for face in entry.get("emotions", ()):
        truth = f", of the undamaged one {face['truth']}" if "truth" in face else ""
        notes.append(
            f"emotion of face {face['face']}: before {face['before']}, after {', '.join(face['after'])}{truth}"
        )
    return notes


def save_points(pictures: Sequence["Image.Image"], paths: Sequence[Path], restored: Restored) -> None:
    """Write the pictures of points beside each result."""
    for picture, path in zip(pictures, paths, strict=False):
        save_picture(picture, faces_folder(path) / "landmarks.png", restored.provenance)


def _told(faces: Sequence["np.ndarray"]) -> list[Any]:
    return [[[round(float(x), 1), round(float(y), 1)] for x, y in points] for points in faces]


def _draw_sides(sides: Sequence[tuple["Photo", Sequence["np.ndarray"]]]) -> "Image.Image":
    """Photos in a row, each with its points, no larger than `SHOWN`."""
    from PIL import Image

    from facekit.images.photo import as_uint8
    from facekit.pipelines.downstream import draw_points

    drawn = []
    for photo, faces in sides:
        picture = Image.fromarray(as_uint8(photo.rgb))
        scale = min(1.0, SHOWN / max(picture.size))
        if scale < 1:
            picture = picture.resize((round(picture.width * scale), round(picture.height * scale)))
        drawn.append(draw_points(picture, [(points + 0.5) * scale - 0.5 for points in faces]))
    width = sum(picture.width + GAP for picture in drawn) - GAP
    row = Image.new("RGB", (width, max(picture.height for picture in drawn)), "white")
    left = 0
    for picture in drawn:
        row.paste(picture, (left, 0))
        left += picture.width + GAP
    return row
