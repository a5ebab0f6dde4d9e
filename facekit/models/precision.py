"""Half precision: what of a network stays in float32, and what does not fit."""

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
    """What computes in float32 in a network of half precision: its `_keep_in_fp32_modules`, and batch norm.

    Variances of features reach millions, beyond float16; normalising takes them beside half-precision maps.
    """
    parts = set(getattr(network, "_keep_in_fp32_modules", None) or ())
    return {
        path: tensor
        for path, module, tensor in _walk_tensors(network)
        if tensor.is_floating_point() and (isinstance(module, _BATCH_NORM) or parts & set(path.split(".")))
    }


def fits(tensor: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether finite numbers stay finite in `dtype`; what is no floating number fits, and what is not there."""
    if (
        not tensor.is_floating_point()
        or tensor.is_meta
        or torch.finfo(dtype).max >= torch.finfo(tensor.dtype).max
    ):
        return True
    return bool((tensor.to(dtype).isfinite() == tensor.isfinite()).all())


def check_fits(network: nn.Module, dtype: torch.dtype) -> None:
    """Raise ValueError where numbers of a network that cannot stay in float32 are too large for `dtype`."""
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
    """Give the weights, in place, the number type of a smaller file; such a network is for saving, not for calling.

    Running statistics of batch norm stay as they are, and so does what `dtype` cannot hold. Loading the file gives all
    numbers the type that is asked for then.
    """
    for _, module, tensor in _walk_tensors(network):
        statistics = isinstance(module, _BATCH_NORM) and not isinstance(tensor, nn.Parameter)
        if tensor.is_floating_point() and not statistics and fits(tensor, dtype):
            tensor.data = tensor.to(dtype)
