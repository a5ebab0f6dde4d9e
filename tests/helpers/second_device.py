"""A device beside the CPU for machines without one: its tensors meet those of the CPU only in copies.

Everything is computed by the CPU, on tensors that say they lie elsewhere, so that what an accelerator would refuse is
refused here: to mix tensors of two places, or to read a number where it is not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend


class _Module(_DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


_setup_privateuseone_for_python_backend(rename="second", backend_module=_Module())
DEVICE = torch.device("second:0")
# What may read one device and write another.
COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}


class Remote(torch.Tensor):
    """A tensor on `DEVICE`; `kept` is the CPU's tensor with its numbers."""

    kept: torch.Tensor

    @staticmethod
    def __new__(cls, data: torch.Tensor, requires_grad: bool = False) -> torch.Tensor:
        # Hooks make parameters anew by the type of the old one, on whatever device the numbers are then.
        return torch.nn.Parameter(data, requires_grad)

    @staticmethod
    def of(kept: torch.Tensor) -> "Remote":
        # A view of a normal tensor, taken in inference mode, is a normal one.
        with torch.inference_mode(False):
            made = torch.Tensor._make_wrapper_subclass(
                Remote,
                kept.size(),
                strides=kept.stride(),
                storage_offset=kept.storage_offset(),
                dtype=kept.dtype,
                device=DEVICE,
            )
        made.kept = kept
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, _types: Any, arguments: Any = (), options: Any = None) -> Any:
        return computed(function, arguments, options or {})

    def tolist(self) -> list:
        return self.kept.tolist()

    def __repr__(self) -> str:
        return f"Remote({self.kept!r})"


def computed(function: Any, arguments: tuple, options: dict[str, Any]) -> Any:
    """The result of an operation, on the device where it belongs. RuntimeError for tensors of two places."""
    given = [x for x in tree_flatten((arguments, options))[0] if isinstance(x, torch.Tensor)]
    remote = [x for x in given if isinstance(x, Remote)]
    if remote and function not in COPIES and any(x.ndim and not isinstance(x, Remote) for x in given):
        raise RuntimeError(f"{function} got tensors on {sorted({str(x.device) for x in given})}")
    device = options.get("device")
    there = bool(remote) if device is None else torch.device(device).type == DEVICE.type
    if function is torch.ops.aten.copy_.default:
        there = isinstance(arguments[0], Remote)
    if device is not None and there:
        options = options | {"device": "cpu"}
    owners = {id(x.kept): x for x in remote}

    def bare(x: Any) -> Any:
        return x.kept if isinstance(x, Remote) else x

    def placed(x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or not there:
            return x
        return owners[id(x)] if id(x) in owners else Remote.of(x)

    return tree_map(placed, function(*tree_map(bare, arguments), **tree_map(bare, options)))


class _Device(TorchDispatchMode):
    def __torch_dispatch__(self, function: Any, _types: Any, arguments: Any = (), options: Any = None) -> Any:
        with self:
            parts = function.decompose(*arguments, **options or {})
        return computed(function, arguments, options or {}) if parts is NotImplemented else parts


@contextmanager
def second_device() -> Iterator[torch.device]:
    """Inside it `DEVICE` can be used as any other."""
    with _Device():
        yield DEVICE


# Some of PyTorch's C++, the indexing by lists for one, makes and fills tensors of a device behind every mode's back.
_library = torch.library.Library("aten", "IMPL")


def _empty_strided(size: list[int], stride: list[int], dtype: torch.dtype | None = None, **_: Any) -> Remote:
    return Remote.of(torch.empty_strided(size, stride, dtype=dtype))


def _copy_from(source: torch.Tensor, target: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    there, here = (x.kept if isinstance(x, Remote) else x for x in (target, source))
    there.copy_(here)
    return target


_library.impl("empty_strided", _empty_strided, "PrivateUse1")
_library.impl("_copy_from", _copy_from, "PrivateUse1")
