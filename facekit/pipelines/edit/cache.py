"""Encodings that are kept from edit to edit, under keys made of everything that they depend on."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

SAMPLED = 64  # numbers of each tensor that stand for it in a key
CACHE_BYTES = 512 * 2**20
Row = tuple[torch.Tensor, ...]


class EditCache:
    """What the networks made of inputs that they saw before.

    Args:
        limit: bytes of tensors to keep; those that were not used for the longest time go first.
    """

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self.limit, self.used = limit, 0
        self._rows: OrderedDict[bytes, Row] = OrderedDict()

    def fetch(self, keys: Sequence[bytes], compute: Callable[[list[int]], list[Row]], most: int) -> list[Row]:
        """The entry of every key.

        Args:
            keys: what the entries are kept under; one may occur several times.
            compute: gives the entries of the keys at these places; called for those that are missing, each once.
            most: how many to compute at a time.
        """
        found = {key: self._rows[key] for key in keys if key in self._rows}
        missing = [place for place, key in enumerate(keys) if key not in found and key not in keys[:place]]
        for start in range(0, len(missing), most):
            part = missing[start : start + most]
            for place, row in zip(part, compute(part), strict=True):
                found[keys[place]] = row
        for key in dict.fromkeys(keys):
            self._keep(key, found[key])
        return [found[key] for key in keys]

    def clear(self) -> None:
        """Forget everything."""
        self._rows.clear()
        self.used = 0

    def forget(self, keys: Sequence[bytes]) -> None:
        """Forget some entries."""
        for key in keys:
            self.used -= _bytes(self._rows.pop(key, ()))

    def _keep(self, key: bytes, row: Row) -> None:
        if key not in self._rows:
            self.used += _bytes(row)
        self._rows[key] = row
        self._rows.move_to_end(key)
        while self.used > self.limit:
            _, old = self._rows.popitem(last=False)
            self.used -= _bytes(old)


def _bytes(row: Row) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in row)


def digest(*parts: np.ndarray | torch.Tensor | str | None) -> bytes:
    """A key of 20 bytes, which differs where the parts differ."""
    total = hashlib.blake2b(digest_size=20)
    for part in parts:
        if isinstance(part, torch.Tensor):
            part = part.detach().float().cpu().numpy()
        if isinstance(part, np.ndarray):
            total.update(f"{part.dtype}{part.shape}".encode())
            total.update(np.ascontiguousarray(part).data)
        else:
            total.update(repr(part).encode())
    return total.digest()


def key_of_weights(network: nn.Module) -> bytes:
    """A key that differs where the weights of a network do.

    PyTorch counts changes of a tensor, but not those through `.data`, by which diffusers' averages write. These are
    known by `SAMPLED` numbers of each tensor: whatever trains, averages or merges changes them too. A change through
    `.data` of single numbers between them is not seen, nor one while offloading keeps the weights elsewhere.
    """
    numbers, facts = [], []
    for name, tensor in network.state_dict(keep_vars=True).items():
        facts.append((name, tensor.dtype, tensor.shape, 0 if tensor.is_inference() else tensor._version))
        if not tensor.is_meta and tensor.numel():
            flat = tensor.detach().permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor.detach()
            # In the order of a channels_last kernel, or as it lies: never a copy of a large tensor.
            flat = flat if flat.is_contiguous() else tensor.detach()
            numbers.append(flat.reshape(-1)[:: -(-flat.numel() // SAMPLED)].float())
    return digest(repr(facts), torch.cat(numbers) if numbers else None)
