"""The button that does a tab's work: always in reach, busy while it works, and it leads to what came of it."""

import functools
import html
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gradio as gr
from gradio.components.base import Component

from facekit_demo.common.canvas_traffic import once_drawn, with_strokes
from facekit_demo.common.expectation import expectation
from facekit_demo.common.running import AT_WORK, friendly
from facekit_demo.common.widgets import QUIET
from facekit_demo.common.words import STOPS

# In the browser: the button is off where what is said of the photo stops it, and stays as it is while it works.
MAY = """found => {
  const works = document.querySelector("#%(task)s-run")?.innerText.trim() === %(working)s;
  return {__type__: "update", ...(works ? {} : {interactive: !found?.includes(%(stops)s)})};
}"""
# In the browser, so that a click is answered at once, also while others are served first.
BUSY = """() => {
  window.facekitRuns ??= {};
  window.facekitRuns.%(task)s = (window.facekitRuns.%(task)s ?? 0) + 1;
  return [{__type__: "update", value: %(working)s, interactive: false}, ""];
}"""
FREE = """{__type__: "update", value: %(label)s, interactive: !found?.includes(%(stops)s)}"""
# With another photo the button is free again, whatever is still under way for the one before.
ANOTHER = f"found => ({FREE})"
# When a run ended it is, too, unless one that was begun later is under way.
READY = f"""found => --window.facekitRuns.%(task)s ? {{__type__: "update"}} : {FREE}"""
# The result, or why there is none, comes into view where it is not: on a phone it lies below.
SHOW = """async () => {
  const result = "#%(task)s-result", said = document.querySelector("#%(task)s-failure .failure");
  for (let tries = 0; !said && tries < 40; tries++) {  // its size is known once its pictures are there
    const pictures = [...document.querySelectorAll(result + " img")];
    if (pictures.length && pictures.every(picture => picture.complete && picture.naturalWidth)) break;
    await new Promise(resume => setTimeout(resume, 50));
  }
  const side = said || document.querySelector(result), box = side.getBoundingClientRect();
  const shows = said || side.querySelector("img");  // nothing where another photo was chosen meanwhile
  if (shows && !window.facekitRuns.%(task)s && (box.top < 0 || box.bottom > window.innerHeight))
    side.scrollIntoView({block: box.height < window.innerHeight ? "center" : "start"});
}"""


def failure_box(task: str) -> gr.HTML:
    """Where a result would be, why the last run gave none; it stays until the next run or another photo."""
    return gr.HTML("", elem_id=f"{task}-failure", elem_classes="failure-box", padding=False)


class ResultSide(Protocol):
    """What the button has to know of a tab's side for results."""

    slider: gr.ImageSlider
    failure: gr.HTML


@dataclass(eq=False)
class ChosenPhoto:
    """The photo that a visitor has on the tab now, as the browser tells; `Latest` is about what the server opens.

    Attributes:
        path: of its file; None where there is none.
        known: whether one was chosen or taken away already.
    """

    path: str | None = None
    known: bool = False

    def become(self, path: str | None) -> None:
        """Another one is there."""
        self.path, self.known = path, True

    def is_another(self, path: str | None) -> bool:
        """Whether it is known not to be the one at `path`."""
        return self.known and self.path != path


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
        chosen = gr.State(ChosenPhoto())
        unchanged = [gr.skip()] * (len(outputs) + 1)

        @functools.wraps(work)
        def run(chosen: ChosenPhoto, photo_path: str | None, *values: Any) -> list[Any]:
            if chosen.is_another(photo_path):  # while this waited for the device
                return unchanged
            try:
                updates = [*handle(*values), ""]
            except gr.Error as error:
                updates = [*unchanged[:-1], failed(str(error.message))]
            return unchanged if chosen.is_another(photo_path) else updates

        run.__signature__ = _with_two_more(work)  # type: ignore[attr-defined]
        private: dict[str, Any] = {"api_visibility": "private"}
        begun = self.button.click(None, None, [self.button, failure], js=BUSY % self.words, **private)
        ready = once_drawn(begun.then, inputs)
        given = [chosen, photo, *inputs]
        done = with_strokes(
            ready.then,
            run,
            given,
            [*outputs, failure],
            show_progress_on=result.slider,
            trigger_mode="multiple",  # the next photo's run need not wait for this one's end
            **AT_WORK,
        )
        # After an error Gradio does not get to `then`.
        for ended in (done.then, done.failure):
            ready_again = ended(None, found, self.button, js=READY % self.words, **private)
            ready_again.then(None, None, None, js=SHOW % self.words, **private)
        for event, script in ((photo.change, ANOTHER), (found.change, MAY)):
            event(None, found, self.button, js=script % self.words, **private)
        known = [photo] if model is None else [photo, model]
        for event in (photo.change, done.then, *([] if model is None else [model.change])):
            event(functools.partial(expectation, self.task), known, self.expected, **QUIET)
        photo.change(ChosenPhoto.become, [chosen, photo], None, queue=False, **QUIET)
        photo.change(lambda: "", None, failure, **QUIET)


def _with_two_more(work: Callable[..., Any]) -> inspect.Signature:
    """The signature of `work` behind two more parameters: Gradio finds the place of the progress by it."""
    first = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in ("_chosen", "_photo")]
    return inspect.Signature([*first, *inspect.signature(work).parameters.values()])


def failed(message: str) -> str:
    """What a `failure_box` shows."""
    return f'<p class="failure" role="alert">{html.escape(message)}</p>'
