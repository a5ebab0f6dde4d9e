"""What has to happen when diffusers or torchvision is imported, whoever imports it and whenever.

diffusers must know facekit's components and pipelines; torchvision must find its operators declared. Doing either at
`import facekit` would import torch and diffusers, which takes seconds, for those who only read pictures.
"""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

PIPELINES = ("ExemplarInpaintPipeline", "FaceEditPipeline", "FaceInpaintPipeline", "FaceRestorePipeline")
LOADERS = ["save_pretrained", "from_pretrained"]


def offer_pipelines() -> None:
    """Let the bare `DiffusionPipeline.from_pretrained` find facekit's pipelines: it takes them off `diffusers`."""
    diffusers = sys.modules["diffusers"]
    kind: Any = type(diffusers)

    class WithFacekit(kind):
        def __getattr__(self, name: str) -> object:
            if name in PIPELINES:
                from facekit import public

                return getattr(public, name)
            return super().__getattr__(name)

    diffusers.__class__ = WithFacekit


def enter_library() -> None:
    """Enter facekit among the libraries that diffusers loads components from.

    The table is not public API of diffusers; `tests/hub` loads over HTTP to notice when it moves.
    """
    table = sys.modules["diffusers.pipelines.pipeline_loading_utils"].LOADABLE_CLASSES
    table["facekit"] = {"ModelMixin": LOADERS, "SchedulerMixin": LOADERS}


def declare_operators() -> None:
    """See `facekit._torchvision`."""
    from facekit._torchvision import mend

    mend()


BEFORE: dict[str, Callable[[], object]] = {"torchvision": declare_operators}
AFTER: dict[str, Callable[[], object]] = {
    "diffusers": offer_pipelines,
    "diffusers.pipelines.pipeline_loading_utils": enter_library,
}


class _Then(Loader):
    """A loader that calls a function after it has loaded its module."""

    def __init__(self, loader: Loader, function: Callable[[], object]) -> None:
        self.loader = loader
        self.function = function

    def __getattr__(self, name: str) -> object:
        return getattr(self.loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        self.function()


class _Watch(MetaPathFinder):
    """Finds nothing itself; calls the functions of `BEFORE` and `AFTER`, each once."""

    def __init__(self) -> None:
        self.left = {name for name in (*BEFORE, *AFTER) if name not in sys.modules}

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self.left:
            return None
        self.left.remove(name)  # so that asking again leads to the other finders
        if name in BEFORE:
            BEFORE[name]()
            return None
        spec = find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Then(spec.loader, AFTER[name])
        return spec


def watch_imports() -> None:
    """Call the functions of `AFTER` for what is imported already, and all others when their time comes."""
    for name, function in AFTER.items():
        if name in sys.modules:
            function()
    sys.meta_path.insert(0, _Watch())
