"""Every network of the four pipelines in its published structure at a small width, for tests of the wiring.

Style codes have 16 numbers. Weights are drawn from torch's global random state: who builds several seeds it once.
"""

import torch
from torch import nn

from facekit.conditions.text import TextGuide
from facekit.models.arcface import ArcFaceEncoder
from facekit.models.bisenet import BiSeNet
from facekit.models.code_diffuser import CodeDiffuser
from facekit.models.damage_finder import DamageFinder
from facekit.models.face_parser import FaceParser
from facekit.models.identity_encoder import IdentityEncoder
from facekit.models.latent_warper import LatentWarper
from facekit.models.multi_style import MultiStyleGenerator
from facekit.models.multimodal import MultimodalAggregation
from facekit.models.refiner import RefinementAutoEncoder
from facekit.models.residual_inpainter import ResidualInpainter
from facekit.models.restorer import RestoreAutoEncoder
from facekit.models.style_directions import StyleDirections
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator

ATTRIBUTES = ("age", "smile")
WIDTH = {"style_dim": 16, "channel_base": 512, "max_channels": 16}


def tiny_inpainter() -> ResidualInpainter:
    """Faces of 64 pixels; the noise layers, which start without effect, are given one."""
    network = ResidualInpainter(
        sample_size=64,
        stem_channels=8,
        encoder_channels=(8, 16, 16),
        dim=8,
        num_blocks=(1, 1, 1, 1),
        num_refinement_blocks=1,
        num_heads=(1, 1, 2, 2),
    )
    for name, parameter in network.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.5)
    return network.eval()


def tiny_style_encoder(num_styles: int = 10, **options: object) -> StyleEncoder:
    """Faces of 32 pixels -> `num_styles` codes; e4e's reading unless `options` say otherwise."""
    return StyleEncoder(
        sample_size=32,
        num_styles=num_styles,
        stem_channels=8,
        channels=(8, 12, 16, 16),
        num_blocks=(1, 1, 1, 1),
        se_reduction=4,
        style_dim=16,
        **options,
    )


def tiny_prior(sample_size: int = 64) -> StyleGAN2Generator:
    """10 codes for 64 pixels, 12 for 128."""
    return StyleGAN2Generator(sample_size, num_mapping_layers=2, **WIDTH)


def tiny_code_diffuser() -> CodeDiffuser:
    """12 codes. More blocks, untrained, magnify rounding a thousandfold in their normalisations."""
    return CodeDiffuser(num_styles=12, style_dim=16, num_blocks=1)


def tiny_restorer(**options: object) -> RestoreAutoEncoder:
    """Faces of 64 pixels, for a prior of 128."""
    return RestoreAutoEncoder(64, global_dim=16, num_mapping_layers=2, **WIDTH, **options)


def tiny_identity_encoder() -> IdentityEncoder:
    """Faces of 32 pixels -> 16 numbers."""
    return IdentityEncoder(32, (1, 1, 1, 1), 8, 16)


def tiny_arcface_encoder() -> ArcFaceEncoder:
    """Faces of 32 pixels, cropped out of 64 -> 16 numbers."""
    widths = {"stem_channels": 8, "channels": (8, 8, 16, 16), "num_blocks": (1, 1, 1, 1), "se_reduction": 2}
    return ArcFaceEncoder(32, 64, (8, 56, 8, 56), embedding_dim=16, **widths)


def tiny_exemplar_generator(use_sketch: bool = False) -> MultiStyleGenerator:
    """Faces of 64 pixels, 10 codes."""
    return MultiStyleGenerator(64, global_dim=16, num_mapping_layers=2, use_sketch=use_sketch, **WIDTH)


def tiny_latent_warper() -> LatentWarper:
    """10 codes."""
    return LatentWarper(10, 16, num_blocks=2)


def tiny_aggregation() -> MultimodalAggregation:
    """All modalities -> 8 channels."""
    return MultimodalAggregation(8)


def tiny_refiner() -> RefinementAutoEncoder:
    """Features of 8 channels and 64 pixels, 10 codes."""
    return RefinementAutoEncoder(64, in_channels=8, global_dim=16, dropout=0.5, **WIDTH)


def tiny_face_parser() -> FaceParser:
    """Faces of 32 pixels, 19 classes."""
    return FaceParser(32, (8, 8, 12))


def tiny_bisenet() -> BiSeNet:
    """Faces of 64 pixels, 19 classes."""
    return BiSeNet(64, 4)


def tiny_damage_finder() -> DamageFinder:
    """Photos at 64 pixels of the shorter side. Marks what is much lighter than its surroundings, without training.

    The centre of the first convolution takes a pixel's lightness, its rim what is around it; all that follows leads the
    difference through.
    """
    network = DamageFinder(channels=(4,), depths=(0,), working_side=64)
    for parameter in network.parameters():
        parameter.data.zero_()
    convolution, norm = network.stem[1][0], network.stem[1][1]
    # Channel k is the pixel k of each block of 2 x 2, in red, green and blue.
    for pixel in range(4):
        for color in range(3):
            convolution.weight.data[pixel, 4 * color : 4 * color + 4] = -1 / (3 * 36)
            convolution.weight.data[pixel, 4 * color + pixel, 1, 1] += 1 / 3
    norm.weight.data.fill_(1)
    for pixel in range(4):
        network.head[0].weight.data[pixel, pixel] = 20
    network.head[0].bias.data.fill_(-8)
    return network.eval()


def tiny_directions() -> StyleDirections:
    """Random directions for the names of `ATTRIBUTES`, of 10 codes; always the same."""
    source = torch.Generator().manual_seed(0)
    given = {name: torch.randn(16, generator=source) for name in ATTRIBUTES}
    return StyleDirections.from_tensors(given, num_styles=10)


def tiny_text_guide() -> TextGuide:
    """CLIP of the real classes with random weights: 32 px pictures, texts of up to 12 tokens, one for a letter."""
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    letters = [chr(code) for code in range(97, 123)]
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer({piece: index for index, piece in enumerate(pieces)}, [])
    torch.manual_seed(0)
    width = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    last = len(pieces) - 1
    marks = {"bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": last}
    text = {**width, **marks, "vocab_size": len(pieces), "max_position_embeddings": 12}
    vision = {**width, "image_size": 32, "patch_size": 8}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))
    return TextGuide(model, tokenizer)


def wake(network: nn.Module, heads: float) -> None:
    """Give a style network's noise an effect, and weaken its heads: untrained, they paint far outside [-1, 1]."""
    for name, parameter in network.named_parameters():
        if name.endswith("noise.strength"):
            parameter.data.fill_(0.1)
        elif name.endswith("to_rgb.weight"):
            parameter.data.mul_(heads)
