"""The download of a result: in the photo's own format, unless a visitor asks for another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components.base import Component

from facekit.images.formats import FORMATS, FileFormat, same_format
from facekit.images.opening import open_header
from facekit.images.photo import Photo
from facekit.provenance import Provenance
from facekit_demo.common.running import friendly, open_photo, save_for_download
from facekit_demo.common.widgets import QUIET

SAME, LOSSLESS = "same", "png"
CHOICES = [("As the photo", SAME), ("PNG, without loss", LOSSLESS), ("JPEG, small", "jpeg")]
# In the browser: save a file that the server has just made.
SAVE = """file => {
  const link = document.createElement("a");
  [link.href, link.download] = [file.url, file.orig_name];
  link.click();
}"""


@dataclass(frozen=True)
class Saved:
    """A result that is kept in a file without loss.

    Attributes:
        path: of that file, a PNG.
        own: format of the photo that it was made of.
        provenance: what files say of its origin, see `save_for_download`.
    """

    path: str
    own: FileFormat
    provenance: Provenance | None


class Download:
    """Lays out, inside an open column, what can be done with a result: a button that has a file made and saved, the
    choice of its format, and a button to go on with the result.

    Args:
        task: what the parts' ids start with.

    Attributes:
        file: the file; it also says in whose cache results are.
        again: the button that goes on with the result.
        components: what `updates` updates.
    """

    def __init__(self, task: str) -> None:
        with gr.Row():
            self.button = gr.Button("Download", variant="primary", visible=False, elem_id=f"{task}-download")
            self.again = gr.Button("Go on with this result", visible=False, elem_id=f"{task}-again")
        self.format = gr.Radio(
            CHOICES, value=SAME, label="File format", visible=False, elem_id=f"{task}-format"
        )
        self.file = gr.File(visible=False)
        self.components = [self.button, self.again, self.format]

    def wire(self, make: Callable[..., str], inputs: Sequence[Component]) -> None:
        """Let the button save what `make` gives: values of `inputs`, a value of `CHOICES` -> path of a file."""
        making = self.button.click(friendly(make), [*inputs, self.format], self.file, **QUIET)
        making.success(None, self.file, None, js=SAVE, api_visibility="private")

    def wire_saved(self, saved: gr.State) -> None:
        """Let the button save the result that is the value of `saved`, a `Saved` or None."""
        self.wire(self._convert, [saved])

    def _convert(self, saved: Saved | None, wanted: str) -> str:
        if saved is None:
            raise ValueError("there is no result to download yet")
        kind = wanted_format(wanted, saved.own)
        if kind is FORMATS["png"]:
            return saved.path
        return save_for_download(
            open_photo(saved.path), Path(saved.path).name, self.file, saved.provenance, kind
        )

    def save(self, photo: Photo, name: str, source: str, provenance: Provenance | None) -> Saved:
        """Keep a result of the photo whose file is `source`, under a name that ends in .png."""
        path = save_for_download(photo, name, self.file, provenance)
        return Saved(path, own_format(source), provenance)

    def updates(self, there: bool) -> list[Any]:
        """Updates of `components`: whether there is a result."""
        return [gr.update(visible=there) for _ in self.components]


def own_format(path: str) -> FileFormat:
    """The format for results of a photo, as `facekit ... --format same` chooses it. Raises as `open_photo` does."""
    with open_header(path, "", None) as image:
        see_through = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
        return same_format(image.format, image.mode, see_through)[0]


def wanted_format(wanted: str, own: FileFormat) -> FileFormat:
    """The format for a value of `CHOICES`. ValueError where there is none of that name."""
    if wanted == SAME:
        return own
    if wanted not in FORMATS:
        raise ValueError(f"results are not written as {wanted}; choose one of {', '.join(FORMATS)}")
    return FORMATS[wanted]
