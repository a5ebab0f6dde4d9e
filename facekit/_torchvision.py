"""Makes `import torchvision` work where its compiled operators cannot be loaded.

PyPI's torchvision is built against the CUDA torch. Beside a CPU torch its extension does not load, and the
import then stops at `operator torchvision::nms does not exist`, which also breaks what imports it: lpips,
timm, transformers' CLIP. Nothing here calls those operators; it is enough that their schemas exist.
"""

import importlib.util
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch

# The two whose fake kernels torchvision registers at import without looking whether the operator is there.
SCHEMAS = {
    name: f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")
}

# A torch.library.Library takes its schemas along when it is collected: it has to live as long as the process.
_library: torch.library.Library | None = None


def extension_loads() -> bool:
    """Whether torchvision's compiled operators can be loaded.

    Also True where that cannot be found out (no torchvision, no compiled files): then nothing needs mending,
    and declaring an operator that exists would end the process.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True
    # `_C.so` up to torchvision 0.28, `_C_stable.so` beside or instead of it from 0.29 on.
    for library in compiled_operators(Path(spec.origin).parent):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            return False
    return True


def compiled_operators(folder: Path) -> list[Path]:
    """The files of torchvision's own operators; `image.so`, which reads pictures, is none of them."""
    return sorted({path for suffix in EXTENSION_SUFFIXES for path in folder.glob(f"_C*{suffix}")})


def is_declared(name: str) -> bool:
    """Whether torch knows an operator of torchvision's."""
    return hasattr(torch.ops.torchvision, name)


def mend() -> bool:
    """Declare the missing schemas, once, where they are missing. Returns whether they were declared here."""
    global _library
    if _library is None and "torchvision" not in sys.modules and not extension_loads():
        _library = torch.library.Library("torchvision", "FRAGMENT")
        for name, schema in SCHEMAS.items():
            if not is_declared(name):
                _library.define(schema)
    return _library is not None
