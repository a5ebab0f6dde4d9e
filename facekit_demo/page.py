"""The page itself: title, tabs, look, and how it is served."""

import logging
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import gradio as gr
from fastapi import Depends

from facekit.methods import Method, MethodError, methods, refusals
from facekit_demo.common import canvas_traffic
from facekit_demo.common.first_look import about, ways_in
from facekit_demo.common.limits import Limits
from facekit_demo.common.models import check_models
from facekit_demo.common.running import EXAMPLES
from facekit_demo.common.temporary import (
    only_own_files,
    own_folder,
    remove_at_termination,
    start_sweeping,
    sweeping_pause,
)

log = logging.getLogger("facekit.demo")

HERE = Path(__file__).parent
CSS = HERE / "style.css"
EVENT_STREAM = HERE / "common" / "event_stream.js"
# In the head of the page, so that they are there before the first event and the first canvas.
SCRIPTS = (EVENT_STREAM, canvas_traffic.SCRIPT, HERE / "canvas.js")
# Where the theme's own colours are too pale for small text (WCAG AA: contrast of 4.5).
READABLE = {
    "background_fill_primary": "*neutral_50",  # as in the theme; Gradio would set it back
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "*neutral_300",
    "block_label_text_color": "*neutral_700",
    "block_label_text_color_dark": "*neutral_200",
    "block_title_text_color": "*neutral_700",
    "block_title_text_color_dark": "*neutral_200",
    "block_info_text_color": "*neutral_600",
    "block_info_text_color_dark": "*neutral_300",
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "button_primary_background_fill_dark": "*primary_700",
    "button_primary_background_fill_hover_dark": "*primary_600",
    "button_primary_text_color": "white",
    "button_primary_text_color_dark": "white",
    "button_secondary_background_fill_hover_dark": "*primary_700",
    "checkbox_label_background_fill_selected": "*primary_700",
    "checkbox_label_background_fill_selected_dark": "*primary_700",
    "color_accent": "*primary_700",
    "link_text_color": "*primary_700",
    "link_text_color_dark": "*primary_300",
    "block_title_background_fill_dark": "*primary_900",
    "block_label_background_fill_dark": "*primary_900",
    "input_placeholder_color": "*neutral_500",
    "input_placeholder_color_dark": "*neutral_400",
}
# In the browser: names for readers of the screen, where Gradio gives a part none.
NAMES = """() => {
  const name = () => {
    document.querySelectorAll("button.gallery-item:not([aria-label])").forEach(button => {
      const place = [...button.parentElement.querySelectorAll("button.gallery-item")].indexOf(button) + 1;
      button.setAttribute("aria-label", `Example ${place}`);
    });
    document.querySelectorAll('[id$="-result"] img[alt=""]').forEach((picture, place) => {
      picture.alt = place % 2 ? "After" : "Before";
    });
  };
  new MutationObserver(name).observe(document.body, {subtree: true, childList: true});
  name();
}"""
INTRO = """# facekit
Makes damaged photos of faces good again, fills what is missing, and changes what you paint over.
Photos go nowhere else and are deleted after {kept_for}."""


def find_tabs(names: Sequence[str] | None) -> dict[Method, ModuleType]:
    """Methods that have a tab, and its module.

    Args:
        names: of the tabs, in their order; None: all that can be used, and the log says why others are left out.

    Raises:
        ValueError: there is no tab of that name, it cannot be used, or none is asked for.
    """
    known = {method.name: method for method in methods() if method.tab}
    if names is None:
        found, left_out = {}, list(refusals())
        for method in known.values():
            try:
                found[method] = _import_tab(method)
            except MethodError as error:
                left_out.append(str(error))
        for reason in left_out:
            log.warning("%s", reason)
        return found
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        message = f"there are no tabs {unknown}; choose some of {', '.join(known)}"
        raise ValueError("; ".join([message, *refusals()]))
    try:
        return {known[name]: _import_tab(known[name]) for name in names}
    except MethodError as error:
        raise ValueError(str(error)) from error


def _import_tab(method: Method) -> ModuleType:
    """The tab's module; one from outside is laid out on a page of its own first, so that a broken one spoils no other.

    Raises MethodError.
    """
    module = method.import_tab()
    if method.way_out:
        with method.guard("tab"), gr.Blocks(analytics_enabled=False):
            module.build_tab()
    return module


def build_app(tabs: Sequence[str] | None = None) -> gr.Blocks:
    """The demo with these tabs, not yet served; see `find_tabs`. Nothing is downloaded and no model is loaded here.

    Raises ValueError also for models that cannot be offered, see `check_models`.
    """
    found = find_tabs(tabs)
    for method in found:
        check_models(method)
    limits, _ = Limits.from_environment(), own_folder()
    # Earlier than the sweeper, so that Gradio's list of files shrinks too.
    pause = sweeping_pause(limits.keep_seconds)
    forget = (max(1, int(pause)), max(1, int(limits.keep_seconds - 2 * pause)))
    with gr.Blocks(title="facekit", analytics_enabled=False, delete_cache=forget) as app:
        gr.Markdown(INTRO.format(kept_for=limits.kept_for), elem_id="intro")
        ways_in(found)
        with gr.Tabs():
            for method, module in found.items():
                with gr.Tab(method.title, id=method.name):
                    if method.summary:
                        gr.Markdown(method.summary, elem_classes="hint")
                    module.build_tab()
                    about(method)
        app.load(None, None, None, js=NAMES, api_visibility="private")
    return app.queue(max_size=limits.queue, default_concurrency_limit=limits.concurrency)


def launch(app: gr.Blocks, host: str = "127.0.0.1", port: int = 7860, **options: object) -> None:
    """Serve the page on `host:port`. Raises OSError when the port is taken. `options` go to Gradio."""
    # System fonts: a named web font would be fetched from a third party by every visitor's browser.
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    theme = gr.themes.Soft(primary_hue="teal", neutral_hue="slate", font=fonts, font_mono=["monospace"])
    theme.set(**READABLE)
    limits = Limits.from_environment()
    start_sweeping(app, limits.keep_seconds)
    remove_at_termination()
    app.launch(
        server_name=host,
        server_port=port,
        theme=theme,
        css_paths=CSS,
        head="".join(f"<script>\n{script.read_text(encoding='utf-8')}</script>" for script in SCRIPTS),
        allowed_paths=[str(EXAMPLES)],
        max_file_size=limits.upload_mb * 2**20,
        app_kwargs={"dependencies": [Depends(only_own_files)]},
        footer_links=["api"],
        ssr_mode=False,
        show_error=True,
        share=False,
        **options,
    )
