"""The browser demo: one tab per task, each built by its module's `build_tab`."""

import os

# Gradio asks the network for its own version at import unless told not to beforehand.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from facekit_demo.page import build_app, launch

__all__ = ["build_app", "launch"]
