"""Copies the starter models, which lie beside the package in a clone, into what is built of it."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

CARDS = "hub_cards"


class BuildWithStarters(build_py):
    """Builds the package with a copy of the starters' folders.

    A mapping of the folder to `facekit.hub_cards` in `pyproject.toml` would do the same, but an editable install then
    finds the package by a hook that comes last, after any folder called `facekit` where Python was started.
    """

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, "facekit", CARDS)
            shutil.copytree(CARDS, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithStarters})
