"""The names that facekit exports: `from facekit import NAME`.

diffusers loads components from `model_index.json` entries such as `["facekit", "ResidualInpainter"]` by these names.
A new component needs its import and its line in `__all__`; a new pipeline also its entry in `facekit.methods`.
"""

from diffusers.models.modeling_utils import ModelMixin
from diffusers.schedulers.scheduling_utils import SchedulerMixin

from facekit.damage.degrade import degrade
from facekit.export.write import export_onnx
from facekit.hub.starters import starter
from facekit.models.arcface import ArcFaceEncoder
from facekit.models.bisenet import BiSeNet
from facekit.models.code_diffuser import CodeDiffuser
from facekit.models.damage_finder import DamageFinder
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
from facekit.pipelines.background import BackgroundUpscaler
from facekit.pipelines.downstream import restored_emotions, restored_landmarks
from facekit.pipelines.edit.pipeline import FaceEditPipeline
from facekit.pipelines.exemplar.pipeline import ExemplarInpaintPipeline
from facekit.pipelines.inpaint import FaceInpaintPipeline
from facekit.pipelines.mend.pipeline import PhotoMendPipeline
from facekit.pipelines.restore import FaceRestorePipeline
from facekit.pipelines.sample import sample_faces
from facekit.schedulers import CodeDiffusionScheduler

# diffusers looks ModelMixin and SchedulerMixin up, by name, in the library that a component comes from.
__all__ = [
    "ArcFaceEncoder",
    "BackgroundUpscaler",
    "BiSeNet",
    "CodeDiffuser",
    "CodeDiffusionScheduler",
    "DamageFinder",
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
    "PhotoMendPipeline",
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
    "export_onnx",
    "restored_emotions",
    "restored_landmarks",
    "sample_faces",
    "starter",
]
