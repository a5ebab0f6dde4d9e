"""The board of the Edit tab: the mask and all guides behind a row of buttons, one of them open at a time."""

import gradio as gr

# In the browser, when a panel opened or closed: no other stays open, and where none is, the first opens.
SETTLE = """() => {
  const heads = [...document.querySelectorAll("#%(board)s > * > .label-wrap")];
  const open = heads.filter(head => head.classList.contains("open"));
  open.filter(head => head.parentElement.id !== "%(opened)s" && open.length > 1).forEach(head => head.click());
  if (!open.length) heads[0].click();
}"""


def one_at_a_time(board: gr.Column, first: gr.Accordion) -> None:
    """Let a panel of the board close the others when it opens, and `first` open when the last one closes."""
    for panel in board.children:
        if isinstance(panel, gr.Accordion):
            words = {"board": board.elem_id, "opened": panel.elem_id}
            panel.expand(None, None, None, js=SETTLE % words, api_visibility="private")
            panel.collapse(None, None, None, js=SETTLE % words, api_visibility="private")
