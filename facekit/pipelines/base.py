"""Base class of facekit's pipelines: errors of the Hub that say what to do."""

import os
from collections.abc import Sequence
from itertools import product
from typing import Any, Self

import torch
from accelerate import cpu_offload
from accelerate.hooks import remove_hook_from_module
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from safetensors import SafetensorError

from facekit.hub.errors import explained
from facekit.models.precision import check_fits
from facekit.models.verified import VerifiedModelMixin


class FacekitPipeline(DiffusionPipeline):
    """DiffusionPipeline whose `from_pretrained` explains what went wrong with a download or a file."""

    _interrupt = False

    @property
    def interrupt(self) -> bool:
        """Whether the call that runs is to end after its present step; a callback sets it, or diffusers' `_interrupt`.

        Every call begins with False.
        """
        return self._interrupt

    @interrupt.setter
    def interrupt(self, ends: bool) -> None:
        self._interrupt = ends

    @property
    def components(self) -> dict[str, Any]:
        """All that the pipeline is made of: `type(pipe)(**pipe.components)` is one like it with the same networks.

        To diffusers' networks and schedulers it adds the values that are saved with the model.
        """
        _, saved = self._get_signature_keys(self)
        return super().components | {name: self.config[name] for name in saved}

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> "FacekitPipeline":
        """Load a pipeline from a folder or the Hub; all arguments are those of diffusers.

        Raises:
            OSError: there is no such model or file, or the download broke off.
            ValueError: files that are damaged, or of another pipeline.
        """
        try:
            return super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        except (
            SafetensorError,
            ArithmeticError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
        ) as error:
            if isinstance(error, torch.OutOfMemoryError | NotImplementedError):
                raise
            raise ValueError(
                f"The model {pretrained_model_name_or_path} cannot be loaded: its files are damaged, or of something "
                f"else ({type(error).__name__}: {str(error)[:500]})."
            ) from error

    @classmethod
    def download(cls, pretrained_model_name: str, **kwargs: Any) -> str:
        """Download a pipeline, or find it in the cache; all arguments are those of diffusers.

        Raises:
            OSError: there is no such model or revision, no access to it, the Hub cannot be reached, or the
                download broke off.
        """
        with explained(pretrained_model_name, kwargs.get("revision")):
            return super().download(pretrained_model_name, **kwargs)

    def enable_sequential_cpu_offload(
        self, gpu_id: int | None = None, device: torch.device | str | None = None
    ) -> None:
        """Keep the weights on the CPU; each layer's come to the device for the time that it computes.

        Least memory, and slow. Arguments and errors are diffusers'. Layers that read the weights of their own parts
        come as a whole.
        """
        super().enable_sequential_cpu_offload(gpu_id, device)
        for network in self.components.values():
            whole = getattr(network, "_no_split_modules", None)
            if whole and hasattr(network, "_hf_hook"):
                remove_hook_from_module(network, recurse=True)
                cpu_offload(network, self._offload_device, preload_module_classes=whole)

    def enable_group_offload(
        self,
        onload_device: torch.device,
        *options: Any,
        exclude_modules: str | Sequence[str] | None = None,
        **named_options: Any,
    ) -> None:
        """Keep groups of layers on the CPU between their calls; arguments are diffusers'.

        Raises:
            ValueError: a network, not among `exclude_modules`, has layers that read the weights of their own parts;
                diffusers' groups cannot hold those together. Nothing is changed then.
        """
        excluded = [exclude_modules] if isinstance(exclude_modules, str) else list(exclude_modules or ())
        whole = [
            name
            for name, network in self.components.items()
            if name not in excluded and getattr(network, "_no_split_modules", None)
        ]
        if whole:
            raise ValueError(
                f"group offloading takes layers apart that {', '.join(whole)} cannot do without. Call "
                "enable_model_cpu_offload() instead, or enable_sequential_cpu_offload(), which needs less memory and "
                "more time."
            )
        super().enable_group_offload(onload_device, *options, exclude_modules=excluded, **named_options)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """Move the networks to a device or number type, or both; all arguments are those of diffusers.

        In half precision they compute as after `from_pretrained(dtype=...)`.

        Raises:
            ValueError: a network holds numbers that are too large for float16. Nothing is changed then.
        """
        dtypes = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.dtype)]
        networks = [part for part in self.components.values() if isinstance(part, VerifiedModelMixin)]
        for dtype, network in product(dtypes, networks):
            check_fits(network, dtype)
        return super().to(*args, **kwargs)

    @staticmethod
    def check_counts(**counts: Any) -> None:
        """Raise ValueError, naming the argument, where a count is no whole number of 1 or more."""
        for name, value in counts.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; it must be a whole number, 1 or more.")

    def check_callback_inputs(self, names: Sequence[str]) -> None:
        """Raise ValueError where a callback asks for tensors that this pipeline does not hand out."""
        unknown = [name for name in names if name not in self._callback_tensor_inputs]
        if unknown:
            raise ValueError(
                f"callback_on_step_end_tensor_inputs has {unknown}; "
                f"known are {list(self._callback_tensor_inputs)}."
            )
