"""A method that lies in a folder outside facekit, with a model and its card."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from facekit import methods

ROOT = Path(__file__).resolve().parents[2]
CARD = """\
---
license: apache-2.0
library_name: diffusers
pipeline_tag: image-to-image
tags: [blur]
datasets: [none]
---
# A blur

One kernel of five by five numbers, all of them alike, which takes the mean of the pixels around each pixel of a photo.
It was trained on nothing and for no time at all, and it is here so that tests have a method that facekit itself does
not bring along. It can blur and cannot do anything else; beyond the border of a photo it sees that border again.
"""


@pytest.fixture(scope="session")
def blur(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The package `facekit_blur` in a folder of its own, with its starter."""
    package = tmp_path_factory.mktemp("outside") / "facekit_blur"
    shutil.copytree(Path(__file__).with_name("facekit_blur"), package)
    sys.path.append(str(package.parent))
    try:
        from facekit_blur.pipeline import BlurNetwork, BlurPipeline

        BlurPipeline(BlurNetwork()).save_pretrained(package / "face-blur-starter")
        (package / "face-blur-starter" / "README.md").write_text(CARD)
        yield package
    finally:
        sys.path.remove(str(package.parent))
        for name in [name for name in sys.modules if name.split(".")[0] == "facekit_blur"]:
            del sys.modules[name]


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Offer methods to this process: `offered(*places)`."""

    path, modules = [*sys.path], {*sys.modules}
    names: set[str] = set()

    def offer(*places: str | Path) -> None:
        monkeypatch.setenv(methods.VARIABLE, os.pathsep.join(map(str, places)))
        methods._find.cache_clear()
        names.update(Path(place).stem for place in places)

    yield offer
    sys.path[:] = path
    for module in {*sys.modules} - modules:
        if module.split(".")[0] in names:  # the next test may have another of that name
            del sys.modules[module]
    methods._find.cache_clear()


def run(*arguments: object, places: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, where `places` are offered."""
    environment = os.environ | {methods.VARIABLE: places, "PYTHONPATH": str(ROOT)} | options.pop("env", {})
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        **options,
    )
