"""The restorer that goes over filled faces: a box to tick, and the model of the Restore tab behind it."""

import gradio as gr

from facekit import FaceRestorePipeline
from facekit.hub.starters import STARTER
from facekit_demo.common.models import offered_model
from facekit_demo.common.running import load_pipeline, make_ready

RESTORE = "restore"


def detail_box(task: str) -> gr.Checkbox:
    """Whether filled faces are restored: ticked where the tab begins with the bundled model, which fills softly."""
    return gr.Checkbox(
        offered_model(task).name == STARTER,
        label="Draw fine detail into filled faces",
        info="The model of Restore goes over what was filled. Meant for the small bundled models.",
        elem_id=f"{task}-detail",
    )


def make_detail_ready(wanted: bool, progress: gr.Progress | None = None) -> None:
    """Fetch the restorer where it is `wanted` and not here. Raises as `make_ready` does."""
    if wanted:
        make_ready(RESTORE, None, progress)


def load_detail(wanted: bool) -> FaceRestorePipeline | None:
    """The restorer, None where it is not `wanted`. For functions `on_gpu` alone."""
    if not wanted:
        return None
    pipeline = load_pipeline(RESTORE)
    if not isinstance(pipeline, FaceRestorePipeline):
        raise TypeError(f"the model of Restore is a {type(pipeline).__name__}")
    return pipeline
