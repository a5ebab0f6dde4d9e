"""The page itself: title, tabs, look, and how it is served."""

from collections.abc import Callable, Sequence
from pathlib import Path

import gradio as gr
from fastapi import Depends

from facekit_demo.common.limits import Limits
from facekit_demo.common.running import EXAMPLES
from facekit_demo.common.temporary import (
    only_own_files,
    own_folder,
    remove_at_termination,
    start_sweeping,
    sweeping_pause,
)
from facekit_demo.edit import tab as edit
from facekit_demo.exemplar import tab as exemplar
from facekit_demo.inpaint import tab as inpaint
from facekit_demo.restore import tab as restore

CSS = Path(__file__).with_name("style.css")
INTRO = """# facekit
Restore, mend and edit face photos. Photos go nowhere else and are deleted after {kept_for}."""

# Name -> title and builder; in the order of the page.
TABS: dict[str, tuple[str, Callable[[], None]]] = {
    "restore": ("Restore", restore.build_tab),
    "inpaint": ("Inpaint", inpaint.build_tab),
    "exemplar": ("Exemplar", exemplar.build_tab),
    "edit": ("Edit", edit.build_tab),
}


def build_app(tabs: Sequence[str] = tuple(TABS)) -> gr.Blocks:
    """The demo with these tabs, not yet served. Nothing is downloaded and no model is loaded here.

    Raises:
        ValueError: there is no tab of that name, or none is asked for.
    """
    unknown = [name for name in tabs if name not in TABS]
    if unknown or not tabs:
        raise ValueError(f"there are no tabs {unknown}; choose some of {', '.join(TABS)}")
    limits, _ = Limits.from_environment(), own_folder()
    # Earlier than the sweeper, so that Gradio's list of files shrinks too.
    pause = sweeping_pause(limits.keep_seconds)
    forget = (max(1, int(pause)), max(1, int(limits.keep_seconds - 2 * pause)))
    with gr.Blocks(title="facekit", analytics_enabled=False, delete_cache=forget) as app:
        gr.Markdown(INTRO.format(kept_for=limits.kept_for), elem_id="intro")
        with gr.Tabs():
            for name in tabs:
                title, build = TABS[name]
                with gr.Tab(title, id=name):
                    build()
    return app.queue(max_size=limits.queue, default_concurrency_limit=limits.concurrency)


def launch(app: gr.Blocks, host: str = "127.0.0.1", port: int = 7860, **options: object) -> None:
    """Serve the page on `host:port`. Raises OSError when the port is taken. `options` go to Gradio."""
    # System fonts: a named web font would be fetched from a third party by every visitor's browser.
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    theme = gr.themes.Soft(primary_hue="teal", neutral_hue="slate", font=fonts, font_mono=["monospace"])
    limits = Limits.from_environment()
    start_sweeping(app, limits.keep_seconds)
    remove_at_termination()
    app.launch(
        server_name=host,
        server_port=port,
        theme=theme,
        css_paths=CSS,
        allowed_paths=[str(EXAMPLES)],
        max_file_size=limits.upload_mb * 2**20,
        app_kwargs={"dependencies": [Depends(only_own_files)]},
        footer_links=["api"],
        ssr_mode=False,
        show_error=True,
        share=False,
        **options,
    )
