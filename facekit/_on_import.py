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


def offer_pipelines() -> None:
    """Let the bare `DiffusionPipeline.from_pretrained` find the methods' pipelines: it takes them off `diffusers`."""
    diffusers = sys.modules["diffusers"]
    kind: Any = type(diffusers)

    class WithFacekit(kind):
        def __getattr__(self, name: str) -> object:
            try:
                return super().__getattr__(name)
            except AttributeError:
                # Looking through the methods may import what others wrote: not for names that cannot be classes.
                if name[0].isupper():
                    from facekit.hub.classes import pipeline_class
                    from facekit.methods import method_of

                    if method_of(name) is not None:
                        return pipeline_class(name)
                raise

    diffusers.__class__ = WithFacekit


def enter_components() -> None:
    """Let diffusers load facekit's components."""
    from facekit.hub.classes import enter_library

    enter_library("facekit")


def declare_operators() -> None:
    """See `facekit._torchvision`."""
    from facekit._torchvision import mend

    mend()


BEFORE: dict[str, Callable[[], object]] = {"torchvision": declare_operators}
AFTER: dict[str, Callable[[], object]] = {
    "diffusers": offer_pipelines,
    "diffusers.pipelines.pipeline_loading_utils": enter_components,
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
