"""The faces to choose from on the Exemplar tab: generated people, and those on a visitor's own pictures."""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from PIL import Image

from facekit import sample_faces
from facekit.faces import align_face, detect_faces
from facekit.images.photo import as_uint8
from facekit_demo.common.running import EXAMPLES, default_device, log, on_gpu, open_photo
from facekit_demo.common.widgets import pick_gallery

COLUMNS = 6
GENERATED = 12
VARIETY = 0.7  # truncation psi; with more of it the bundled prior draws more failures
OWN = 6  # faces of a visitor's own that stay in the row
THUMBNAIL = 192  # pixels
PEOPLE = EXAMPLES / "people"


@dataclass(frozen=True, eq=False)
class ExampleFace:
    """A face that a hole can be filled after.

    Attributes:
        source: the picture, or its path.
        index: which of the picture's faces, counted from the left; None: the picture is one aligned face.
        thumbnail: the face alone.
    """

    source: Image.Image | str
    index: int | None
    thumbnail: Image.Image


@dataclass(frozen=True, eq=False)
class FaceRow:
    """What a visitor sees in both rows of faces: the same faces, of which each row has one chosen or none.

    Attributes:
        faces: the visitor's own first.
        batch: which generated faces these are.
        chosen: place of the first and of the second example.
    """

    faces: tuple[ExampleFace, ...]
    batch: int = 0
    chosen: tuple[int | None, int | None] = (None, None)

    def face(self, which: int) -> ExampleFace | None:
        """The first (0) or the second (1) example."""
        place = self.chosen[which]
        return None if place is None else self.faces[place]

    def choose(self, which: int, place: int | None) -> "FaceRow":
        """The same row with another choice."""
        first, second = self.chosen
        return replace(self, chosen=(place, second) if which == 0 else (first, place))

    def with_own(self, found: list[ExampleFace], which: int) -> "FaceRow":
        """The row with a visitor's faces in front; a single one is chosen at once."""
        own = [face for face in self.faces if face.index is not None and face not in _chosen(self)]
        row = self._of([*found, *_chosen(self), *own][: max(OWN, len(found) + 2)], self.batch)
        return row.choose(which, 0 if len(found) == 1 else None)

    def others(self) -> "FaceRow":
        """The row with other generated people; the visitor's own and the chosen ones stay."""
        kept = [face for face in self.faces if face.index is not None or face in _chosen(self)]
        return self._of(kept, self.batch + 1)

    def _of(self, front: list[ExampleFace], batch: int) -> "FaceRow":
        front = list(dict.fromkeys(front))
        faces = (*front, *(face for face in generated_faces(batch) if face not in front))
        places = [None if face is None else faces.index(face) for face in (self.face(0), self.face(1))]
        return FaceRow(faces, batch, tuple(places))


def _chosen(row: FaceRow) -> list[ExampleFace]:
    return [face for face in (row.face(0), row.face(1)) if face is not None]


def new_row() -> FaceRow:
    """The row a visitor begins with."""
    return FaceRow(generated_faces(0))


def generated_faces(batch: int) -> tuple[ExampleFace, ...]:
    """People who do not exist; none where the bundled models that draw them are missing.

    The first are drawn already (`examples/README.md`), since a dozen takes seconds.
    """
    try:
        return _kept_faces(batch)
    except OSError as error:
        log.warning("no faces to choose from: %s", error)
        return ()


@lru_cache(maxsize=8)
def _kept_faces(batch: int) -> tuple[ExampleFace, ...]:
    pictures = (
        _draw(batch) if batch else [Image.open(file).convert("RGB") for file in sorted(PEOPLE.glob("*.jpg"))]
    )
    return tuple(ExampleFace(picture, None, picture) for picture in pictures)


@on_gpu
def _draw(batch: int) -> list[Image.Image]:
    generator = torch.Generator("cpu").manual_seed(batch)
    return sample_faces(GENERATED, truncation_psi=VARIETY, generator=generator, device=default_device())


def faces_in(path: str | None) -> list[ExampleFace]:
    """The faces of a picture, left to right. Raises ValueError or OSError with advice."""
    photo = open_photo(path)
    found = detect_faces(as_uint8(photo.rgb))
    if not found:
        raise ValueError(
            f"{photo.name} shows no face. Choose a picture in which a face is larger and looks into the camera"
        )
    cut = [as_uint8(align_face(photo.rgb, face, THUMBNAIL).image) for face in found]
    return [
        ExampleFace(path, face.index, Image.fromarray(image)) for face, image in zip(found, cut, strict=True)
    ]


def only_face_in(path: str | None) -> ExampleFace:
    """The face of a picture that shows one. ValueError for none or several."""
    found = faces_in(path)
    if len(found) > 1:
        raise ValueError(f"{Path(path).name} shows {len(found)} faces. Crop it to one of them")
    return found[0]


def face_gallery(task: str, name: str) -> gr.Gallery:
    """A row of faces, one of which can be tapped."""
    return pick_gallery(task, name, COLUMNS)


def upload_button(task: str, name: str) -> gr.UploadButton:
    """Where a picture with a face is picked."""
    return gr.UploadButton("Use your own picture", file_types=["image"], size="md", elem_id=f"{task}-{name}")


def shown_row(row: FaceRow) -> list[Any]:
    """The row as state, and updates of both galleries."""
    pictures = [face.thumbnail for face in row.faces]
    return [row, *(gr.update(value=pictures, selected_index=place) for place in row.chosen)]
