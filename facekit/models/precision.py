"""Half precision: which numbers of a network stay in float32, and which are too large for it."""

from collections.abc import Iterator

import torch
from torch import nn

from facekit.notes import Refusal

HALVES = (torch.float16, torch.bfloat16)
_BATCH_NORM = nn.modules.batchnorm._BatchNorm
_SHOWN = 5


def _walk_tensors(network: nn.Module) -> Iterator[tuple[str, nn.Module, torch.Tensor]]:
    """Path, owner and value of every parameter and buffer."""
    for path, module in network.named_modules():
        own = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        for name, tensor in own:
            yield f"{path}.{name}".lstrip("."), module, tensor


def find_kept_in_float32(network: nn.Module) -> dict[str, torch.Tensor]:
    """Find what stays in float32 when a network is in half precision: batch norm and its `_keep_in_fp32_modules`.

    Variances of features reach millions, beyond float16, and PyTorch's batch norm takes float32 parameters beside
    half-precision maps.

    Returns:
        Parameters and buffers by their path in the state dict.
    """
    parts = set(getattr(network, "_keep_in_fp32_modules", None) or ())
    return {
        path: tensor
        for path, module, tensor in _walk_tensors(network)
        if tensor.is_floating_point() and (isinstance(module, _BATCH_NORM) or parts & set(path.split(".")))
    }


def fits(tensor: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether all finite numbers of a tensor stay finite in `dtype`.

    Integers fit, and so do tensors without data (on the meta device).
    """
    if (
        not tensor.is_floating_point()
        or tensor.is_meta
        or torch.finfo(dtype).max >= torch.finfo(tensor.dtype).max
    ):
        return True
    return bool((tensor.to(dtype).isfinite() == tensor.isfinite()).all())


def check_fits(network: nn.Module, dtype: torch.dtype) -> None:
    """Refuse a number type that a network's numbers exceed, except those that stay in float32.

    Raises:
        Refusal: (a ValueError) parameters or buffers hold finite numbers that are infinite in `dtype`; it names them.
    """
    if dtype not in HALVES:
        return
    kept = find_kept_in_float32(network)
    large = [
        path for path, _, tensor in _walk_tensors(network) if path not in kept and not fits(tensor, dtype)
    ]
    if large:
        more = f" and {len(large) - _SHOWN} more" if len(large) > _SHOWN else ""
        raise Refusal(
            "beyond-dtype",
            "{network} does not fit {dtype}: {tensors} hold numbers beyond {most:g}",
            "Use torch.bfloat16 or torch.float32",
            network=type(network).__name__,
            dtype=dtype,
            tensors=", ".join(large[:_SHOWN]) + more,
            most=torch.finfo(dtype).max,
        )


@torch.no_grad()
def narrow_for_storing(network: nn.Module, dtype: torch.dtype) -> None:
    """Convert the weights to `dtype`, in place, for a smaller file. The network can then be saved, but not called.

    Running statistics of batch norm stay as they are, and so do tensors with numbers too large for `dtype`. Whoever
    loads the file chooses the number type anew.
    """
    for _, module, tensor in _walk_tensors(network):
        statistics = isinstance(module, _BATCH_NORM) and not isinstance(tensor, nn.Parameter)
        if tensor.is_floating_point() and not statistics and fits(tensor, dtype):
            tensor.data = tensor.to(dtype)
