"""What a first visitor reads and sees: what each tab is for, what comes of it, examples one click away, the paper."""

import base64
import html
from collections.abc import Collection

import gradio as gr

from facekit.methods import Method
from facekit_demo.common.running import EXAMPLES

# Tab -> what its first example is called on the way there, and its picture in the examples' folder.
WAYS_IN = {
    "restore": ("A damaged portrait, made sharp", "restore-before-after.jpg"),
    "mend": ("An old print, mended", "mend-before-after.jpg"),
    "inpaint": ("A scratched photo, painted and filled", "inpaint-before-after.jpg"),
    "edit": ("A part of a face to change", "edit-start.jpg"),
}
# In the browser: the tab comes to the front, and its first example is chosen as soon as it is there.
CHOOSE_EXAMPLE = """async () => {
  const tab = [...document.querySelectorAll('[role=tab]')].find(tab => tab.innerText.trim() === %(title)r);
  tab.click();
  for (let tries = 0; tries < 200; tries++) {
    const example = document.querySelector('#%(name)s-examples button');
    if (example) { example.click(); tab.scrollIntoView({block: 'nearest'}); return; }
    await new Promise(resume => setTimeout(resume, 50));
  }
}"""


def ways_in(shown: Collection[Method]) -> None:
    """Lay out a row of examples that differ, each one click away, of the tabs that the page has."""
    known = [method for method in shown if method.name in WAYS_IN]
    if not known:
        return
    with gr.Column(elem_classes="first-look"):
        gr.Markdown("Try one of these, or choose a tab and a photo of your own:", elem_classes="hint")
        with gr.Row(elem_classes="ways-in"):
            for method in known:
                caption, picture = WAYS_IN[method.name]
                button = gr.Button(caption, icon=str(EXAMPLES / picture), elem_id=f"{method.name}-try")
                script = CHOOSE_EXAMPLE % {"title": method.title, "name": method.name}
                button.click(None, None, None, js=script, api_visibility="private")


def sample_result(task: str) -> None:
    """Lay out what comes of the tab, before and after, which stands there until there is a result."""
    picture = EXAMPLES / f"{task}-before-after.jpg"
    if not picture.is_file():
        gr.Markdown("Your result comes here.", elem_classes=["hint", "first-words"])
        return
    code = base64.b64encode(picture.read_bytes()).decode()
    gr.HTML(
        f'<figure><img src="data:image/jpeg;base64,{code}" alt="The example before, left, and after, right">'
        f"<figcaption>{html.escape('The example, before and after. Your result comes here.')}</figcaption></figure>",
        elem_id=f"{task}-sample",
        elem_classes="sample",
        padding=False,
    )


def about(method: Method) -> None:
    """Lay out a fold with the paper, the licence, and how to cite; nothing for a method that names no paper."""
    if not method.paper:
        return
    with gr.Accordion("About: paper, licence, how to cite", open=False, elem_id=f"{method.name}-about"):
        gr.Markdown(
            f"The method is from {method.paper} Cite it where you publish what you made here.\n\n"
            "facekit and its bundled models are free under Apache-2.0; other models have terms of their own. "
            "Results say in the file that they were made by a model."
        )
