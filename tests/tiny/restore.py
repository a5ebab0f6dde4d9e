"""The restoration pipeline with every network of the published structure at a small width."""

import torch

from facekit import (
    CodeDiffuser,
    CodeDiffusionScheduler,
    FaceRestorePipeline,
    IdentityEncoder,
    RestoreAutoEncoder,
    StyleEncoder,
    StyleGAN2Generator,
)


def tiny_restore_pipeline(identity: bool = True, **restorer_options: object) -> FaceRestorePipeline:
    """Faces of 64 pixels, a prior of 128, 12 codes of 16 numbers; noise layers are given an effect."""
    torch.manual_seed(0)
    pipeline = FaceRestorePipeline(
        style_encoder=StyleEncoder(
            sample_size=32,
            num_styles=12,
            stem_channels=8,
            channels=(8, 12, 16, 16),
            num_blocks=(1, 1, 1, 1),
            se_reduction=4,
            style_dim=16,
        ),
        # More blocks, untrained, magnify rounding a thousandfold in their normalisations.
        code_diffuser=CodeDiffuser(num_styles=12, style_dim=16, num_blocks=1),
        scheduler=CodeDiffusionScheduler.published(),
        prior=StyleGAN2Generator(128, 16, channel_base=512, max_channels=16, num_mapping_layers=2),
        restorer=RestoreAutoEncoder(
            64, 16, channel_base=512, max_channels=16, global_dim=16, num_mapping_layers=2, **restorer_options
        ),
        identity_encoder=IdentityEncoder(32, (1, 1, 1, 1), 8, 16) if identity else None,
    )
    for network in (pipeline.prior, pipeline.restorer):
        for name, parameter in network.named_parameters():
            if name.endswith("noise.strength"):
                parameter.data.fill_(0.1)
            elif name.endswith("to_rgb.weight"):
                # Untrained heads give pictures far outside [-1, 1].
                parameter.data.mul_(0.05)
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
