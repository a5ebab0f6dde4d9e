"""GRIG's published checkpoints (`g`, `d`, `patch_d`, `g_ema`) -> networks and pipeline folders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from facekit.convert.common import Rules, State, load_renamed, store, sub_state
from facekit.images.files import write_folder
from facekit.models.patch_discriminator import ForgedPatchDiscriminator
from facekit.models.projected_discriminator import ProjectedDiscriminator
from facekit.models.residual_inpainter import ResidualInpainter
from facekit.weights.checkpoints import read_checkpoint

Part = Literal["pipeline", "projected-discriminator", "patch-discriminator"]
PARTS: tuple[Part, ...] = ("pipeline", "projected-discriminator", "patch-discriminator")

_BUFFERS = ("weight_u", "weight_v", "running_mean", "running_var", "num_batches_tracked")

_SPECTRAL: Rules = (
    (r"\.weight_orig$", ".weight"),
    (r"\.weight_u$", ".u"),
    (r"\.weight_v$", ".v"),
)

GENERATOR_RULES: Rules = (
    # Modules by their place.
    (r"^down_from_big\.0\.", "encoder.stem."),
    (r"^down_4\.", "encoder.down2."),
    (r"^down_8\.0\.", "encoder.down4."),
    (r"^down_8\.1\.", "encoder.aot.0."),
    (r"^down_8\.2\.", "encoder.aot.1."),
    (r"^down_16\.", "encoder.down8."),
    (r"^se_256_16\.", "context.excite2."),
    (r"^se_128_8\.", "context.excite3."),
    (r"^se_64_4\.", "context.excite4."),
    (r"^patch_embed\.proj\.", "context.embed."),
    (r"^(?:encoder|decoder)_level(?=\d\.\d)", lambda m: f"context.{m[0].split('_')[0]}"),
    (r"^(latent|refinement|output)\.", r"context.\1."),
    (r"^down([123])_\d\.body\.0\.", r"context.down\1.0."),
    (r"^up\d_([123])\.body\.0\.", r"context.up\1.0."),
    (r"^reduce_chan_level([23])\.", r"context.reduce\1."),
    (r"^feat_64\.1\.", "decoder.up4.conv.conv."),
    (r"^feat_64\.2\.", "decoder.up4.conv.norm."),
    (r"^conv_64_3_3\.0\.", "decoder.merge4.conv."),
    (r"^conv_64_3_3\.1\.", "decoder.merge4.norm."),
    (r"^conv_64_3_3\.3\.", "decoder.aot.0."),
    (r"^conv_64_3_3\.4\.", "decoder.aot.1."),
    (r"^feat_128\.1\.", "decoder.up2.conv1.conv."),
    (r"^feat_128\.2\.weight$", "decoder.up2.conv1.noise_strength"),
    (r"^feat_128\.3\.", "decoder.up2.conv1.norm."),
    (r"^feat_128\.5\.", "decoder.up2.conv2.conv."),
    (r"^feat_128\.6\.weight$", "decoder.up2.conv2.noise_strength"),
    (r"^feat_128\.7\.", "decoder.up2.conv2.norm."),
    (r"^conv_128_3_3\.0\.", "decoder.merge2.conv."),
    (r"^conv_128_3_3\.1\.", "decoder.merge2.norm."),
    (r"^feat_256\.1\.", "decoder.up1.conv.conv."),
    (r"^feat_256\.2\.", "decoder.up1.conv.norm."),
    (r"^up_se_64\.", "decoder.excite4."),
    (r"^up_se_128\.", "decoder.excite2."),
    (r"^up_se_256\.", "decoder.excite1."),
    (r"^to_big\.", "decoder.to_rgb."),
    # What is inside them.
    (r"^(encoder\.down\d)\.main\.0\.", r"\1.conv1.conv."),
    (r"^(encoder\.down\d)\.main\.1\.", r"\1.conv1.norm."),
    (r"^(encoder\.down\d)\.main\.3\.", r"\1.conv2.conv."),
    (r"^(encoder\.down\d)\.main\.4\.", r"\1.conv2.norm."),
    (r"^(encoder\.down\d)\.direct\.1\.", r"\1.direct.conv."),
    (r"^(encoder\.down\d)\.direct\.2\.", r"\1.direct.norm."),
    (r"\.block0([0-3])\.1\.", r".branches.\1."),
    (r"\.(fuse|gate)\.1\.", r".\1."),
    (r"(\.excite\d)\.main\.1\.", r"\1.conv1."),
    (r"(\.excite\d)\.main\.3\.", r"\1.conv2."),
    (r"\.(norm[12])\.body\.", r".\1."),
    (r"\.attn\.temperature$", ".attention.temperature"),
    (r"\.attn\.qkv\.", ".attention.to_qkv."),
    (r"\.attn\.qkv_dwconv\.", ".attention.qkv_depthwise."),
    (r"\.attn\.project_out\.", ".attention.to_out."),
    (r"\.ffn\.project_in\.", ".feed_forward.to_hidden."),
    (r"\.ffn\.dwconv\.", ".feed_forward.depthwise."),
    (r"\.ffn\.project_out\.", ".feed_forward.to_out."),
    *_SPECTRAL,
)

PROJECTED_RULES: Rules = (
    # The file counts the first activation as module 2; timm now keeps it inside the norm before it.
    (r"^feature_network\.pretrained\.layer0\.3\.", "projector.stages.0.2."),
    (r"^feature_network\.pretrained\.layer0\.4\.", "projector.stages.0.3."),
    (r"^feature_network\.pretrained\.layer(\d)\.", r"projector.stages.\1."),
    (r"^feature_network\.scratch\.layer(\d)_ccm\.", r"projector.channel_mix.\1."),
    (r"^feature_network\.scratch\.layer(\d)_csm\.out_conv\.", r"projector.scale_mix.\1."),
    (r"^discriminator\.mini_discs\.0\.main\.([0-3])\.main\.0\.", r"blocks.\1.conv."),
    (r"^discriminator\.mini_discs\.0\.main\.([0-3])\.main\.1\.", r"blocks.\1.norm."),
    (r"^discriminator\.mini_discs\.0\.main\.4\.", "head."),
    *_SPECTRAL,
)

PATCH_RULES: Rules = (
    (r"^model\.0\.", "layers.0."),
    (r"^model\.2\.", "layers.1."),
    (r"^model\.4\.", "layers.2."),
    (r"^model\.6\.", "layers.3."),
    (r"^model\.8\.", "layers.4."),
    *_SPECTRAL,
)


def load_generator(state: Mapping[str, Tensor], source: str = "the state dict") -> ResidualInpainter:
    """Published generator state dict -> network in evaluation mode. ValueError names keys that do not fit."""
    return _load(ResidualInpainter(), state, GENERATOR_RULES, source)


def load_projected_discriminator(
    state: Mapping[str, Tensor], source: str = "the state dict"
) -> ProjectedDiscriminator:
    """Published projected discriminator -> network in evaluation mode. ValueError as above."""
    return _load(ProjectedDiscriminator(), state, PROJECTED_RULES, source)


def load_patch_discriminator(
    state: Mapping[str, Tensor], source: str = "the state dict"
) -> ForgedPatchDiscriminator:
    """Published patch discriminator -> network in evaluation mode. ValueError as above."""
    return _load(ForgedPatchDiscriminator(), state, PATCH_RULES, source)


def _load(model: Any, state: Mapping[str, Tensor], rules: Rules, source: str) -> Any:
    load_renamed(model, state, rules, source)
    return model.eval()


def averaged_state(state: State, averages: Any, source: str) -> State:
    """The generator with its averaged parameters.

    The published average is a list of tensors in the order of the parameters, without buffers: the batch
    statistics and the spectral vectors stay those of `state`.

    Raises:
        ValueError: the list does not fit the parameters, by number or by shape.
    """
    names = [key for key in state if not key.endswith(_BUFFERS)]
    if not isinstance(averages, list | tuple) or not all(isinstance(a, Tensor) for a in averages):
        raise ValueError(f"entry 'g_ema' of {source} is no list of tensors")
    if len(averages) != len(names):
        raise ValueError(
            f"entry 'g_ema' of {source} has {len(averages)} tensors, but the generator "
            f"has {len(names)} parameters"
        )
    for name, average in zip(names, averages, strict=True):
        if average.shape != state[name].shape:
            raise ValueError(
                f"entry 'g_ema' of {source} does not follow the order of the parameters: at the place of "
                f"{name} {list(state[name].shape)} it has {list(average.shape)}"
            )
    return state | dict(zip(names, averages, strict=True))


def load_part(checkpoint: str | Path, part: Part = "pipeline", use_ema: bool = True) -> ModelMixin:
    """One network of a published checkpoint file; the pipeline's is the generator.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is refused, or its entries do not fit the published layout.
    """
    source = str(checkpoint)
    content = read_checkpoint(checkpoint)
    if part == "projected-discriminator":
        return load_projected_discriminator(sub_state(content, "d", source), f"entry 'd' of {source}")
    if part == "patch-discriminator":
        return load_patch_discriminator(sub_state(content, "patch_d", source), f"entry 'patch_d' of {source}")
    state = sub_state(content, "g", source)
    if use_ema:
        if "g_ema" not in content:
            raise ValueError(f"{source} has no averaged parameters 'g_ema'; convert the raw ones (--raw)")
        state = averaged_state(state, content["g_ema"], source)
    return load_generator(state, f"entry 'g' of {source}")


def convert(
    checkpoint: str | Path,
    output: str | Path,
    part: Part = "pipeline",
    use_ema: bool = True,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
) -> None:
    """Write a published checkpoint as a folder for `from_pretrained`, complete or not at all.

    Args:
        checkpoint: the authors' file.
        output: folder to write: that of a `FaceInpaintPipeline`, or of one discriminator.
        part: what to convert.
        use_ema: take the averaged generator, as published results do, or the raw one.
        dtype: number type of the written weights.
        overwrite: replace an existing folder.

    Raises:
        OSError: the file cannot be read or the folder cannot be written.
        ValueError: the file does not fit the published layout.
    """
    from facekit.pipelines.inpaint import FaceInpaintPipeline

    network = load_part(checkpoint, part, use_ema)
    saved = (
        FaceInpaintPipeline(residual_inpainter=network) if isinstance(network, ResidualInpainter) else network
    )
    write_folder(
        Path(output), lambda folder: store(network, dtype, lambda: saved.save_pretrained(folder)), overwrite
    )
