"""EXE-GAN's published files (generator, pSp style encoder, ArcFace) -> an `ExemplarInpaintPipeline` folder."""

import gc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.modeling_utils import ModelMixin

from facekit.convert.common import (
    check_options,
    empty,
    latent_average,
    load_exactly,
    state_part,
    store,
    sub_state,
)
from facekit.convert.encoders import style_encoder_state
from facekit.convert.stylegan2 import multi_style_state
from facekit.convert.vspbfr import load_identity_encoder
from facekit.hub.fetching import download_files
from facekit.images.files import write_folder
from facekit.models.multi_style import MultiStyleGenerator
from facekit.models.style_encoder import StyleEncoder
from facekit.pipelines.exemplar.pipeline import ExemplarInpaintPipeline
from facekit.weights.checkpoints import read_checkpoint

GENERATORS = {256: ("EXE_GAN_model_256.pt", "EXE_GAN_model.pt"), 512: ("EXE_GAN_model_512.pt",)}
STYLE, IDENTITY = "psp_ffhq_encode.pt", "Arcface.pth"
# How the style encoder must have been trained to be read.
STYLE_OPTIONS = {
    "encoder_type": "GradualStyleEncoder",
    "input_nc": 3,
    "start_from_latent_avg": True,
    "learn_in_w": False,
}
# Codes before this index are random ones in the published method (phi of Eq. 5.1).
FIRST_STYLE = 4


@dataclass(frozen=True)
class Files:
    """Where the published files are; `identity` may be None, it is not needed to fill holes."""

    generator: Path
    style: Path
    identity: Path | None


def find_files(
    source: str | Path,
    size: int | None = None,
    style_encoder: str | Path | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Files:
    """The files of one generator.

    Args:
        source: a folder with the files, the generator's file itself, or a Hub id.
        size: 256 or 512, where the folder holds both generators.
        style_encoder: the pSp file, where it lies elsewhere.
        revision, token: for a Hub id.

    Raises:
        FileNotFoundError: nothing of this name, or files are missing; they are named.
        ValueError: generators of both sizes and no `size`, or another size.
        OSError: there is no such Hub model or no access, the download broke off or is damaged.
    """
    if size is not None and size not in GENERATORS:
        raise ValueError(f"the published generators have 256 or 512 pixels, not {size}")
    names = [name for known in (GENERATORS if size is None else [size]) for name in GENERATORS[known]]
    path = Path(source)
    if path.is_file():
        folder, generator = path.parent, path
    else:
        folder = path
        if not path.is_dir():
            if len(path.parts) != 2 or path.is_absolute():
                raise FileNotFoundError(
                    f"{source} is neither a folder with {names[0]} and {STYLE}, nor a generator's file, nor a Hub id "
                    "like USER/MODEL"
                )
            folder = download_files(str(source), [*names, STYLE, IDENTITY], revision, token)
        generator = _choose(folder, source, names, size)
    style = folder / STYLE if style_encoder is None else Path(style_encoder)
    if not style.is_file():
        where = f"{source} lacks {STYLE}" if style_encoder is None else f"{style} does not exist"
        raise FileNotFoundError(f"{where}; the style encoder is needed. Name its file, if it lies elsewhere")
    identity = folder / IDENTITY
    return Files(generator, style, identity if identity.is_file() else None)


def _choose(folder: Path, source: str | Path, names: list[str], size: int | None) -> Path:
    found = [name for name in names if (folder / name).is_file()]
    if not found:
        raise FileNotFoundError(f"{source} lacks a generator; one of {', '.join(names)} is needed")
    if len({known for known, files in GENERATORS.items() if set(files) & set(found)}) > 1:
        raise ValueError(f"{source} holds {' and '.join(found)}; say which size, 256 or 512")
    return folder / found[0]


def load_generator(path: str | Path, use_ema: bool = True) -> MultiStyleGenerator:
    """`EXE_GAN_model_*.pt` -> generator of its size; `latent_avg` is the mean of 4,096 random styles.

    `use_ema=False` takes the raw generator `g` instead of the averaged one. OSError and ValueError as in `convert`.
    """
    entry = "g_ema" if use_ema else "g"
    state, source = sub_state(read_checkpoint(path), entry, str(path)), f"entry {entry!r} of {path}"
    levels = sum(key.startswith("to_rgbs.") and key.endswith(".conv.weight") for key in state)
    size = 4 * 2**levels
    if size not in GENERATORS:
        raise ValueError(f"{source} is no published generator of 256 or 512 pixels ({levels} RGB heads)")
    network = load_exactly(lambda: MultiStyleGenerator(size), lambda: multi_style_state(state), source)
    network.latent_avg.copy_(network.mean_style(4096, torch.Generator().manual_seed(0)))
    return network


def load_style_encoder(content: Mapping[str, Any], num_styles: int, source: str) -> StyleEncoder:
    """Contents of `psp_ffhq_encode.pt` -> pSp encoder of the codes 4 to `num_styles` - 1."""
    check_options(content, STYLE_OPTIONS, source)
    state, average = state_part(content, "encoder.", source), latent_average(content, source)
    return load_exactly(
        lambda: StyleEncoder(num_styles=num_styles, first_style=FIRST_STYLE, reading="psp"),
        lambda: style_encoder_state(state, average, num_styles, FIRST_STYLE),
        f"the encoder of {source}",
    )


def convert(
    source: str | Path,
    output: str | Path,
    size: int | None = None,
    style_encoder: str | Path | None = None,
    use_ema: bool = True,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
    revision: str | None = None,
    token: str | None = None,
) -> None:
    """Write the published files as a folder for `ExemplarInpaintPipeline.from_pretrained`, complete or not at all.

    Networks are converted one after another, so that memory holds one at a time.

    Args:
        source, size, style_encoder, revision, token: see `find_files`.
        output: folder to write.
        use_ema: the averaged generator, or the raw one.
        dtype: number type of the written weights.
        overwrite: replace an existing folder.

    Raises:
        OSError: files are missing, cannot be read or downloaded, or the folder cannot be written.
        ValueError: a file holds more than tensors and plain values, or does not fit the published layout.
    """
    files = find_files(source, size, style_encoder, revision, token)

    def write(folder: Path) -> None:
        modules: dict[str, Any] = {"identity_encoder": None}

        def keep(name: str, network: ModelMixin) -> None:
            store(network, dtype, lambda: network.save_pretrained(folder / name))
            modules[name] = empty(network)
            gc.collect()

        if files.identity is not None:
            keep("identity_encoder", load_identity_encoder(files.identity))
        generator = load_generator(files.generator, use_ema)
        if size is not None and generator.config.sample_size != size:
            raise ValueError(f"{files.generator} has {generator.config.sample_size} pixels, not {size}")
        num_styles = generator.num_styles
        keep("multi_style_generator", generator)
        content = read_checkpoint(files.style)
        keep("style_encoder", load_style_encoder(content, num_styles, str(files.style)))
        ExemplarInpaintPipeline(**modules).save_config(folder)

    write_folder(Path(output), write, overwrite)
