"""Base class of facekit's networks: `from_pretrained` that refuses damaged downloads, `to`, and `fold`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from diffusers.configuration_utils import ConfigMixin
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils import CONFIG_NAME
from huggingface_hub import try_to_load_from_cache
from torch import nn

from facekit.hub.cache import check_downloads
from facekit.hub.errors import explain_errors
from facekit.models.fast.fold import fold_parts
from facekit.models.precision import HALVES, check_fits, find_kept_in_float32

# Maps with which diffusers may lay parts of a network on several devices, or on none.
SPREADING = ("auto", "balanced", "balanced_low_0", "sequential")


class VerifiedModelMixin(ModelMixin, ConfigMixin):
    """diffusers' ModelMixin; files from the Hub must have the digests that the Hub announced.

    Class attributes that diffusers and accelerate read:

    * `_no_split_modules`: classes of layers that read weights of their parts without calling these parts. Whatever
      moves weights to a device piece by piece must move such a layer as a whole.
    * `_keep_in_fp32_modules`: names of attributes that stay in float32 when the network goes to half precision.
    """

    config: Any  # of diffusers' FrozenDict, whose values are attributes, too
    config_name = CONFIG_NAME  # type: ignore[assignment]  # diffusers' types know only the None of its bases
    _no_split_modules: list[str] = []  # type: ignore[assignment]  # the same
    _keep_in_fp32_modules: list[str]  # type: ignore[assignment]  # the same

    @classmethod
    def from_pretrained(  # type: ignore[override]  # nothing can be loaded from None
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> Self:
        """Load a network from a folder or from the Hub; all arguments are those of diffusers.

        For float16 and bfloat16 the weights are loaded in float32 and converted by `to`.

        Raises:
            OSError: there is no such model, the Hub cannot be reached, or a downloaded file does not have the digest
                that the Hub announced.
            ValueError: weights are too large for float16.
        """
        dtype = kwargs.get("dtype") or kwargs.get("torch_dtype")
        device_map = kwargs.get("device_map")
        spread = device_map in SPREADING or (isinstance(device_map, dict) and set(device_map) != {""})
        if dtype not in HALVES or spread or kwargs.get("quantization_config") is not None:
            return cls._load(pretrained_model_name_or_path, **kwargs)
        kwargs.pop("torch_dtype", None)
        loaded: Any = cls._load(pretrained_model_name_or_path, **kwargs | {"dtype": torch.float32})
        if isinstance(loaded, tuple):  # with output_loading_info
            return loaded[0].to(dtype), *loaded[1:]  # type: ignore[return-value]  # as diffusers does
        return loaded.to(dtype)

    @classmethod
    def _load(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> Self:
        subfolder = kwargs.get("subfolder") or ""
        folder = Path(pretrained_model_name_or_path, subfolder)
        if folder.is_dir():
            # Before loading: a pipeline passes its folder of the Hub's cache.
            check_downloads(folder)
            return super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        try:
            ask = not kwargs.get("local_files_only")
            with explain_errors(pretrained_model_name_or_path, kwargs.get("revision"), ask=ask) as options:
                return super().from_pretrained(pretrained_model_name_or_path, **kwargs | options)
        finally:
            # A damaged file may load, or fail with an error that does not tell why.
            config = try_to_load_from_cache(
                str(pretrained_model_name_or_path),
                f"{subfolder}/{CONFIG_NAME}".lstrip("/"),
                cache_dir=kwargs.get("cache_dir"),
                revision=kwargs.get("revision"),
            )
            if isinstance(config, str):
                check_downloads(Path(config).parent)

    def to(self, *args: Any, **kwargs: Any) -> Self:  # type: ignore[override]  # diffusers' wrapper hides `self`
        """`torch.nn.Module.to`, but in half precision batch norm and `_keep_in_fp32_modules` stay in float32.

        Raises:
            ValueError: one of the other numbers is too large for float16. Nothing has changed then.
        """
        given = [*args, *kwargs.values()]
        dtype = next((value for value in given if isinstance(value, torch.dtype)), None)
        like = next((value for value in given if isinstance(value, torch.Tensor)), None)
        if like is not None:
            return self.to(like.device, like.dtype, non_blocking=any(value is True for value in given))
        if dtype is None or getattr(self, "is_quantized", False):
            return super().to(*args, **kwargs)
        check_fits(self, dtype)
        # diffusers' method warns that nothing would stay in float32: it gets the rest of the arguments.
        nn.Module.to(self, dtype)
        kwargs = {
            name: value
            for name, value in kwargs.items()
            if name != "dtype" and (name, value) != ("device", None)
        }
        if any(value is True for value in args):  # non_blocking, which had its place behind the number type
            kwargs["non_blocking"] = True
        args = tuple(v for v in args if v is not None and not isinstance(v, torch.dtype | bool))
        return super().to(*args, **kwargs) if args or kwargs else self

    @torch.no_grad()
    def fold(self) -> Self:
        """Give the network's inference form: the same function, for calls without gradients (`facekit.models.fast`).

        It shares the network's weights unless the network's own `fold` says otherwise. Layers that somebody hooked,
        compiled or replaced stay as they are. Where nothing can be folded, the network itself is returned.
        """
        return fold_parts(self)

    def half(self) -> Self:
        """`to(torch.float16)`."""
        return self.to(torch.float16)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        # All ways to another number type end here, those of a module around this one too.
        kept = find_kept_in_float32(self).values()
        places = {id(tensor) for one in kept for tensor in (one, one.grad) if tensor is not None}

        def apply(tensor: torch.Tensor) -> torch.Tensor:
            applied = fn(tensor)
            if id(tensor) not in places or applied.dtype not in HALVES:
                return applied
            return torch.empty_like(applied, dtype=torch.float32).copy_(tensor)

        return super()._apply(apply, recurse)
