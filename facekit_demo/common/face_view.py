"""The working photo of the Restore tab and its faces: found, numbered, chosen, pointed at."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facekit.faces import Face, detect_faces
from facekit.images.photo import Photo, as_uint8
from facekit_demo.common.running import open_photo, preview
from facekit_demo.common.words import LARGER_FACE, no_face_note, stopping

SMALLEST_FOUND, SMALLEST_RESTORED = 20.0, 32.0  # pixels, the limits of `FaceRestorePipeline`
CHOSEN, LEFT, TINY = (13, 148, 136), (100, 116, 139), (148, 163, 184)


@dataclass(frozen=True, eq=False)
class WorkingPhoto:
    """The photo that is worked on.

    Attributes:
        path: its file.
        shown: a copy for the screen.
        scale: pixels of that copy for one of the photo's.
        faces: all faces found, left to right; `Face.index` counts from 0, people from 1: see `face_number`.
        original: file of the undamaged photo, where this is a copy that was damaged here.
    """

    path: str
    shown: Image.Image
    scale: float
    faces: tuple[Face, ...]
    original: str | None = None

    @property
    def damaged(self) -> bool:
        """Whether it is a copy that was damaged here."""
        return self.original is not None

    @property
    def restorable(self) -> list[int]:
        """Indices of the faces that are large enough."""
        return [face.index for face in self.faces if width_of(face) >= SMALLEST_RESTORED]


def face_number(index: int) -> int:
    """What people call a face: the leftmost is 1."""
    return index + 1


def look_at(path: str | None, original: str | None = None) -> WorkingPhoto:
    """Open a photo and find its faces; `original` as in `WorkingPhoto`. Raises ValueError or OSError with advice."""
    photo = open_photo(path)
    shown = preview(photo).convert("RGB")
    return WorkingPhoto(path, shown, shown.width / photo.size[0], tuple(find_faces(photo)), original)


def find_faces(photo: Photo) -> list[Face]:
    """All faces, left to right, also those too small to restore."""
    return detect_faces(as_uint8(photo.rgb), min_size=SMALLEST_FOUND)


def width_of(face: Face) -> float:
    """Shorter side of the face's box in pixels."""
    return min(face.box[2] - face.box[0], face.box[3] - face.box[1])


def numbered(working: WorkingPhoto, chosen: Collection[int]) -> Image.Image:
    """The photo with a frame and number on every face: bright if chosen, gray if not, thin if too small."""
    picture = working.shown.copy()
    canvas = ImageDraw.Draw(picture)
    unit = max(picture.size) / 100
    for face in working.faces:
        tiny = face.index not in working.restorable
        colour = TINY if tiny else CHOSEN if face.index in chosen else LEFT
        x0, y0, x1, y1 = (value * working.scale for value in face.box)
        line = max(1, round(unit * (0.2 if tiny else 0.4)))
        canvas.rounded_rectangle((x0, y0, x1, y1), radius=2 * line, outline=colour, width=line)
        size = float(np.clip(0.35 * (y1 - y0), 3 * unit, 6 * unit))
        _tag(canvas, str(face_number(face.index)), (x0, y0), size, colour)
    return picture


def _tag(
    canvas: ImageDraw.ImageDraw, text: str, corner: tuple[float, float], size: float, colour: tuple[int, ...]
) -> None:
    """A number in a filled box that stands on the corner, or hangs from it at the photo's upper edge."""
    font = ImageFont.load_default(size)
    width, height = max(canvas.textlength(text, font) + 0.5 * size, 1.1 * size), 1.1 * size
    left, top = max(corner[0], 0), corner[1] - height if corner[1] >= height else max(corner[1], 0)
    canvas.rounded_rectangle((left, top, left + width, top + height), radius=0.2 * size, fill=colour)
    canvas.text((left + width / 2, top + height / 2), text, fill="white", font=font, anchor="mm")


def face_at(working: WorkingPhoto, point: Sequence[float]) -> int | None:
    """Index of the restorable face at a point of the screen copy; of several the nearest centre wins."""
    x, y = (value / working.scale for value in point)
    hits = {}
    for face in working.faces:
        x0, y0, x1, y1 = face.box
        if face.index in working.restorable and x0 <= x <= x1 and y0 <= y <= y1:
            hits[face.index] = np.hypot(x - (x0 + x1) / 2, y - (y0 + y1) / 2)
    return min(hits, key=hits.get) if hits else None


def found_text(working: WorkingPhoto, whole: bool = False) -> str:
    """What was found, in words; `whole`: the picture is taken for one face."""
    count, able = len(working.faces), working.restorable
    tiny = [face_number(face.index) for face in working.faces if face.index not in able]
    words = ["This is a damaged copy."] if working.damaged else []
    if whole:
        words.append("The whole picture is taken for one face.")
    elif not count:
        way_out = "The damage was too strong: try less of it." if working.damaged else LARGER_FACE
        words.append(no_face_note("so there is nothing to restore", way_out))
    elif count == 1:
        words.append("One face was found.")
    else:
        words.append(f"{count} faces were found.")
    if len(able) > 1:
        words.append("Tick those to restore, or tap them on the photo.")
    if tiny:
        names = " and ".join(filter(None, [", ".join(map(str, tiny[:-1])), str(tiny[-1])]))
        verb = "Faces {} are" if len(tiny) > 1 else "Face {} is"
        words.append(
            f"{verb.format(names)} too small to restore (less than {SMALLEST_RESTORED:.0f} pixels wide)."
        )
    text = " ".join(words)
    return text if able or whole else stopping(text)
