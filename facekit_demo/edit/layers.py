"""What is drawn on the Edit tab: canvases for lines, parts and colours, and what was drawn on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image
from scipy.ndimage import distance_transform_edt

from facekit.conditions.semantics import CLASS_NAMES, PALETTE, UNLABELLED, match_palette
from facekit.images.masks import fit
from facekit_demo.common.painting import EMPTY_EDITOR, brush_editor, editor_with, pencil_brush

# As people call the classes; left and right are those of the picture.
PART_NAMES = {
    "l_brow": "left brow",
    "r_brow": "right brow",
    "l_eye": "left eye",
    "r_eye": "right eye",
    "eye_g": "glasses",
    "l_ear": "left ear",
    "r_ear": "right ear",
    "ear_r": "earring",
    "u_lip": "upper lip",
    "l_lip": "lower lip",
    "neck_l": "necklace",
    "cloth": "clothes",
}
PAINTS = ("#5b3a21", "#1d1d1f", "#d9b06a", "#b5442c", "#2f6db3", "#3c7d3e", "#e8b9a0", "#c2185b")
FOG = 0.65  # how white the part under the mask is shown, so that drawings stand out


def part_name(label: int) -> str:
    """What the page calls a class."""
    return PART_NAMES.get(CLASS_NAMES[label], CLASS_NAMES[label])


def _hex(color: Sequence[int]) -> str:
    return "#" + "".join(f"{value:02x}" for value in color)


@dataclass(frozen=True, eq=False)
class Canvas:
    """A canvas in a panel that opens and closes.

    Attributes:
        panel: shows the photo of the moment each time it opens.
        editor: the canvas, there once the panel was opened: each one costs the browser much.
        refresh: shows what was painted on the mask since.
    """

    panel: gr.Accordion
    editor: gr.ImageEditor
    refresh: gr.Button

    @property
    def closed(self) -> dict[Any, dict[str, Any]]:
        """What empties and closes it: its parts, and the arguments of their updates."""
        return {self.editor: {"value": EMPTY_EDITOR, "visible": False}, self.panel: {"open": False}}


def pencil_canvas(task: str) -> Canvas:
    """Lines that lead the shapes."""
    with gr.Accordion("Draw lines: hair, glasses, a smile", open=False, elem_id=f"{task}-drawing") as panel:
        _hint("Thin lines show where edges are. What you painted as the mask is pale here.")
        editor = brush_editor(task, "sketch", pencil_brush(), visible=False)
        refresh = _refresh(task, "sketch")
    return Canvas(panel, editor, refresh)


def parts_canvas(task: str) -> tuple[Canvas, gr.Button]:
    """Which part of a face is where; also gives the button that starts from what is there."""
    colors = [_hex(color) for color in PALETTE]
    with gr.Accordion(
        "Paint parts: where hair, skin, lips are", open=False, elem_id=f"{task}-parts"
    ) as panel:
        _hint("Each colour is a part of the face: tap the colour of the brush beside the photo to change it.")
        start = gr.Button("Start from the parts of the photo", size="md", elem_id=f"{task}-start")
        usual = colors[CLASS_NAMES.index("hair")]
        brush = gr.Brush(12, colors=colors, default_color=usual, color_mode="fixed")
        editor = brush_editor(task, "semantics", brush, palette=True, visible=False)
        gr.HTML(_legend(f"#{task}-semantics"), elem_id=f"{task}-legend", padding=False)
        refresh = _refresh(task, "semantics")
    return Canvas(panel, editor, refresh), start


def colors_canvas(task: str) -> Canvas:
    """Strokes of colour."""
    with gr.Accordion("Paint colours", open=False, elem_id=f"{task}-coloring") as panel:
        _hint("A few strokes are enough. Tap the colour of the brush beside the photo to change it.")
        brush = gr.Brush(14, colors=list(PAINTS), default_color=PAINTS[0], color_mode="defaults")
        editor = brush_editor(task, "color", brush, palette=True, visible=False)
        refresh = _refresh(task, "color")
    return Canvas(panel, editor, refresh)


def _hint(text: str) -> None:
    gr.Markdown(text, elem_classes="hint")


def _refresh(task: str, name: str) -> gr.Button:
    return gr.Button("Mask changed? Show it here", size="md", elem_id=f"{task}-{name}-refresh")


def _legend(canvas: str) -> str:
    """The parts with their colours, and the same names on the swatches of the canvas's brush."""
    names = [(part_name(label), _hex(color)) for label, color in enumerate(PALETTE)]
    rules = [
        f'{canvas} menu.swatch button.color:nth-of-type({place})::after {{ content: "{name}"; }}'
        for place, (name, _) in enumerate(names, 1)
    ]
    chips = [f'<span><i style="background:{color}"></i>{name}</span>' for name, color in names]
    return f'<style>{" ".join(rules)}</style><div class="legend">{"".join(chips)}</div>'


