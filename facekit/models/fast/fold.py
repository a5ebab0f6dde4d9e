"""`fold` puts inference forms in place of a network's layers; a decorator chooses between the two at every call."""

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
    """Whether the module is what `torch.compile(module)` returned, or `module.compile()` was called on it."""
    return is_compiled_module(module) or module._compiled_call_impl is not None


def is_as_built(module: nn.Module) -> bool:
    """Whether a module is of a class of facekit or PyTorch, and calling it runs that class's `forward` and no more.

    It is not where somebody hooked, compiled, parametrised or replaced it, as adapters, offloading and casting do.
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
    """Give the inference form of a layer (`FORMS`) or, where it has none, the module with its layers in theirs.

    Parts that are not as they were built stay in their place as they are.
    """
    form = FORMS.get(type(module))
    if form is not None and is_wholly_as_built(module):
        return form(module)
    if isinstance(module, View) or not is_as_built(module):
        return module
    return fold_parts(module)


def fold_parts(module: Module) -> Module:
    """Give the same module made of folded parts, with the same parameters and buffers; itself if nothing folds."""
    parts = {name: None if part is None else fold(part) for name, part in module._modules.items()}
    if all(map(operator.is_, parts.values(), module._modules.values())):
        return module
    folded = object.__new__(type(module))
    folded.__dict__.update(vars(module), _modules=parts)
    return folded


def fold_without_gradients(
    forward: Callable[Concatenate[Network, Arguments], Result],
) -> Callable[Concatenate[Network, Arguments], Result]:
    """Decorate a network's `forward`, so that calls that record no gradient compute with `self.fold()`.

    Training, and every search with gradients, then runs the layers as they are defined, and pipelines run their fast
    forms. `torch.compile` sees the definitions: it lays out memory and joins passes itself.
    """

    @wraps(forward)
    def choose(self: Network, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        defined = torch.is_grad_enabled() or torch.compiler.is_compiling()
        return forward(self if defined else self.fold(), *args, **kwargs)

    return choose


def to_channels_last(module: nn.Module) -> None:
    """Put a network's kernels [out, in, k, k], in place, into channels_last, as convolutions of such maps read them.

    It saves a copy at every call. Stacked kernels [n, out, in, k, k] go into matrix products and stay as they are.
    Values, shapes, and what `save_pretrained` writes stay the same.
    """
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
