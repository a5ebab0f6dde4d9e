"""The Space for old photos: the demo's tab, served where Spaces expect it."""

import os

from facekit_demo import build_app, launch

demo = build_app(("mend",))

if __name__ == "__main__":
    launch(demo, "0.0.0.0", int(os.environ.get("GRADIO_SERVER_PORT", "7860")))
