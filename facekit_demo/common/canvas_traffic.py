"""What goes from canvases to the server: the strokes alone, never the photo that lies below them.

Gradio sends for each editor among an event's inputs three PNGs: the photo on it, every layer, and both together. On a
large canvas that takes seconds. So events are registered through `with_strokes`, and the script beside this file, which
the page loads, reads what was painted.
"""

import base64
import functools
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.base import Component
from PIL import Image

from facekit_demo.common.running import PREVIEW_SIDE, friendly

SCRIPT = Path(__file__).with_suffix(".js")
MARK = "data:image/png;base64,"
# In the browser: values of inputs, with what was painted in the place of each canvas.
READ = """async (...values) => {
  for (const [place, id] of %s) values[place] = await facekitCanvas.readStrokes(id);
  return values.length === 1 ? values[0] : values;
}"""
# In the browser: strokes on this canvas are not read before the photo is there for which the server is asked now.
AWAIT = """(...values) => {
  facekitCanvas.awaitPhoto(%(canvas)s);
  return values.length === 1 ? values[0] : values;
}"""
ANSWERED = "() => facekitCanvas.stopAwaiting(%(canvas)s, %(failed)s)"
SETTLED = "() => facekitCanvas.settle(%s)"


def with_photo(
    event: Callable[..., Any],
    editor: gr.ImageEditor,
    function: Callable[..., Any],
    inputs: Component | Sequence[Component],
    outputs: Any,
    **options: Any,
) -> Any:
    """Register a function that puts another photo, or a mask, on an editor, like `event(function, inputs, ...)`.

    Who presses a button before the photo is drawn sends what is painted on that photo, not on the one before: events of
    `with_strokes` wait for it. Called while the page is laid out.
    """
    canvas = {"canvas": json.dumps(editor.elem_id)}
    asked = event(function, inputs, outputs, js=AWAIT % canvas, **options)
    # Not `then`: after an error Gradio does not get to it.
    for answered, failed in ((asked.success, "false"), (asked.failure, "true")):
        answered(None, None, None, js=ANSWERED % (canvas | {"failed": failed}), api_visibility="private")
    return asked


def once_drawn(event: Callable[..., Any], inputs: Sequence[Component]) -> Any:
    """An event that comes after `event`, when what is on its way to the editors among `inputs` is there.

    What `with_strokes` registers on it gets all inputs as they are then, so that photo and strokes belong together:
    alone it waits too, but only when the other inputs were taken already.
    """
    ids = [given.elem_id for given in inputs if isinstance(given, gr.ImageEditor)]
    return event(None, None, None, js=SETTLED % json.dumps(ids), api_visibility="private")


def with_strokes(
    event: Callable[..., Any],
    function: Callable[..., Any],
    inputs: Component | Sequence[Component],
    outputs: Any,
    **options: Any,
) -> Any:
    """Register a function for an event, like `event(function, inputs, outputs, **options)`.

    An editor among the inputs arrives as its value does (`background`, `layers`, `composite`), with all strokes on one
    RGBA layer of the canvas's size, and no background and composite. The canvas is `PREVIEW_SIDE` pixels at most:
    `strokes_of` and its like bring strokes to the photo's size. Called while the page is laid out.
    """
    inputs = [inputs] if isinstance(inputs, Component) else list(inputs)
    canvases = [
        (place, given.elem_id) for place, given in enumerate(inputs) if isinstance(given, gr.ImageEditor)
    ]
    if not canvases:
        return event(function, inputs, outputs, **options)
    for place, _ in canvases:
        inputs[place] = gr.JSON(visible=False)

    @functools.wraps(function)  # Gradio finds its progress and its event by that
    def handle(*values: Any) -> Any:
        # Nothing but strokes comes as an object.
        return function(*(read_strokes(value) if isinstance(value, dict) else value for value in values))

    return event(friendly(handle), inputs, outputs, js=READ % json.dumps(canvases), **options)


def read_strokes(sent: dict[str, Any]) -> dict[str, Any]:
    """What the script sent of a canvas, as an editor's value. Raises ValueError where it is no PNG of a canvas."""
    code = sent.get("strokes", "")
    layers = []
    if code:
        try:
            file = io.BytesIO(base64.b64decode(code.removeprefix(MARK), validate=True))
            with Image.open(file, formats=["PNG"]) as layer:
                if max(layer.size) > PREVIEW_SIDE:
                    raise ValueError("it is larger than a canvas")
                layers.append(layer.convert("RGBA"))
        except (
            AttributeError,
            TypeError,
            ValueError,
            OSError,
            SyntaxError,
            Image.DecompressionBombError,
        ) as error:
            raise ValueError("what was painted did not arrive whole. Choose the photo again") from error
    return {"background": None, "layers": layers, "composite": None}
