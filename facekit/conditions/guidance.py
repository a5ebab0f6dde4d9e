"""What is drawn on a photo to guide an edit: sketch, semantic map, colour; and how the networks see it.

Guidance is read at the photo's size, so that it can travel through the same warp as the face: see `read_sketch` in
`facekit.conditions.sketch`, `read_semantics` in `facekit.conditions.semantics` and `read_color` in
`facekit.conditions.color` for what may be given.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from facekit.conditions.color import read_color
from facekit.conditions.semantics import NUM_CLASSES, UNLABELLED, SemanticsInput, read_semantics
from facekit.conditions.sketch import COVER, read_sketches, view_strokes
from facekit.faces.squares import Square
from facekit.images.masks import MaskInput, assign_to_photos
from facekit.images.photo import ImageInput, Photo
from facekit.notes import Note

ENCODER_CHANNELS = 3 + 1 + NUM_CLASSES + 3  # RGB, sketch, classes, colour


@dataclass(frozen=True)
class Paint:
    """Colours that are painted on a picture.

    Attributes:
        colors: `[H, W, 3]`, uint8 on a photo, float32 in [0, 1] and 0 where there are none in what a network sees.
        where: which pixels have one, bool `[H, W]`.
    """

    colors: np.ndarray
    where: np.ndarray


@dataclass
class Guidance:
    """What is drawn on one photo; None for each kind of drawing that is not there.

    Attributes:
        sketch: strokes bool `[H, W]`.
        labels: classes uint8 `[H, W]`, 255 where no class is drawn.
        color: colours to take on.
        notes: remarks for the user.
    """

    sketch: np.ndarray | None = None
    labels: np.ndarray | None = None
    color: Paint | None = None
    notes: list[Note] = field(default_factory=list)

    def clip_to(self, hole: np.ndarray) -> "Guidance":
        """The guidance that lies in the hole bool `[H, W]`, with a note on what does not."""
        kept = Guidance(notes=list(self.notes))
        if self.sketch is not None:
            kept.sketch = _clip(self.sketch, hole, "sketch", kept.notes)
        if self.labels is not None:
            labelled = _clip(self.labels != UNLABELLED, hole, "semantic map", kept.notes)
            kept.labels = np.where(labelled, self.labels, np.uint8(UNLABELLED))
        if self.color is not None:
            where = _clip(self.color.where, hole, "colour guidance", kept.notes)
            kept.color = Paint(self.color.colors, where)
        return kept

    def view_in(self, square: Square) -> "Guidance":
        """The guidance as the network sees it in a square: all maps `[S, S]`, inside its hole; see `Paint` for colours.

        It has no notes.
        """
        seen = Guidance()
        if self.sketch is not None:
            seen.sketch = view_strokes(self.sketch, square)
        if self.labels is not None:
            seen.labels = _view_labels(self.labels, square)
        if self.color is not None:
            seen.color = _view_paint(self.color, square)
        return seen


def _clip(drawn: np.ndarray, hole: np.ndarray, drawing: str, notes: list[Note]) -> np.ndarray:
    """The part of a drawing bool `[H, W]` that lies in the hole; adds a note on what is lost."""
    total, inside = drawn.sum(), drawn & hole
    if total == 0:
        notes.append(Note("drawing-empty", "the {drawing} is empty and says nothing", drawing=drawing))
    elif not inside.any():
        what = "the {drawing} lies outside the mask and is ignored"
        notes.append(Note("drawing-outside", what, drawing=drawing))
    elif (outside := total - inside.sum()) > 0:
        what = "{share} of the {drawing} lies outside the mask and is ignored"
        share = f"{max(outside / total, 0.01):.0%}"
        notes.append(Note("drawing-partly-outside", what, share=share, drawing=drawing))
    return inside


def _view_labels(labels: np.ndarray, square: Square) -> np.ndarray:
    """At each pixel the class that covers most of it; unlabelled where labels cover less than half."""
    best = np.full(square.hole.shape, 0.0, dtype=np.float32)
    seen, total = np.full(best.shape, UNLABELLED, dtype=np.uint8), np.zeros_like(best)
    for label in np.unique(labels[labels != UNLABELLED]):
        cover = square.view((labels == label).astype(np.float32))
        seen[cover > best] = label
        best, total = np.maximum(best, cover), total + cover
    return np.where((total >= 0.5) & square.hole, seen, np.uint8(UNLABELLED))


def _view_paint(paint: Paint, square: Square) -> Paint:
    """At each pixel the mean of the colours that cover some of it."""
    cover = np.maximum(square.view(paint.where.astype(np.float32)), 0)
    sums = [
        square.view(np.where(paint.where, paint.colors[..., c], 0).astype(np.float32) / 255) for c in range(3)
    ]
    where = (cover >= COVER) & square.hole
    mean = np.stack(sums, axis=-1) / np.maximum(cover, COVER)[..., None]
    return Paint(np.where(where[..., None], np.clip(mean, 0, 1), 0).astype(np.float32), where)


def read_guidance(
    photos: Sequence[Photo],
    holes: Sequence[np.ndarray],
    sketch: MaskInput | Sequence[MaskInput] | None,
    semantics: SemanticsInput | Sequence[SemanticsInput] | None,
    color: ImageInput | Sequence[ImageInput] | None,
    max_pixels: int | None,
) -> list[Guidance]:
    """The guidance of every photo; what lies outside its hole is left out, with a note.

    Args:
        photos: the photos.
        holes: for each photo what is to be edited, bool `[H, W]`.
        sketch, semantics, color: one drawing for all photos or one for each, or None; see `read_sketch`,
            `read_semantics` and `read_color`.
        max_pixels: refuse larger drawings before they are decoded; None lifts the limit.

    Raises:
        FileNotFoundError, TypeError, ValueError: a drawing that its reader refuses, or another number of them.
    """
    sketches = read_sketches(sketch, photos, max_pixels)
    maps = assign_to_photos(semantics, len(photos), "semantics", "semantic maps")
    colors = assign_to_photos(color, len(photos), "color", "colour pictures")
    guidance = []
    for photo, hole, strokes, (map_name, labels), (color_name, paint) in zip(
        photos, holes, sketches, maps, colors, strict=True
    ):
        drawn = Guidance()
        if strokes is not None:
            drawn.sketch, notes = strokes
            drawn.notes += notes
        if labels is not None:
            drawn.labels, notes = read_semantics(
                labels, photo.size, hole, name=map_name, max_pixels=max_pixels
            )
            drawn.notes += notes
        if paint is not None:
            values, where, notes = read_color(paint, photo.size, name=color_name, max_pixels=max_pixels)
            drawn.color = Paint(values, where)
            drawn.notes += notes
        guidance.append(drawn.clip_to(hole))
    return guidance


def encoder_input(
    image: torch.Tensor | None = None,
    sketch: torch.Tensor | None = None,
    semantics: torch.Tensor | None = None,
    color: torch.Tensor | None = None,
) -> torch.Tensor:
    """Join modalities to the encoder's input [B, ENCODER_CHANNELS, H, W]: RGB, sketch, 19 classes, colour.

    Args:
        image: [B, 3, H, W] in [-1, 1]: an exemplar, or the masked picture (0 in the hole).
        sketch: [B, 1, H, W], 1 = stroke.
        semantics: [B, 19, H, W], one-hot in BiSeNet order; all 0 where there is no class.
        color: [B, 3, H, W] in [-1, 1], 0 where there is no colour.

    Returns:
        A tensor of the dtype and on the device of the first that is given; the others become zeros.

    Raises:
        ValueError: nothing is given, or shapes do not fit each other.
    """
    given = {"image": (image, 3), "sketch": (sketch, 1), "semantics": (semantics, NUM_CLASSES)}
    given["color"] = (color, 3)
    first = next((tensor for tensor, _ in given.values() if tensor is not None), None)
    if first is None:
        raise ValueError("give at least one of image, sketch, semantics and color")
    parts = []
    for name, (tensor, channels) in given.items():
        expected = [first.shape[0], channels, *first.shape[2:]]
        if tensor is None:
            parts.append(first.new_zeros(expected))
        elif list(tensor.shape) != expected:
            raise ValueError(f"{name} must have the shape {expected}, not {list(tensor.shape)}")
        else:
            parts.append(tensor.to(first))
    return torch.cat(parts, 1)
