"""The choice of a model on a tab: each visitor's own, with the terms of published weights, fetched when it is made."""

from typing import Any

import gradio as gr

from facekit_demo.common.main_button import failed
from facekit_demo.common.models import Offered, offered_model, offered_models
from facekit_demo.common.running import friendly, make_ready

# In the browser: why a model cannot be had comes into view where it is not; on a phone it lies below.
SHOW_FAILURE = """() => {
  const said = document.querySelector("#%s-failure .failure");
  if (said && said.getBoundingClientRect().bottom > window.innerHeight) said.scrollIntoView({block: "center"});
}"""


class ModelChooser:
    """Lays the choice out inside an open column; where the host offers one model there is nothing to see.

    Args:
        task: name of the method, and what the parts' ids start with.

    Attributes:
        active: state with the name of the model that works for this visitor: while another is fetched, and where that
            fails, still the one before.
    """

    def __init__(self, task: str) -> None:
        self.task = task
        models = offered_models(task)
        self.active = gr.State(models[0].name)
        self.choice: gr.Radio | None = None
        if len(models) > 1:
            self.choice = gr.Radio(
                [(model.label, model.name) for model in models],
                value=models[0].name,
                label="Model",
                elem_id=f"{task}-model",
                elem_classes="ticks",
            )
            self.terms = gr.Markdown(**_terms(models[0]), elem_id=f"{task}-terms", elem_classes="hint")

    def wire(self, failure: gr.HTML) -> None:
        """Let a choice be fetched and take effect; in the box `failure` stands why it cannot be had."""
        if self.choice is None:
            return

        @friendly
        def ready(wanted: str, progress: gr.Progress) -> Any:
            make_ready(self.task, wanted, progress)
            return gr.update(**_terms(offered_model(self.task, wanted)))

        def choose(
            wanted: str,
            active: str,
            progress: gr.Progress = gr.Progress(),  # noqa: B008 (Gradio finds it by its default)
        ) -> list[Any]:
            try:
                return [wanted, wanted, ready(wanted, progress), ""]
            except gr.Error as error:
                goes_on = f"The model before goes on: {offered_model(self.task, active).title}."
                return [active, active, gr.skip(), failed(f"{error.message} {goes_on}")]

        self.choice.input(None, None, failure, js="() => ''", api_visibility="private")
        chosen = self.choice.input(
            choose,
            [self.choice, self.active],
            [self.active, self.choice, self.terms, failure],
            show_progress_on=self.choice,
            api_visibility="private",
        )
        chosen.then(None, None, None, js=SHOW_FAILURE % self.task, api_visibility="private")


def model_parameter(task: str) -> gr.Radio:
    """What a program chooses the model with; it may leave that out."""
    names = [model.name for model in offered_models(task)]
    return gr.Radio(names, value=names[0], label="model")


def _terms(model: Offered) -> dict[str, Any]:
    """Arguments of the box that says the terms of published weights; for others it is hidden."""
    if model.published is None:
        return {"value": "", "visible": False}
    terms = f"Terms of these weights: {model.published.terms}."
    return {"value": f"{terms} [Where they come from]({model.published.page})", "visible": True}