def layer_of(painting: dict[str, Any] | None) -> Image.Image | None:
    """Everything painted in an editor as one RGBA layer of the canvas's size; None where nothing was."""
    joined: Image.Image | None = None
    for layer in (painting or {}).get("layers", []):
        layer = layer.convert("RGBA")
        fits = joined is not None and joined.size == layer.size
        joined = Image.alpha_composite(joined, layer) if fits else layer
    if joined is None or joined.getextrema()[3][1] == 0:
        return None
    return joined


def canvas_with(shown: Image.Image, layer: Image.Image | None) -> Any:
    """The update that puts a photo on a canvas and what was painted before on top, in its colours."""
    update = editor_with(shown) | {"visible": True}
    if layer is not None:
        layer = layer.resize(shown.size, Image.Resampling.NEAREST)
        update["value"] = update["value"] | {"layers": [layer]}
    return update


def fogged(shown: Image.Image, mask: Image.Image | None) -> Image.Image:
    """The photo, pale under the mask."""
    shown = shown.convert("RGB")
    if mask is None:
        return shown
    pale = Image.blend(shown, Image.new("RGB", shown.size, "white"), FOG)
    return Image.composite(pale, shown, mask.convert("L").resize(shown.size, Image.Resampling.NEAREST))


def painted_parts(painting: dict[str, Any] | None, size: tuple[int, int]) -> np.ndarray | None:
    """Painted parts as labels uint8 `[H, W]` of `size` (255 = nothing said); None where nothing was painted.

    Where two strokes meet, the browser blends their colours; such pixels take the nearest part that is sure.
    """
    layer = layer_of(painting)
    if layer is None:
        return None
    pixels = np.asarray(layer)
    said = pixels[..., 3] >= 128
    labels, _ = match_palette(pixels[..., :3])
    sure = said & (labels != UNLABELLED)
    if not sure.any():
        return None
    rows, columns = distance_transform_edt(~sure, return_distances=False, return_indices=True)
    return fit(np.where(said, labels[rows, columns], np.uint8(UNLABELLED)), size, "parts")[0]


def parts_layer(labels: np.ndarray, shown: Image.Image, mask: Image.Image | None) -> Image.Image:
    """Labels uint8 `[H, W]` of the photo as a layer for the canvas; with a mask only what lies under it."""
    labels, _ = fit(labels, shown.size, "parts")
    said = labels != UNLABELLED
    if mask is not None:
        said &= np.asarray(mask.convert("L").resize(shown.size, Image.Resampling.NEAREST)) > 0
    colors = np.array(PALETTE, np.uint8)[np.where(said, labels, 0)]
    return Image.fromarray(np.dstack([colors, np.where(said, 255, 0).astype(np.uint8)]))


def painted_colors(painting: dict[str, Any] | None, size: tuple[int, int]) -> Image.Image | None:
    """Painted colours as an RGBA layer of `size`; None where nothing was painted."""
    layer = layer_of(painting)
    if layer is None:
        return None
    # The rim of a stroke is faint and would count in full.
    layer.putalpha(layer.getchannel("A").point(lambda value: 255 * (value > 127)))
    return layer.resize(size, Image.Resampling.NEAREST) if layer.getbbox() else None
