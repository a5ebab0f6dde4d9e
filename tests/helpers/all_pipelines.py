"""The pipelines at a small width, each with a call that needs all of its networks."""

from typing import Any

import numpy as np
import torch

from facekit.methods import OWN
from facekit.pipelines.base import FacekitPipeline
from tests.helpers.masks import box_mask
from tests.tiny.pipelines import (
    tiny_edit_pipeline,
    tiny_exemplar_pipeline,
    tiny_inpaint_pipeline,
    tiny_mend_pipeline,
    tiny_restore_pipeline,
)

NAMES = tuple(method.name for method in OWN)
SIDE = 64
HOLE = box_mask((SIDE, SIDE), (10, 20, 40, 50))


def tiny_pipeline(name: str) -> FacekitPipeline:
    """One of `NAMES` with all optional networks, without progress bars."""
    pipelines = {
        "restore": tiny_restore_pipeline,
        "inpaint": tiny_inpaint_pipeline,
        "exemplar": lambda: tiny_exemplar_pipeline(identity=True),
        "edit": lambda: tiny_edit_pipeline(parser=True),
        "mend": tiny_mend_pipeline,
    }
    pipeline = pipelines[name]()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def faces(count: int = 1) -> torch.Tensor:
    """Pictures `[count, 3, 64, 64]` in [0, 1]."""
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def call(pipeline: FacekitPipeline, name: str, image: Any = None, **options: Any) -> Any:
    """The output of one call, `image` being aligned faces; `options` override what it passes."""
    given: dict[str, Any] = {
        "image": faces() if image is None else image,
        "aligned": True,
        "generator": torch.Generator().manual_seed(0),
        "output_type": "pt",
    }
    if name == "restore":
        given |= {"return_aligned": True}
    elif name == "mend":
        given |= {"damage": HOLE, "contrast": 0.5}
    else:
        given |= {"mask": HOLE}
    if name == "exemplar":
        given |= {"exemplar": faces(2)[1:]}
    if name == "edit":
        semantics = np.where(HOLE, np.uint8(17), np.uint8(255))
        given |= {
            "semantics": semantics,
            "exemplar": faces(2)[1:],
            "attributes": {"smile": 1.0},
            "variety": 0.3,
            "truncation_psi": 0.7,
        }
    return pipeline(**given | options)
