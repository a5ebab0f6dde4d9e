"""The edit pipeline with every network of the published structure at a small width."""

import torch

from facekit import FaceEditPipeline, StyleEncoder, StyleGAN2Generator
from facekit.conditions.text import TextGuide
from facekit.models.face_parser import FaceParser
from facekit.models.latent_warper import LatentWarper
from facekit.models.multimodal import MultimodalAggregation
from facekit.models.refiner import RefinementAutoEncoder
from facekit.models.style_directions import StyleDirections

ATTRIBUTES = ("age", "smile")


def tiny_edit_pipeline(parser: bool = False, directions: bool = True) -> FaceEditPipeline:
    """Faces of 64 pixels, 10 codes of 16 numbers; noise is given an effect."""
    torch.manual_seed(0)
    pipeline = FaceEditPipeline(
        style_encoder=StyleEncoder(
            sample_size=32,
            in_channels=26,
            num_styles=10,
            reading="e4e",
            stem_channels=8,
            channels=(8, 12, 16, 16),
            num_blocks=(1, 1, 1, 1),
            se_reduction=4,
            style_dim=16,
        ),
        prior=StyleGAN2Generator(64, 16, channel_base=512, max_channels=16, num_mapping_layers=2),
        latent_warper=LatentWarper(10, 16, num_blocks=2),
        aggregation=MultimodalAggregation(8),
        refiner=RefinementAutoEncoder(
            64, 16, channel_base=512, max_channels=16, in_channels=8, global_dim=16, dropout=0.5
        ),
        face_parser=FaceParser(32, (8, 8, 12)) if parser else None,
        directions=tiny_directions() if directions else None,
    )
    for network in (pipeline.prior, pipeline.refiner):
        for name, parameter in network.named_parameters():
            if name.endswith("noise.strength"):
                parameter.data.fill_(0.1)
            elif name.startswith("to_rgb"):
                # Untrained heads give pictures far outside [-1, 1].
                parameter.data.mul_(0.1)
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            component.eval()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tiny_directions() -> StyleDirections:
    """Random directions for the names of `ATTRIBUTES`."""
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
