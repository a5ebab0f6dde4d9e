"""The restorer that goes over filled faces: a box to tick, and a model of the Restore tab behind it."""

import gradio as gr

from facekit import FaceRestorePipeline
from facekit.hub.starters import STARTER
from facekit.methods import method_named
from facekit.provenance import Provenance, merge
from facekit_demo.common.model_chooser import ModelChooser
from facekit_demo.common.models import check_models, offered_models
from facekit_demo.common.running import load_pipeline, made_by, make_ready

RESTORE = "restore"


def detail_box(task: str, model: ModelChooser | None = None) -> gr.Checkbox:
    """Whether filled faces are restored: ticked for the bundled model, which fills softly.

    With the tab's choice of a `model` the box follows it.

    Raises ValueError where the models of Restore, whose tab the page may not have, cannot be offered.
    """
    check_models(method_named(RESTORE))
    box = gr.Checkbox(
        offered_models(task)[0].name == STARTER,
        label="Draw fine detail into filled faces",
        info="The model of Restore goes over what was filled. Meant for the small bundled models.",
        elem_id=f"{task}-detail",
    )
    if model is not None:
        model.active.change(
            lambda name: name == STARTER, model.active, box, show_progress="hidden", api_visibility="private"
        )
    return box


def find_restorer() -> str:
    """The name of the model of Restore that is taken: the bundled one, else one that is here, else the host's first."""
    models = offered_models(RESTORE)
    bundled = [model for model in models if model.name == STARTER]
    return (bundled or [model for model in models if model.is_here] or list(models))[0].name


def made_with_detail(task: str, model: str | None, wanted: bool) -> Provenance:
    """What files say of pictures by a model of a tab, and by the restorer where it is `wanted`."""
    origin = made_by(task, model)
    return merge([origin, made_by(RESTORE, find_restorer())]) if wanted else origin


def make_detail_ready(wanted: bool, progress: gr.Progress | None = None) -> None:
    """Fetch the restorer where it is `wanted` and not here. Raises as `make_ready` does."""
    if wanted:
        make_ready(RESTORE, find_restorer(), progress)


def load_detail(wanted: bool) -> FaceRestorePipeline | None:
    """The restorer, None where it is not `wanted`. For functions `on_gpu` alone."""
    if not wanted:
        return None
    pipeline = load_pipeline(RESTORE, find_restorer())
    if not isinstance(pipeline, FaceRestorePipeline):
        raise TypeError(f"the model of Restore is a {type(pipeline).__name__}")
    return pipeline
