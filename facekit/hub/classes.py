"""The class of a pipeline by its name, as `model_index.json` has it, and where diffusers finds its components."""

import sys
from typing import TYPE_CHECKING

from facekit.methods import method_of, methods

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

LOADERS = ["save_pretrained", "from_pretrained"]


def pipeline_class(name: str) -> "type[DiffusionPipeline]":
    """The class of a method's pipeline.

    Raises:
        ValueError: no method has a pipeline of that name.
        MethodError: it belongs to a method from outside and cannot be used.
    """
    method = method_of(name)
    if method is None:
        known = ", ".join(method.class_name for method in methods())
        raise ValueError(f"there is no pipeline {name!r}; known are {known}")
    found = method.import_pipeline()
    if method.way_out:
        from diffusers import DiffusionPipeline

        if not (isinstance(found, type) and issubclass(found, DiffusionPipeline)):
            raise method.refusal("pipeline", TypeError(f"{method.pipeline} is no DiffusionPipeline"))
        # Components are saved with the module that they come from, which on the Hub is no library of diffusers'.
        inside = [module for module in sys.modules if module.startswith(f"{method.package}.")]
        for module in (found.__module__, *inside):
            enter_library(module)
    return found


def enter_library(name: str) -> None:
    """Enter a module among those that diffusers loads components from.

    The table is not public API of diffusers; `tests/hub` loads over HTTP to notice when it moves.
    """
    table = sys.modules["diffusers.pipelines.pipeline_loading_utils"].LOADABLE_CLASSES
    table[name] = {"ModelMixin": LOADERS, "SchedulerMixin": LOADERS}
