"""The exemplar pipeline with every network of the published structure at a small width."""

import torch

from facekit import ExemplarInpaintPipeline, IdentityEncoder, MultiStyleGenerator, StyleEncoder


def tiny_exemplar_pipeline(identity: bool = False, use_sketch: bool = False) -> ExemplarInpaintPipeline:
    """Faces of 64 pixels, 10 codes of 16 numbers, of which an exemplar gives 2 to 9; noise is given an effect."""
    torch.manual_seed(0)
    pipeline = ExemplarInpaintPipeline(
        style_encoder=StyleEncoder(
            sample_size=32,
            num_styles=10,
            first_style=2,
            reading="psp",
            stem_channels=8,
            channels=(8, 12, 16, 16),
            num_blocks=(1, 1, 1, 1),
            se_reduction=4,
            style_dim=16,
        ),
        multi_style_generator=MultiStyleGenerator(
            64,
            16,
            channel_base=512,
            max_channels=16,
            global_dim=16,
            num_mapping_layers=2,
            use_sketch=use_sketch,
        ),
        identity_encoder=IdentityEncoder(32, (1, 1, 1, 1), 8, 16) if identity else None,
    )
    for name, parameter in pipeline.multi_style_generator.named_parameters():
        if name.endswith("noise.strength"):
            parameter.data.fill_(0.1)
        elif name.endswith("to_rgb.weight"):
            # Untrained heads give pictures far outside [-1, 1].
            parameter.data.mul_(0.1)
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.eval()
    return pipeline
