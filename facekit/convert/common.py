"""What all converters share: reading authors' files safely, moving keys, loading exactly, whole folders."""

import argparse
import pickle
import re
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

State = dict[str, Tensor]
Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]

_SHOWN = 5


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Contents of a `.pth`/`.pt`/`.ckpt` or `.safetensors` file, on the CPU.

    Only tensors, plain Python values and `argparse.Namespace` (the authors' options, which hold values and no
    code) are read; a file that would run code is refused.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: the file cannot be read, is truncated or is no checkpoint.
        ValueError: the file holds other objects than tensors and plain values, or no dict.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"the checkpoint {path} does not exist")
    if not path.is_file():
        raise OSError(f"{path} is no file; name the authors' checkpoint file itself")
    if path.stat().st_size == 0:
        raise OSError(f"the checkpoint {path} is empty; download it again")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a dict of tensors")
    return content


def _read_safetensors(path: Path) -> State:
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


def sub_state(content: Mapping[str, Any], key: str, source: str) -> State:
    """The state dict under `key`. ValueError, naming what is there, when it is missing or no state dict."""
    if key not in content:
        raise ValueError(f"{source} has no entry {key!r}; it has {_some(list(content))}")
    state = content[key]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"entry {key!r} of {source} is no state dict of tensors")
    return dict(state)


def rename_key(key: str, rules: Rules) -> str | None:
    """Our name of a published key: every rule (pattern, replacement) that matches is applied once, in order.

    `None` when no rule matches.
    """
    matched = False
    for pattern, replacement in rules:
        key, count = re.subn(pattern, replacement, key, count=1)
        matched |= bool(count)
    return key if matched else None


def load_renamed(model: nn.Module, state: Mapping[str, Tensor], rules: Rules, source: str) -> None:
    """Load a published state dict into a network of ours, each entry exactly once.

    Raises:
        ValueError: keys that the network does not have, that it lacks, or whose shapes differ; all are
            named as the file names them, missing ones as we do.
    """
    expected = model.state_dict()
    renamed: State = {}
    origin: dict[str, str] = {}
    unknown, twice, misshapen = [], [], []
    for key, value in state.items():
        ours = rename_key(key, rules)
        if ours is None or ours not in expected:
            unknown.append(key)
        elif ours in renamed:
            twice.append(f"{key} and {origin[ours]}")
        elif value.shape != expected[ours].shape:
            misshapen.append(f"{key} is {list(value.shape)}, expected {list(expected[ours].shape)}")
        else:
            renamed[ours] = value
        origin[ours or key] = key
    missing = [key for key in expected if key not in origin]
    problems = [
        f"{len(found)} {what}: {_some(found)}"
        for what, found in (
            ("unknown keys", unknown),
            ("missing keys (by their name in facekit)", missing),
            ("keys for the same tensor", twice),
            ("tensors of a wrong shape", misshapen),
        )
        if found
    ]
    if problems:
        raise ValueError(f"{source} does not fit {type(model).__name__}. " + ". ".join(problems))
    model.load_state_dict(renamed)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(str, names[:_SHOWN])) + more


def write_folder(folder: str | Path, write: Callable[[Path], Any], overwrite: bool = False) -> None:
    """Let `write` fill a folder beside `folder`, then rename it: `folder` is complete or as it was.

    Raises:
        FileExistsError: `folder` exists, is not an empty folder, and `overwrite` is not set.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and (overwrite or not any(folder.iterdir()))):
        raise FileExistsError(f"{folder} exists already; name another folder or allow overwriting")
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(4)
    part = folder.with_name(f".{folder.name}.{mark}.part")
    old = folder.with_name(f".{folder.name}.{mark}.old")
    try:
        part.mkdir()
        write(part)
        if folder.exists():
            folder.rename(old)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
