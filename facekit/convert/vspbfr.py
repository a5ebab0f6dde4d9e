"""VSPBFR's four published files (`Wanglong2/VSPBFR` on the Hub) -> a `FaceRestorePipeline` folder."""

import gc
from collections.abc import Mapping
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
    whole_state,
)
from facekit.convert.encoders import code_diffuser_state, identity_encoder_state, style_encoder_state
from facekit.convert.stylegan2 import generator_state, restorer_state
from facekit.hub.fetching import download_files
from facekit.images.files import write_folder
from facekit.models.code_diffuser import CodeDiffuser
from facekit.models.identity_encoder import IdentityEncoder
from facekit.models.restorer import RestoreAutoEncoder
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.pipelines.restore import FaceRestorePipeline
from facekit.schedulers import CodeDiffusionScheduler
from facekit.weights.checkpoints import read_checkpoint

DIFFUSER, RESTORER = "code_diffuser.pt", "restoration_net.pt"
STYLE, IDENTITY = "style_encoder_decoder.pt", "Arcface.pth"
FILES = (DIFFUSER, RESTORER, STYLE, IDENTITY)
# How the style encoder must have been trained to be read.
STYLE_OPTIONS = {"stylegan_size": 1024, "encoder_type": "Encoder4Editing", "start_from_latent_avg": True}


def find_files(source: str | Path, revision: str | None = None, token: str | None = None) -> dict[str, Path]:
    """The four files by name, in a local folder or downloaded from the Hub.

    Raises:
        FileNotFoundError: neither a folder nor a Hub id, or files are missing; all of them are named.
        OSError: there is no such Hub model or no access, the download broke off or is damaged.
    """
    folder = Path(source)
    if not folder.is_dir():
        if folder.exists() or len(folder.parts) != 2 or folder.is_absolute():
            raise FileNotFoundError(
                f"{source} is neither a folder with the files {', '.join(FILES)} nor a Hub id like "
                "Wanglong2/VSPBFR"
            )
        folder = download_files(str(source), FILES, revision, token)
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        found = [name for name in FILES if name not in missing]
        raise FileNotFoundError(
            f"{source} lacks {', '.join(missing)} (it has {', '.join(found) or 'none of the four files'}); "
            "all four are needed"
        )
    return {name: folder / name for name in FILES}


def load_code_diffuser(path: str | Path) -> CodeDiffuser:
    """`code_diffuser.pt` -> network. OSError and ValueError as in `convert`."""
    state = sub_state(read_checkpoint(path), "att_mapper", str(path))
    # Saved from the list of blocks or from the module that holds it.
    state = {key if key.startswith("att_mapper.") else f"att_mapper.{key}": v for key, v in state.items()}
    return load_exactly(CodeDiffuser, lambda: code_diffuser_state(state), f"entry 'att_mapper' of {path}")


def load_restorer(path: str | Path) -> RestoreAutoEncoder:
    """`restoration_net.pt` -> the averaged restoration network."""
    state = sub_state(read_checkpoint(path), "g_ema", str(path))
    return load_exactly(RestoreAutoEncoder, lambda: restorer_state(state), f"entry 'g_ema' of {path}")


def load_identity_encoder(path: str | Path) -> IdentityEncoder:
    """`Arcface.pth` (a bare state dict) -> network."""
    content = read_checkpoint(path)
    state = whole_state(content, str(path))
    return load_exactly(IdentityEncoder, lambda: identity_encoder_state(state), str(path))


def load_style_encoder(content: Mapping[str, Any], source: str) -> StyleEncoder:
    """Contents of `style_encoder_decoder.pt` -> style encoder."""
    state = state_part(content, "encoder.", source)
    average = latent_average(content, source)
    return load_exactly(StyleEncoder, lambda: style_encoder_state(state, average), f"the encoder of {source}")


def load_prior(content: Mapping[str, Any], source: str) -> StyleGAN2Generator:
    """Contents of `style_encoder_decoder.pt` -> StyleGAN2 generator."""
    state = state_part(content, "decoder.", source)
    average = latent_average(content, source)
    return load_exactly(
        StyleGAN2Generator, lambda: generator_state(state, average), f"the decoder of {source}"
    )


def convert(
    source: str | Path,
    output: str | Path,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
    revision: str | None = None,
    token: str | None = None,
) -> None:
    """Write the published files as a folder for `FaceRestorePipeline.from_pretrained`, complete or not at all.

    Networks are converted one after another, so that memory holds one at a time. The code diffuser stays in
    float32 (see `CodeDiffuser`).

    Args:
        source: folder with the four files, or a Hub id.
        output: folder to write.
        dtype: number type of the written weights.
        overwrite: replace an existing folder.
        revision, token: for a Hub id.

    Raises:
        OSError: files are missing, cannot be read or downloaded, or the folder cannot be written.
        ValueError: a file holds more than tensors and plain values, or does not fit the published layout.
    """
    files = find_files(source, revision, token)

    def write(folder: Path) -> None:
        modules: dict[str, Any] = {"scheduler": CodeDiffusionScheduler.published()}
        modules["scheduler"].save_pretrained(folder / "scheduler")

        def keep(name: str, network: ModelMixin) -> None:
            stays = isinstance(network, CodeDiffuser)
            kind = torch.float32 if stays else dtype
            store(network, kind, lambda: network.save_pretrained(folder / name))
            modules[name] = empty(network)
            gc.collect()

        # The small files first: what does not fit shows early.
        keep("code_diffuser", load_code_diffuser(files[DIFFUSER]))
        keep("identity_encoder", load_identity_encoder(files[IDENTITY]))
        keep("restorer", load_restorer(files[RESTORER]))
        content = read_checkpoint(files[STYLE])
        check_options(content, STYLE_OPTIONS, str(files[STYLE]))
        keep("prior", load_prior(content, str(files[STYLE])))
        keep("style_encoder", load_style_encoder(content, str(files[STYLE])))
        FaceRestorePipeline(**modules).save_config(folder)

    write_folder(Path(output), write, overwrite)
