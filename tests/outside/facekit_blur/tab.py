"""The Blur tab: a photo, and the same photo blurred."""

from pathlib import Path

import gradio as gr

from facekit.images.photo import Photo
from facekit_demo.common.running import (
    DEVICE_QUEUE,
    friendly,
    load_pipeline,
    made_by,
    on_gpu,
    open_photo,
    save_for_download,
)
from facekit_demo.common.widgets import photo_chooser


def build_tab() -> None:
    """Lay out the tab inside an open `gr.Blocks` and wire its events."""
    photo = photo_chooser("blur")
    run = gr.Button("Blur", variant="primary", elem_id="blur-run")
    result = gr.File(label="Result", elem_id="blur-result")

    @friendly
    def blur(photo: str | None) -> str:
        blurred = _infer(open_photo(photo))
        return save_for_download(blurred, f"{Path(photo).stem}-blurred.png", result, made_by("blur"))

    run.click(blur, photo, result, api_name="blur", concurrency_id=DEVICE_QUEUE, concurrency_limit=1)


@on_gpu
def _infer(photo: Photo) -> Photo:
    return load_pipeline("blur")(photo, output_type="photo").images[0]
