"""The classes that facekit exports, and their registration with diffusers.

Importing this module (`import facekit` does) lets diffusers load facekit's components from `model_index.json`
entries such as `["facekit", "ResidualInpainter"]`, from a folder and from the Hub, and lets the bare
`DiffusionPipeline.from_pretrained` find facekit's pipelines. A new component needs its import and its line in
`__all__`; a new pipeline also its place in `PIPELINES`.
"""

# isort: off
from facekit import _torchvision  # noqa: F401  before any network, which may import torchvision
# isort: on

import diffusers
from diffusers.models.modeling_utils import ModelMixin
from diffusers.pipelines.pipeline_loading_utils import LOADABLE_CLASSES
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from facekit.conditions.degrade import degrade
from facekit.downstream import restored_emotions, restored_landmarks
from facekit.hub import starter
from facekit.models.code_diffuser import CodeDiffuser
from facekit.models.face_parser import FaceParser
from facekit.models.identity_encoder import IdentityEncoder
from facekit.models.latent_warper import LatentWarper
from facekit.models.multi_style import MultiStyleGenerator
from facekit.models.multimodal import MultimodalAggregation
from facekit.models.patch_discriminator import ForgedPatchDiscriminator
from facekit.models.projected_discriminator import ProjectedDiscriminator
from facekit.models.refiner import RefinementAutoEncoder
from facekit.models.residual_inpainter import ResidualInpainter
from facekit.models.restorer import RestoreAutoEncoder
from facekit.models.style_directions import StyleDirections
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import MappingNetwork, StyleGAN2Generator
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator
from facekit.pipelines.edit import FaceEditPipeline
from facekit.pipelines.exemplar import ExemplarInpaintPipeline
from facekit.pipelines.inpaint import FaceInpaintPipeline
from facekit.pipelines.restore import FaceRestorePipeline
from facekit.sampling import sample_faces
from facekit.schedulers import CodeDiffusionScheduler

# diffusers looks ModelMixin and SchedulerMixin up, by name, in the library that a component comes from.
__all__ = [
    "CodeDiffuser",
    "CodeDiffusionScheduler",
    "ExemplarInpaintPipeline",
    "FaceEditPipeline",
    "FaceInpaintPipeline",
    "FaceParser",
    "FaceRestorePipeline",
    "ForgedPatchDiscriminator",
    "IdentityEncoder",
    "LatentWarper",
    "MappingNetwork",
    "ModelMixin",
    "MultiStyleGenerator",
    "MultimodalAggregation",
    "ProjectedDiscriminator",
    "RefinementAutoEncoder",
    "ResidualInpainter",
    "RestoreAutoEncoder",
    "SchedulerMixin",
    "StyleDirections",
    "StyleEncoder",
    "StyleGAN2Discriminator",
    "StyleGAN2Generator",
    "degrade",
    "restored_emotions",
    "restored_landmarks",
    "sample_faces",
    "starter",
]

PIPELINES: tuple[type[DiffusionPipeline], ...] = (
    ExemplarInpaintPipeline,
    FaceEditPipeline,
    FaceInpaintPipeline,
    FaceRestorePipeline,
)


def register_with_diffusers() -> None:
    """Enter facekit among the libraries that diffusers loads components from, and its pipelines by name.

    The table is not public API of diffusers; `tests/hub` loads over HTTP to notice when it moves.
    """
    methods = ["save_pretrained", "from_pretrained"]
    LOADABLE_CLASSES["facekit"] = {"ModelMixin": methods, "SchedulerMixin": methods}
    for pipeline in PIPELINES:
        setattr(diffusers, pipeline.__name__, pipeline)


register_with_diffusers()
