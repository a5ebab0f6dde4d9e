"""Published attribute directions for the StyleGAN2 of FFHQ at 1024 -> `StyleDirections`.

Age, smile and pose are InterFaceGAN's, the principal components GANSpace's, both as e4e's editing folder has them.

StyleCLIP and CLIP2StyleGAN, the thesis's other two sources of directions ("Implementation without manual annotation",
section 6.2), are read as tensors in files of one's own making, for neither is known to publish directions in W+:

- StyleCLIP's latent optimisation and its mapper end in codes; what they changed, the edited codes less those before, is
  a direction. The mapper's change depends on the face, so that on other faces the direction only approximates it.
- StyleCLIP's global directions move channels of StyleSpace, behind the generator's affine layers. Every other code of
  W+ feeds an RGB head beside its convolution, which these directions do not move: no change of the code gives exactly
  theirs. They are refused.
- CLIP2StyleGAN's directions lie in W or W+. No file of its authors was to be had, so that names and layout are not
  checked against one.
"""

import re
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from facekit.conditions.attributes import FFHQ_EDITS, PrincipalComponents, principal_components
from facekit.convert.common import write_network
from facekit.models.style_directions import StyleDirections
from facekit.weights.checkpoints import read_checkpoint

INTERFACEGAN = ("age", "smile", "pose")
COMPONENTS_FILE = "ffhq_pca.pt"
COMPONENTS = ("mean", "comp", "std")

Source = Literal["ffhq", "styleclip", "clip2stylegan"]
STYLE_DIM = 512
MOST_CODES = 18  # of the largest generator
ENDINGS = (".npy", ".npz", ".pt", ".pth", ".safetensors")
UNNAMED = r"arr_\d+|directions?|delta|w|latents?"  # keys that tell nothing about the attribute


def read_directions(source: str | Path) -> dict[str, Tensor]:
    """The published tensors, named `interfacegan.*` and `ganspace.ffhq.*`, as far as they are there.

    Args:
        source: folder with any of `age.pt`, `smile.pt`, `pose.pt` and `ffhq_pca.pt`, or one .safetensors file with
            the names above.

    Raises:
        FileNotFoundError: there is no such folder or file, or the folder has none of them.
        OSError: a file cannot be read.
        ValueError: a file holds something else.
    """
    source = Path(source)
    if source.is_dir():
        found = {}
        for name in INTERFACEGAN:
            if (source / f"{name}.pt").is_file():
                found[f"interfacegan.{name}"] = read_checkpoint(source / f"{name}.pt", kind=Tensor)
        if (source / COMPONENTS_FILE).is_file():
            content = read_checkpoint(source / COMPONENTS_FILE)
            found |= {f"ganspace.ffhq.{name}": content[name] for name in COMPONENTS if name in content}
        if not found:
            files = ", ".join([*(f"{name}.pt" for name in INTERFACEGAN), COMPONENTS_FILE])
            raise FileNotFoundError(f"{source} has none of {files}")
    else:
        found = read_checkpoint(source)
    wrong = [name for name, value in found.items() if not isinstance(value, Tensor)]
    if wrong:
        raise ValueError(f"{source}: {wrong[0]} is no tensor")
    return found


def load_components(source: str | Path) -> PrincipalComponents:
    """GANSpace's components, for edits to absolute coordinates. Errors as in `read_directions`."""
    return _components(read_directions(source), str(source))


def _components(tensors: dict[str, Tensor], source: str) -> PrincipalComponents:
    try:
        parts = [tensors[f"ganspace.ffhq.{name}"] for name in COMPONENTS]
    except KeyError as error:
        raise ValueError(f"{source} has no {error.args[0]}; it has {', '.join(tensors)}") from error
    try:
        return principal_components(*parts)
    except ValueError as error:
        raise ValueError(f"{source} does not fit the published layout: {error}") from error


def read_named(source: str | Path) -> dict[str, Tensor]:
    """Directions of StyleCLIP or CLIP2StyleGAN by attribute: [1, 512] for all codes, or [n, 512].

    A file holds one direction, of the attribute that the file is called after, or several under the names of theirs.
    Tensors may have axes of 1 before these, or be flat, [n * 512], as fitted boundaries in W+ are.

    Args:
        source: a file (.npy, .npz, .pt, .pth, .safetensors), or a folder with such files.

    Raises:
        FileNotFoundError: there is no such file, or the folder has none.
        OSError: a file cannot be read.
        ValueError: a file could run code or holds something else, such as directions in StyleSpace, or two directions
            are called alike.
    """
    source = Path(source)
    files = sorted(f for f in source.iterdir() if f.suffix in ENDINGS) if source.is_dir() else [source]
    if not files:
        raise FileNotFoundError(f"{source} has no file of the kinds {', '.join(ENDINGS)}")
    found: dict[str, Tensor] = {}
    for file in files:
        content = _read_tensors(file)
        for key, value in content.items():
            name = file.stem if not key or (len(content) == 1 and re.fullmatch(UNNAMED, key)) else key
            if name in found:
                raise ValueError(f"two directions in {source} are called {name}")
            found[name] = _as_direction(value, f"{name} in {file}")
    return found


