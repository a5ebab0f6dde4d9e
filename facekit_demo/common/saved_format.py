"""Which format a result is saved in: the photo's own, unless a visitor asks for another."""

import gradio as gr

from facekit.images.formats import FORMATS, FileFormat, same_format
from facekit.images.opening import open_header

SAME = "same"
CHOICES = [("As the photo", SAME), ("PNG, without loss", "png"), ("JPEG, small", "jpeg")]


def format_choice(task: str) -> gr.Radio:
    """Hidden until there is a result."""
    return gr.Radio(CHOICES, value=SAME, label="File format", visible=False, elem_id=f"{task}-format")


def own_format(path: str) -> FileFormat:
    """The format for results of a photo, as `facekit ... --format same` chooses it. Raises as `open_photo` does."""
    with open_header(path, "", None) as image:
        see_through = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
        return same_format(image.format, image.mode, see_through)[0]


def wanted_format(wanted: str, own: FileFormat) -> FileFormat:
    """The format for a choice of `format_choice`. ValueError where there is none of that name."""
    if wanted == SAME:
        return own
    if wanted not in FORMATS:
        raise ValueError(f"results are not written as {wanted}; choose one of {', '.join(FORMATS)}")
    return FORMATS[wanted]
