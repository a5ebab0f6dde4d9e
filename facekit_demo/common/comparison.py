"""Before and after over one another: the whole photo on the screen's scale, or a part of it at its own resolution."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from facekit.faces import Face, ffhq_quad
from facekit.images.photo import Photo
from facekit_demo.common.face_view import face_number
from facekit_demo.common.running import friendly, open_photo, preview
from facekit_demo.common.screen import screen_file, screen_files
from facekit_demo.common.widgets import KEPT, QUIET, pick_gallery, result_slider

Box = tuple[int, int, int, int]
CLOSE_SIDE = 1024  # pixels; a larger part is shrunk to it
THUMBNAIL = 160  # pixels of a part in the row
GAP = 4  # pixels between before and after there
COLUMNS = 3
MOST = 24  # parts in the row


@dataclass(frozen=True)
class Place:
    """A part of a photo.

    Attributes:
        name: for people.
        box: left, top, right, bottom in pixels, inside the photo.
    """

    name: str
    box: Box


@dataclass(frozen=True, eq=False)
class Compared:
    """A photo before and after.

    Attributes:
        before, after: photos of one size, or files from which they are read when a part is looked at closely.
        shown: copies of both for the screen.
        places: what can be looked at closely.
        row: of each place both sides in small, and its name.
    """

    before: Photo | str
    after: Photo | str
    shown: tuple[Image.Image, Image.Image]
    places: list[Place]
    row: list[tuple[Image.Image, str]]

    def close_up(self, place: int) -> tuple[Image.Image, Image.Image]:
        """Both sides of a part at the photo's own resolution. Raises ValueError or OSError with advice."""
        box = self.places[place].box
        before, after = (
            open_photo(one) if isinstance(one, str) else one for one in (self.before, self.after)
        )
        return cut(before, box), cut(after, box)


def compare(
    before: Photo, after: Photo, places: Sequence[Place], files: tuple[str, str] | None = None
) -> Compared:
    """Two photos of one size, ready to be compared.

    Args:
        places: parts that may be worth a closer look; the first `MOST` that differ are offered.
        files: of the photos, which are not kept in memory then.
    """
    row, offered = [], []
    for place in places:
        left, top, right, bottom = place.box
        inside = np.s_[top:bottom, left:right]
        if len(offered) < MOST and not np.array_equal(before.pixels[inside], after.pixels[inside]):
            offered.append(place)
            row.append(
                (_side_by_side(*(cut(photo, place.box, THUMBNAIL) for photo in (before, after))), place.name)
            )
    kept: Sequence[Photo | str] = files or (before, after)
    return Compared(kept[0], kept[1], (preview(before), preview(after)), offered, row)


def cut(photo: Photo, box: Box, side: int = CLOSE_SIDE) -> Image.Image:
    """A part of a photo for the screen, pixel for pixel where it is not larger than `side`."""
    left, top, right, bottom = box
    return preview(replace(photo, pixels=photo.pixels[top:bottom, left:right]), side)


def face_places(faces: Sequence[Face], size: tuple[int, int]) -> list[Place]:
    """The faces of a photo of `size` (width, height), by their numbers; the only one by none."""
    names = [f"Face {face_number(face.index)}" for face in faces] if len(faces) > 1 else ["The face"]
    return [Place(name, face_box(face, size)) for name, face in zip(names, faces, strict=False)]


def face_box(face: Face, size: tuple[int, int]) -> Box:
    """A square around the aligned face, moved into a photo of `size` (width, height), and cut where it has no room."""
    quad = ffhq_quad(face.landmarks)
    return _inside(quad.min(axis=0), quad.max(axis=0), size)


def mask_place(mask: Image.Image) -> Place:
    """All that is white in a mask of the photo's size, with something around it."""
    return Place("What was filled", with_room(mask.getbbox() or (0, 0, *mask.size), mask.size))


def with_room(box: Box, size: tuple[int, int]) -> Box:
    """A box with something around it, inside a photo of `size` (width, height)."""
    left, top, right, bottom = box
    room = max(64, (right - left) // 4, (bottom - top) // 4)
    return _inside((left - room, top - room), (right + room, bottom + room), size)


class Comparison:
    """Lays the slider and the row of parts out inside an open column; tapping a part works from then on.

    Args:
        task: what the parts' ids start with.

    Attributes:
        slider: before and after.
        components: what `updates` updates.
    """

    def __init__(self, task: str) -> None:
        self.slider = result_slider(task)
        self._compared = gr.State(None, time_to_live=KEPT)
        with gr.Column(visible=False, elem_id=f"{task}-closer") as panel:
            gr.Markdown(
                "Tap a picture to compare that part at the photo's own resolution. "
                '<span class="for-mouse">The mouse wheel zooms into the comparison.</span>',
                elem_classes="hint",
            )
            row = pick_gallery(task, "close-ups", COLUMNS, faces=False)
            whole = gr.Button(
                "Back to the whole photo", size="md", visible=False, elem_id=f"{task}-whole-photo"
            )
        self.components = [self._compared, self.slider, panel, row, whole]
        row.select(_look_closely, self._compared, [self.slider, whole], **QUIET)
        whole.click(_step_back, self._compared, [self.slider, row, whole], **QUIET)

    def updates(self, compared: Compared | None) -> list[Any]:
        """Updates of `components`: the whole photo is shown; without one they are cleared."""
        row = compared.row if compared else []
        return [
            compared,
            shown_pair(compared and compared.shown),
            gr.update(visible=bool(row)),
            gr.update(value=screen_files(row), selected_index=None),
            gr.update(visible=False),
        ]


def shown_pair(pair: tuple[Image.Image, Image.Image] | None) -> tuple[str, str] | None:
    """Before and after as the slider takes them."""
    return pair and (screen_file(pair[0]), screen_file(pair[1]))


@friendly
def _look_closely(compared: Compared | None, event: gr.SelectData) -> list[Any]:
    if compared is None:
        return [gr.skip()] * 2
    return [shown_pair(compared.close_up(event.index)), gr.update(visible=True)]


def _step_back(compared: Compared | None) -> list[Any]:
    return [shown_pair(compared and compared.shown), gr.update(selected_index=None), gr.update(visible=False)]


def _inside(low: Sequence[float], high: Sequence[float], size: tuple[int, int]) -> Box:
    """Whole pixels around two corners, moved and cut to lie inside a photo of `size`."""
    sides = []
    for start, end, room in zip(low, high, size, strict=True):
        length = min(int(np.ceil(end - start)), room)
        first = int(np.clip(np.floor(start), 0, room - length))
        sides.append((first, first + length))
    (left, right), (top, bottom) = sides
    return left, top, right, bottom


def _side_by_side(before: Image.Image, after: Image.Image) -> Image.Image:
    pair = Image.new("RGB", (before.width + GAP + after.width, before.height), "white")
    pair.paste(before.convert("RGB"), (0, 0))
    pair.paste(after.convert("RGB"), (before.width + GAP, 0))
    return pair
