"""The photo that a visitor chose in one tab, or the result that was gone on with, is there in the others."""

import filecmp
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr
from gradio.components.base import Component
from gradio.context import get_blocks_context

from facekit_demo.common.saved_format import Saved
from facekit_demo.common.widgets import KEPT, QUIET


@dataclass(frozen=True)
class Carried:
    """A photo for the tabs.

    Attributes:
        path: its file.
        made_of: where it is a result, the photo that it was made of, and those that this one was made of.
    """

    path: str
    made_of: tuple[str, ...] = ()

    def is_wanted_for(self, own: str | None) -> bool:
        """Whether a tab whose photo is `own` gets it: an empty one, or one with a photo that it was made of."""
        return own is None or any(_are_same(own, photo) for photo in self.made_of)


# In the browser: values of inputs, the first of them becoming whether something is painted on one of these canvases.
PAINTED = """(...values) => {
  values[0] = {painted: %s.some(id => facekitCanvas.strokesOn(id).strokes)};
  return values;
}"""

# Of each page the state with what was chosen or gone on with last, a `Carried` or None.
_latest: WeakKeyDictionary[Any, gr.State] = WeakKeyDictionary()


def carry_photo(
    chooser: gr.File,
    kept: Component | None = None,
    is_work: Callable[[Any], bool] = lambda value: value is not None,
    canvases: Sequence[gr.ImageEditor] = (),
) -> gr.State | None:
    """Let a tab's photo be known to the others, and theirs come to it when it is opened, see `Carried.is_wanted_for`.

    Examples are not carried, nor what was taken away; no work is replaced. Called while the tab is laid out.

    Args:
        chooser: takes the photo.
        kept: a component whose value may be work.
        is_work: whether its value is.
        canvases: what is painted on them is work, too.

    Returns:
        State whose value becomes the path of a photo that comes from another tab; None where there are no tabs.
    """
    latest = _latest_in_tab(chooser)
    if latest is None:
        return None
    arrived = gr.State(None, time_to_live=KEPT)

    def look(drawn: dict[str, bool], carried: Carried | None, own: str | None, *works: Any) -> Any:
        if carried is None or drawn["painted"] or any(map(is_work, works)) or not carried.is_wanted_for(own):
            return gr.skip()
        return carried.path

    tab = _enclosing_tab(chooser)
    chooser.upload(lambda path: path and Carried(path), chooser, latest, **QUIET)
    chooser.clear(lambda: None, None, latest, **QUIET)
    inputs = [gr.JSON(visible=False), latest, chooser, *([] if kept is None else [kept])]
    painted = PAINTED % json.dumps([canvas.elem_id for canvas in canvases])
    tab.select(look, inputs, arrived, js=painted, **QUIET)
    return arrived


def carry_result(event: Callable[..., Any], result: Component, chooser: gr.File) -> Callable[..., Any]:
    """Let `event`, with which a visitor goes on with a tab's result, make it known to the other tabs.

    Called while the tab is laid out.

    Args:
        result: its value is the result, a `Saved`, or None.
        chooser: has the photo of which it was made; empty after a saved session was opened.

    Returns:
        The event after which the result may be put in the chooser.
    """
    latest = _latest_in_tab(chooser)
    if latest is None:
        return event

    def remember(saved: Saved | None, own: str | None, before: Carried | None) -> Any:
        if saved is None:
            return gr.skip()
        if own is None:
            return Carried(saved.path)
        further = before.made_of if before is not None and _are_same(before.path, own) else ()
        return Carried(saved.path, (own, *further))

    return event(remember, [result, chooser, latest], latest, **QUIET).then


def _are_same(one: str, other: str) -> bool:
    """Whether two files are the same photo: Gradio copies files between its folders, and keeps their names."""
    try:
        return Path(one).name == Path(other).name and filecmp.cmp(one, other, shallow=False)
    except OSError:  # one of them was deleted since
        return False


def _latest_in_tab(chooser: gr.File) -> gr.State | None:
    """The page's state for what its tabs share; None where there is no page, or the chooser is in no tab."""
    page = get_blocks_context()
    if page is None or _enclosing_tab(chooser) is None:
        return None
    if page not in _latest:
        _latest[page] = gr.State(None, time_to_live=KEPT)
    return _latest[page]


def _enclosing_tab(component: Component) -> gr.Tab | None:
    parent = component.parent
    while parent is not None and not isinstance(parent, gr.Tab):
        parent = parent.parent
    return parent
