"""Published attribute directions for the StyleGAN2 of FFHQ at 1024 -> `StyleDirections`.

Age, smile and pose are InterFaceGAN's, the principal components GANSpace's, both as e4e's editing folder has them.
"""

from pathlib import Path

import torch
from torch import Tensor

from facekit.conditions.attributes import FFHQ_EDITS, PrincipalComponents, principal_components
from facekit.convert.common import store
from facekit.images.files import write_folder
from facekit.models.style_directions import StyleDirections
from facekit.weights.checkpoints import read_checkpoint

INTERFACEGAN = ("age", "smile", "pose")
COMPONENTS_FILE = "ffhq_pca.pt"
COMPONENTS = ("mean", "comp", "std")


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


def load_directions(source: str | Path, num_styles: int = 18) -> StyleDirections:
    """Directions for a prior with `num_styles` codes of 512 entries (18 at 1024 pixels, 14 at 256).

    `age`, `smile` and `pose` are unit vectors in every code (Eq. 6.3; usual weights -5 to 5). Each named edit of the
    components is a direction of which a weight of 3 adds the published strength; `PrincipalComponents.edit` gives
    the published edit itself, which goes to an absolute coordinate.

    Raises:
        OSError: the files cannot be read.
        ValueError: they do not fit the published layout.
    """
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
) -> None:
    """Write the published directions as a folder for `StyleDirections.from_pretrained`, complete or not at all.

    Errors as in `load_directions`, and OSError when the folder cannot be written.
    """
    directions = load_directions(source, num_styles)
    write_folder(
        Path(output),
        lambda folder: store(directions, dtype, lambda: directions.save_pretrained(folder)),
        overwrite,
    )
