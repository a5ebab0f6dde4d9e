"""Painting on a photo in the browser: the editor, and what was painted there as a picture."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr
import numpy as np
from PIL import Image

from facekit.conditions.sketch import read_sketch
from facekit.images.masks import load_mask
from facekit_demo.common.brush_size import size_slider
from facekit_demo.common.limits import Limits
from facekit_demo.common.screen import screen_file

BRUSH = "#ff5a3c99"  # see-through, so that what is to be filled is seen
PENCIL = "#1d1d1f"
_sliders: WeakKeyDictionary[gr.ImageEditor, gr.HTML] = WeakKeyDictionary()
EMPTY_EDITOR = {"background": None, "layers": [], "composite": None}


def brush_editor(
    task: str,
    name: str = "editor",
    brush: gr.Brush | None = None,
    palette: bool = False,
    visible: bool = True,
) -> gr.ImageEditor:
    """A canvas with a brush, on which a photo is shown, and a slider for the size of the brush above it.

    The photo itself stays as it is. With a `palette` the colour of the brush can be chosen.
    """
    brush = brush or gr.Brush(colors=[BRUSH], default_color=BRUSH, color_mode="fixed")
    # Above the canvas, which may reach below the screen.
    slider = size_slider(f"{task}-{name}", brush)
    editor = gr.ImageEditor(
        show_label=False,
        type="pil",
        format="png",
        image_mode="RGBA",
        sources=[],
        transforms=None,
        layers=False,
        brush=brush,
        buttons=[],
        interactive=True,  # Gradio would not know: its strokes are read by `with_strokes`
        visible=visible,
        elem_id=f"{task}-{name}",
        elem_classes=["brush"] if palette else ["brush", "one-brush"],
    )
    _sliders[editor] = slider
    return editor


def slider_of(editor: gr.ImageEditor) -> gr.HTML:
    """The slider for the size of the brush of an editor that `brush_editor` made."""
    return _sliders[editor]


def pencil_brush() -> gr.Brush:
    """For thin dark lines."""
    return gr.Brush(3, colors=[PENCIL], default_color=PENCIL, color_mode="fixed")


def mask_chooser(task: str) -> gr.File:
    """Where a mask file is dropped or picked."""
    return gr.File(
        label="Mask file instead of painting (white = fill)",
        file_types=["image"],
        height=140,
        elem_id=f"{task}-mask",
    )


def editor_with(shown: Image.Image, mask: Image.Image | None = None, color: str = BRUSH) -> Any:
    """The update that puts a photo on the canvas, and a mask on top as if it had been painted in `color`."""
    # As tall as the photo needs at the column's width, on a screen of any size.
    height = f"min(34rem, calc({shown.height / shown.width:.3f} * min(70vw, 31rem) + 5rem))"
    # Without the canvas of the same size Gradio shows a ready mask beside its place.
    return gr.update(value=painted(shown, mask, color), canvas_size=shown.size, height=height)


def painted(shown: Image.Image, mask: Image.Image | None, color: str = BRUSH) -> dict[str, Any]:
    """Editor value: the photo, with the mask as a stroke of the brush's colour on top."""
    background = screen_file(shown)
    if mask is None:
        return {"background": background, "layers": [], "composite": None}
    layer = Image.new("RGBA", shown.size, color)
    clear = Image.new("RGBA", shown.size)
    layer = Image.composite(layer, clear, mask.convert("L").resize(shown.size, Image.Resampling.NEAREST))
    return {"background": background, "layers": [layer], "composite": None}


def strokes_of(painting: dict[str, Any] | None, size: tuple[int, int]) -> Image.Image | None:
    """What was painted in an editor as a black and white picture of `size`; None where nothing was."""
    covered: np.ndarray | None = None
    for layer in (painting or {}).get("layers", []):
        alpha = np.asarray(layer.convert("RGBA"))[..., 3] > 0
        covered = alpha if covered is None or covered.shape != alpha.shape else covered | alpha
    if covered is None or not covered.any():
        return None
    return _resized(covered, size)


def painted_mask(painting: dict[str, Any] | None, size: tuple[int, int]) -> Image.Image:
    """What was painted in the editor as a black and white picture of the photo's size `(width, height)`.

    Raises ValueError where nothing was painted.
    """
    mask = strokes_of(painting, size)
    if mask is None:
        raise ValueError("paint over the part that should be filled, then press Fill in")
    return mask


def open_mask(path: str | None, size: tuple[int, int]) -> Image.Image:
    """A mask file as a black and white picture of the photo's size `(width, height)`; white = fill.

    Raises ValueError or OSError where the file is none, or its proportions do not fit the photo.
    """
    if not path:
        raise ValueError("choose a mask file, or paint on the photo")
    return _read(load_mask, path, size)


def open_sketch(path: str | None, size: tuple[int, int]) -> Image.Image | None:
    """A file of strokes as a black and white picture of the photo's size; white = stroke. None without a file.

    Raises as `open_mask` does.
    """
    return _read(read_sketch, path, size) if path else None


def _read(read: Callable[..., tuple[np.ndarray, list[str]]], path: str, size: tuple[int, int]) -> Image.Image:
    if not Path(path).stat().st_size:
        raise ValueError(f"{Path(path).name} is empty (0 bytes)")
    marked, notes = read(path, size, max_pixels=Limits.from_environment().max_pixels)
    for note in notes:
        gr.Info(note)
    return Image.fromarray(marked.astype(np.uint8) * 255)


def _resized(mask: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """bool `[H, W]` as a black and white picture of `size`, with smooth outlines."""
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    if picture.size != size:
        picture = picture.resize(size, Image.Resampling.BILINEAR).point(lambda value: 255 * (value > 127))
    return picture