def _read_tensors(file: Path) -> dict[str, Any]:
    """The file's tensors by their names in it; a lone one is called ""."""
    if file.suffix not in (".npy", ".npz"):
        content = read_checkpoint(file, kind=object)
        return content if isinstance(content, dict) else {"": content}
    try:
        content = np.load(file)  # refuses pickles
        arrays = {"": content} if isinstance(content, np.ndarray) else {key: content[key] for key in content}
    except ValueError as error:
        raise ValueError(
            f"{file} is no plain array, or holds Python objects, which are not opened ({error}). StyleCLIP keeps what "
            "it knows of StyleSpace so, a list of one array for each layer: that is no direction of W+"
        ) from error
    except (EOFError, BadZipFile) as error:
        raise OSError(f"{file} cannot be read ({error})") from error
    return {
        key: torch.from_numpy(value) if value.dtype.kind in "fiu" else value for key, value in arrays.items()
    }


def _as_direction(value: Any, what: str) -> Tensor:
    """A direction as [1, 512] or [n, 512]; ValueError, saying why, for all that is none."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{what} is a {type(value).__name__}, not a tensor")
    shape = list(value.shape)
    while value.ndim > 2 and value.shape[0] == 1:
        value = value[0]
    if value.ndim > 2:
        raise ValueError(
            f"{what} is {shape}: changes of {shape[0]} faces, say. A direction is one for all; give their mean"
        )
    flat = value.ndim < 2 or value.shape[0] == 1
    rows = value.reshape(-1, STYLE_DIM) if flat and value.numel() % STYLE_DIM == 0 else value
    if rows.ndim != 2 or rows.shape[1] != STYLE_DIM or not 1 <= len(rows) <= MOST_CODES:
        raise ValueError(
            f"{what} is {shape}; a direction in W+ is [{STYLE_DIM}], or [n, {STYLE_DIM}] with a row for each of up "
            f"to {MOST_CODES} codes. Global directions of StyleCLIP move StyleSpace, 9,088 channels or 6,048 without "
            "the RGB heads, and no change of the codes is the same as theirs: use the codes' change by StyleCLIP's "
            "optimisation or mapper for the same words"
        )
    return rows


def load_directions(source: str | Path, num_styles: int = 18, family: Source = "ffhq") -> StyleDirections:
    """Directions for a prior with `num_styles` codes of 512 entries (18 at 1024 pixels, 14 at 256).

    Of `family` "styleclip" and "clip2stylegan" they are taken as they are (see the head of this module): a weight of 1
    adds what the file holds. Of "ffhq", those of e4e's folder:

    `age`, `smile` and `pose` are unit vectors in every code (Eq. 6.3; usual weights -5 to 5). Each named edit of the
    components is a direction of which a weight of 3 adds the published strength; `PrincipalComponents.edit` gives
    the published edit itself, which goes to an absolute coordinate.

    Raises:
        OSError: the files cannot be read.
        ValueError: they do not fit the published layout.
    """
    if family != "ffhq":
        return StyleDirections.from_tensors(read_named(source), num_styles)
    tensors = read_directions(source)
    found = {}
    for name in INTERFACEGAN:
        value = tensors.get(f"interfacegan.{name}")
        if value is not None:
            # The pose holds the same row for each code: the first row serves any number of codes.
            found[name] = value.reshape(-1, value.shape[-1])[0]
    if any(key.startswith("ganspace.") for key in tensors):
        components = _components(tensors, str(source))
        for name, edit in FFHQ_EDITS.items():
            if edit.component < len(components.components):
                found[name] = components.direction(edit, num_styles)
    if not found:
        raise ValueError(f"{source} holds none of the published directions; it has {', '.join(tensors)}")
    return StyleDirections.from_tensors(found, num_styles)


def convert(
    source: str | Path,
    output: str | Path,
    num_styles: int = 18,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
    family: Source = "ffhq",
) -> None:
    """Write the published directions as a folder for `StyleDirections.from_pretrained`, complete or not at all.

    Errors as in `load_directions`, and OSError when the folder cannot be written.
    """
    write_network(load_directions(source, num_styles, family), output, dtype, overwrite)
