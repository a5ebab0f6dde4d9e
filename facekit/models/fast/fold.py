"""`fold`: a network's layers in their inference forms, and the one place where the form of a call is chosen."""

import operator
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, Self, TypeVar

import torch
from diffusers.utils.torch_utils import is_compiled_module
from torch import nn

from facekit.models.fast import ir_se, linear, modulated, residual, smart, style_fusion
from facekit.models.fast.view import Forms, View

FORMS: Forms = {
    **linear.FORMS,
    **modulated.FORMS,
    **smart.FORMS,
    **style_fusion.FORMS,
    **ir_se.FORMS,
    **residual.FORMS,
}

Module = TypeVar("Module", bound=nn.Module)
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Foldable(Protocol):
    """A network that has an inference form."""

    def fold(self) -> Self: ...


Network = TypeVar("Network", bound=Foldable)


def is_compiled(module: nn.Module) -> bool:
    """Whether `torch.compile(module)` gave the module, or `module.compile()` was called on it."""
    return is_compiled_module(module) or module._compiled_call_impl is not None


def is_as_built(module: nn.Module) -> bool:
    """Whether a module is of facekit or PyTorch and calling it does what its class says.

    Not so where somebody hooked, compiled, parametrised or replaced it, as adapters, offloading and casting do.
    """
    changed = (
        module._forward_hooks
        or module._forward_pre_hooks
        or "forward" in module.__dict__
        or module._compiled_call_impl is not None
    )
    return not changed and type(module).__module__.startswith(("facekit.models.", "torch.nn.modules."))


def is_wholly_as_built(module: nn.Module) -> bool:
    """`is_as_built` for a module and all of its parts."""
    for part in module._modules.values():
        if part is not None and not is_wholly_as_built(part):
            return False
    return is_as_built(module)


def fold(module: nn.Module) -> nn.Module:
    """The inference form of a layer, `FORMS`; or of the layers in it.

    Parts that are not as they were built stay in their place as they are.
    """
    form = FORMS.get(type(module))
    if form is not None and is_wholly_as_built(module):
        return form(module)
    if isinstance(module, View) or not is_as_built(module):
        return module
    return fold_parts(module)


def fold_parts(module: Module) -> Module:
    """The same module made of folded parts; it shares its own parameters and buffers. Itself where nothing folds."""
    parts = {name: None if part is None else fold(part) for name, part in module._modules.items()}
    if all(map(operator.is_, parts.values(), module._modules.values())):
        return module
    folded = object.__new__(type(module))
    folded.__dict__.update(vars(module), _modules=parts)
    return folded


def fold_without_gradients(
    forward: Callable[Concatenate[Network, Arguments], Result],
) -> Callable[Concatenate[Network, Arguments], Result]:
    """Decorator of a network's `forward`: calls that record no gradient compute with `self.fold()`.

    So training, and every search with gradients, runs the layers as they are defined, and pipelines their fast forms.
    A compiler sees the definition: it lays out memory and joins passes itself.
    """

    @wraps(forward)
    def choose(self: Network, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        defined = torch.is_grad_enabled() or torch.compiler.is_compiling()
        return forward(self if defined else self.fold(), *args, **kwargs)

    return choose


def to_channels_last(module: nn.Module) -> None:
    """Lay a network's kernels [out, in, k, k] out, in place, as convolutions of channels_last maps read them.

    It saves copying them at every call. Kernels that are stacked ([n, out, in, k, k]) are used in matrix products,
    as they lie. Values, shapes, and what `save_pretrained` writes stay the same.
    """
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
