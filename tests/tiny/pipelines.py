"""The five pipelines with the networks of `tests.tiny.networks`; each call gives the same weights."""

import torch
from diffusers import DiffusionPipeline

from facekit import (
    CodeDiffusionScheduler,
    ExemplarInpaintPipeline,
    FaceEditPipeline,
    FaceInpaintPipeline,
    FaceRestorePipeline,
    PhotoMendPipeline,
)
from tests.tiny import networks
from tests.tiny.networks import wake


def tiny_inpaint_pipeline(num_inference_steps: int = 3) -> FaceInpaintPipeline:
    """Faces of 64 pixels."""
    torch.manual_seed(0)
    pipeline = FaceInpaintPipeline(networks.tiny_inpainter(), num_inference_steps=num_inference_steps)
    prepare(pipeline)
    return pipeline


def tiny_restore_pipeline(
    identity: bool = True, fidelity: float = 0.5, self_ensemble: bool = False, **restorer_options: object
) -> FaceRestorePipeline:
    """Faces of 64 pixels, a prior of 128, 12 codes; of the same default `fidelity` as the starter."""
    torch.manual_seed(0)
    pipeline = FaceRestorePipeline(
        style_encoder=networks.tiny_style_encoder(12),
        code_diffuser=networks.tiny_code_diffuser(),
        scheduler=CodeDiffusionScheduler.published(),
        prior=networks.tiny_prior(128),
        restorer=networks.tiny_restorer(**restorer_options),
        identity_encoder=networks.tiny_identity_encoder() if identity else None,
        fidelity=fidelity,
        self_ensemble=self_ensemble,
    )
    wake(pipeline.prior, heads=0.05)
    wake(pipeline.restorer, heads=0.05)
    prepare(pipeline)
    return pipeline


def tiny_exemplar_pipeline(identity: bool = False, use_sketch: bool = False) -> ExemplarInpaintPipeline:
    """Faces of 64 pixels, 10 codes, of which an exemplar gives 2 to 9."""
    torch.manual_seed(0)
    pipeline = ExemplarInpaintPipeline(
        style_encoder=networks.tiny_style_encoder(first_style=2, reading="psp"),
        multi_style_generator=networks.tiny_exemplar_generator(use_sketch),
        identity_encoder=networks.tiny_identity_encoder() if identity else None,
    )
    wake(pipeline.multi_style_generator, heads=0.1)
    prepare(pipeline)
    return pipeline


def tiny_edit_pipeline(parser: bool = False, directions: bool = True) -> FaceEditPipeline:
    """Faces of 64 pixels, 10 codes."""
    torch.manual_seed(0)
    pipeline = FaceEditPipeline(
        style_encoder=networks.tiny_style_encoder(in_channels=26),
        prior=networks.tiny_prior(),
        latent_warper=networks.tiny_latent_warper(),
        aggregation=networks.tiny_aggregation(),
        refiner=networks.tiny_refiner(),
        face_parser=networks.tiny_face_parser() if parser else None,
        directions=networks.tiny_directions() if directions else None,
    )
    wake(pipeline.prior, heads=0.1)
    wake(pipeline.refiner, heads=0.1)
    prepare(pipeline)
    return pipeline


def tiny_mend_pipeline() -> PhotoMendPipeline:
    """A finder of bright lines; faces of 64 pixels."""
    pipeline = PhotoMendPipeline(
        networks.tiny_damage_finder(), tiny_inpaint_pipeline(), tiny_restore_pipeline(identity=False)
    )
    prepare(pipeline)
    return pipeline


def prepare(pipeline: DiffusionPipeline) -> None:
    """Set the networks to inference, and leave out progress bars."""
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.eval()
    pipeline.set_progress_bar_config(disable=True)
