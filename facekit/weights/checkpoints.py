"""Reading checkpoint files safely: tensors and plain values, never code."""

import argparse
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor


def read_checkpoint(path: str | Path, kind: type = dict) -> Any:
    """Contents, of the type `kind`, of a `.pth`/`.pt`/`.ckpt` or `.safetensors` file, on the CPU.

    Only tensors, plain Python values and `argparse.Namespace` (the authors' options, which hold values and no
    code) are read; a file that would run code is refused.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the file cannot be read, is truncated or is no checkpoint.
        ValueError: the file holds other objects than tensors and plain values, or nothing of that type.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"the checkpoint {path} does not exist")
    if not path.is_file():
        raise OSError(f"{path} is no file; name the authors' checkpoint file itself")
    if path.stat().st_size == 0:
        raise OSError(f"the checkpoint {path} is empty; download it again")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if not isinstance(content, kind):
        wanted = "dict of tensors" if kind is dict else kind.__name__
        raise ValueError(f"{path} holds a {type(content).__name__}, not a {wanted}")
    return content


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise OSError(f"{path} is truncated or no safetensors file ({error}); download it again") from error


def _read_pickle(path: Path) -> Any:
    # Files of torch < 1.6 are no zip archives and cannot be mapped into memory.
    with path.open("rb") as file:
        zipped = file.read(2) == b"PK"
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        # The reason stands on one line between general advice.
        lines = [line.strip() for line in str(error).splitlines()]
        reason = next((line for line in lines if "WeightsUnpickler error" in line), lines[0])
        if any(word in reason for word in ("global", "GLOBAL", "reduce", "class")):
            raise ValueError(
                f"{path} holds more than tensors and plain values and is not opened, since it could run code "
                f"({reason}); ask for a file of plain state dicts"
            ) from error
        raise OSError(
            f"{path} is truncated or no PyTorch checkpoint ({reason}); download it again"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, UnicodeDecodeError) as error:
        raise OSError(f"{path} is truncated or no PyTorch checkpoint ({error}); download it again") from error
