"""The photo that a visitor chose in one tab is there in another that is still empty."""

from typing import Any
from weakref import WeakKeyDictionary

import gradio as gr
from gradio.components.base import Component
from gradio.context import get_blocks_context

from facekit_demo.common.widgets import KEPT, QUIET

# Of each page the state with the path of the photo that was chosen last.
_chosen: WeakKeyDictionary[Any, gr.State] = WeakKeyDictionary()


def carry_photo(chooser: gr.File, kept: Component | None = None) -> gr.State | None:
    """Let a tab's photo be known to the others, and theirs come to it when it is opened.

    Examples are not carried, nor what was taken away. Called while the tab is laid out.

    Args:
        chooser: takes the photo; only an empty one is given another.
        kept: a component whose value, where it has one, must not be replaced either.

    Returns:
        State whose value becomes the path of a photo that comes from another tab; None where there are no tabs.
    """
    page, tab = get_blocks_context(), _enclosing_tab(chooser)
    if page is None or tab is None:
        return None
    if page not in _chosen:
        _chosen[page] = gr.State(None, time_to_live=KEPT)
    chosen, arrived = _chosen[page], gr.State(None, time_to_live=KEPT)

    def look(path: str | None, own: str | None, *others: Any) -> Any:
        return path if path and not own and not any(other is not None for other in others) else gr.skip()

    chooser.upload(lambda path: path, chooser, chosen, **QUIET)
    chooser.clear(lambda: None, None, chosen, **QUIET)
    tab.select(look, [chosen, chooser, *([] if kept is None else [kept])], arrived, **QUIET)
    return arrived


def _enclosing_tab(component: Component) -> gr.Tab | None:
    parent = component.parent
    while parent is not None and not isinstance(parent, gr.Tab):
        parent = parent.parent
    return parent
