"""Deterministic checkpoints and reference outputs for the parity tests.

Compact data lies in `tests/data/parity/<method>`; the full goldens beside the checkout, where they exist.
"""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file

PARITY = Path(__file__).resolve().parents[1] / "data" / "parity"

_spec = importlib.util.spec_from_file_location("parity_fill", PARITY / "fill.py")
fill = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fill)


def filled(
    manifest: Path, prefix: str = "", wanted: Callable[[str], bool] = lambda key: True, seed: int = 0
) -> dict[str, torch.Tensor]:
    """The state dict of `manifest`: keys below `prefix`, without it, as far as they are `wanted`."""
    literals_file = manifest.with_name(f"{manifest.stem}.literals.seed{seed}.safetensors")
    literals = load_file(literals_file) if literals_file.exists() else {}
    state = {}
    for entry in json.loads(manifest.read_text()):
        name = entry["key"].removeprefix(prefix)
        if not entry["key"].startswith(prefix) or not wanted(name):
            continue
        if entry["kind"] == "literal":
            state[name] = literals[entry["key"]]
            continue
        value = torch.zeros(entry["shape"])
        if entry["kind"] != "zeros":
            value = fill.draw(entry["key"], entry["shape"], seed)
            value = value.abs_() if entry["kind"] == "positive" else value
            value = value.mul_(entry["std"]).add_(entry["mean"])
        state[name] = value.to(getattr(torch, entry["dtype"]))
    return state
