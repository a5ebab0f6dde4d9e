"""The page itself: title, tabs, look, and how it is served."""

from pathlib import Path

import gradio as gr

from facekit_demo import exemplar, inpaint, restore
from facekit_demo.common import EXAMPLES

CSS = Path(__file__).with_name("style.css")
INTRO = """# facekit
Restore, mend and edit face photos. Photos go nowhere else and are deleted after an hour."""


def build_app() -> gr.Blocks:
    """The whole demo, not yet served. Nothing is downloaded and no model is loaded here."""
    with gr.Blocks(title="facekit", analytics_enabled=False, delete_cache=(600, 3600)) as app:
        gr.Markdown(INTRO, elem_id="intro")
        with gr.Tabs():
            with gr.Tab("Restore", id="restore"):
                restore.build_tab()
            with gr.Tab("Inpaint", id="inpaint"):
                inpaint.build_tab()
            with gr.Tab("Exemplar", id="exemplar"):
                exemplar.build_tab()
    return app.queue(max_size=64)


def launch(app: gr.Blocks, host: str = "127.0.0.1", port: int = 7860, **options: object) -> None:
    """Serve the page on `host:port`. Raises OSError when the port is taken. `options` go to Gradio."""
    # System fonts: a named web font would be fetched from a third party by every visitor's browser.
    fonts = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif"]
    theme = gr.themes.Soft(primary_hue="teal", neutral_hue="slate", font=fonts, font_mono=["monospace"])
    app.launch(
        server_name=host,
        server_port=port,
        theme=theme,
        css_paths=CSS,
        allowed_paths=[str(EXAMPLES)],
        max_file_size="256mb",
        footer_links=["api"],
        ssr_mode=False,
        show_error=True,
        share=False,
        **options,
    )
