"""Makes `import torchvision` work where its compiled operators cannot be loaded.

PyPI's torchvision is built against the CUDA torch. Beside a CPU torch its extension does not load, and the
import then stops at `operator torchvision::nms does not exist`, which also breaks what imports it: lpips,
timm, transformers' CLIP. Nothing here calls those operators; it is enough that their schemas exist.
"""

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

import torch

# The two whose fake kernels torchvision registers at import without looking whether the operator is there.
SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

# A torch.library.Library takes its schemas along when it is collected: it has to live as long as the process.
_library: torch.library.Library | None = None


def extension_loads() -> bool:
    """Whether torchvision's compiled operators can be loaded; True without torchvision: nothing to mend."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True
    folder = Path(spec.origin).parent
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        library = folder / f"_C{suffix}"
        if library.is_file():
            try:
                torch.ops.load_library(str(library))
            except OSError:
                return False
            return True
    return False


def mend() -> bool:
    """Declare the missing schemas, once, where they are missing. Returns whether they were declared here."""
    global _library
    if _library is None and "torchvision" not in sys.modules and not extension_loads():
        _library = torch.library.Library("torchvision", "DEF")
        for schema in SCHEMAS:
            _library.define(schema)
    return _library is not None


mend()
