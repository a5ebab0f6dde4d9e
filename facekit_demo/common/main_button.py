"""The button that does a tab's work: always in reach, busy while it works, and it leads to what came of it."""

import functools
import html
import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import gradio as gr
from gradio.components.base import Component

from facekit_demo.common.canvas_traffic import once_drawn, with_strokes
from facekit_demo.common.expectation import expectation
from facekit_demo.common.latest import Latest
from facekit_demo.common.running import AT_WORK, friendly
from facekit_demo.common.widgets import QUIET
from facekit_demo.common.words import STOPS

# In the browser: the button is off where what is said of the photo stops it, and stays as it is while it works.
MAY = """found => {
  const works = document.querySelector("#%(task)s-run")?.innerText.trim() === %(working)s;
  return {__type__: "update", ...(works ? {} : {interactive: !found?.includes(%(stops)s)})};
}"""
# With another photo it is free again, whatever is still under way for the one before.
ANOTHER = """found => ({__type__: "update", value: %(label)s, interactive: !found?.includes(%(stops)s)})"""
# In the browser, so that a click is answered at once, also while others are served first.
BUSY = """() => {
  window.facekitRuns ??= {};
  window.facekitRuns.%(task)s = (window.facekitRuns.%(task)s ?? 0) + 1;
  return [{__type__: "update", value: %(working)s, interactive: false}, ""];
}"""
# The result, or why there is none, comes into view where it is not: on a phone it lies below.
READY = """async found => {
  if (--window.facekitRuns.%(task)s) return {__type__: "update"};  // one that was begun later is under way
  const result = "#%(task)s-result", said = document.querySelector("#%(task)s-failure .failure");
  for (let tries = 0; !said && tries < 40; tries++) {  // its size is known once its pictures are there
    const pictures = [...document.querySelectorAll(result + " img")];
    if (pictures.length && pictures.every(picture => picture.complete && picture.naturalWidth)) break;
    await new Promise(resume => setTimeout(resume, 50));
  }
  const side = said || document.querySelector(result), box = side.getBoundingClientRect();
  const shows = said || side.querySelector("img");  // nothing where another photo was chosen meanwhile
  if (shows && (box.top < 0 || box.bottom > window.innerHeight))
    side.scrollIntoView({block: box.height < window.innerHeight ? "center" : "start"});
  return {__type__: "update", value: %(label)s, interactive: !found?.includes(%(stops)s)};
}"""


def failure_box(task: str) -> gr.HTML:
    """Where a result would be, why the last run gave none; it stays until the next run or another photo."""
    return gr.HTML("", elem_id=f"{task}-failure", elem_classes="failure-box", padding=False)


class ResultSide(Protocol):
    """What the button has to know of a tab's side for results."""

    slider: gr.ImageSlider
    failure: gr.HTML


class MainButton:
    """Lays the button out inside an open column, with a line about the time that a run takes.

    Args:
        task: what the parts' ids start with.
        label: of the button.
        working: what it says while it works, such as "Restoring…".
    """

    def __init__(self, task: str, label: str, working: str) -> None:
        self.task = task
        stops = f'class="{STOPS}"'
        words = {"label": label, "working": working, "stops": stops}
        self.words = {"task": task} | {name: json.dumps(word) for name, word in words.items()}
        with gr.Column(elem_classes="main-action"):
            self.expected = gr.Markdown(elem_id=f"{task}-expected", elem_classes="hint")
            self.button = gr.Button(label, variant="primary", size="lg", elem_id=f"{task}-run")

    def wire(
        self,
        work: Callable[..., list[Any]],
        inputs: Sequence[Component],
        outputs: Sequence[Any],
        photo: Component,
        found: Component,
        result: ResultSide,
        model: gr.State | None = None,
    ) -> None:
        """Let a click do the work.

        Args:
            work: values of `inputs` -> updates of `outputs`. What it raises is said in the result's failure box, in
                words of `friendly`, and `outputs` stay as they are. Nothing is updated where another photo was
                chosen meanwhile.
            photo: its value is the path of the photo on which the work is done, or None.
            found: says what is found in the photo; while it is `stopping`, the button is off.
            result: where progress is shown, and failures.
            model: its value is the name of the model that works, where the tab has a choice.
        """
        handle, failure = friendly(work), result.failure
        latest = gr.State(Latest())

        @_with_parameters_of(work)
        def run(latest: Latest, photo_path: str | None, *values: Any) -> list[Any]:
            unchanged = [gr.skip()] * len(outputs)
            try:
                updates = [*handle(*values), ""]
            except gr.Error as error:
                updates = [*unchanged, failed(str(error.message))]
            # It may have waited for the device, so that the photo was changed before it even began.
            gone = latest.number and latest.name != (photo_path and Path(photo_path).name)
            return [*unchanged, gr.skip()] if gone else updates

        private: dict[str, Any] = {"api_visibility": "private"}
        begun = self.button.click(None, None, [self.button, failure], js=BUSY % self.words, **private)
        ready = once_drawn(begun.then, inputs)
        given = [latest, photo, *inputs]
        done = with_strokes(
            ready.then,
            run,
            given,
            [*outputs, failure],
            show_progress_on=result.slider,
            trigger_mode="multiple",  # the button is off while it works for the photo
            **AT_WORK,
        )
        done.then(None, found, self.button, js=READY % self.words, **private)
        for event, script in ((photo.change, ANOTHER), (found.change, MAY)):
            event(None, found, self.button, js=script % self.words, **private)
        known = [photo] if model is None else [photo, model]
        for event in (photo.change, done.then, *([] if model is None else [model.change])):
            event(functools.partial(expectation, self.task), known, self.expected, **QUIET)
        photo.change(Latest.choose, [latest, photo], None, **QUIET)
        photo.change(lambda: "", None, failure, **QUIET)


def _with_parameters_of(work: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a function that passes its `*values` to `work` have its parameters, by which Gradio finds the progress."""

    def rename(function: Callable[..., Any]) -> Callable[..., Any]:
        own = [
            name
            for name, it in inspect.signature(function).parameters.items()
            if it.kind is not it.VAR_POSITIONAL
        ]
        named = functools.wraps(work)(function)
        # Only their order counts, and names that differ.
        first = [inspect.Parameter(f"_{name}", inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in own]
        parameters = [*first, *inspect.signature(work).parameters.values()]
        named.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return named

    return rename


def failed(message: str) -> str:
    """What a `failure_box` shows."""
    return f'<p class="failure" role="alert">{html.escape(message)}</p>'
