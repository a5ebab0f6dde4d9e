"""What the SMART layers of a network see at each distance (thesis Fig. 3.9)."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from facekit.models.layers.smart import DILATIONS, SMART, ThesisSMART


@dataclass(frozen=True)
class SmartMaps:
    """Feature maps of one SMART layer (Eq. 3.7).

    Attributes:
        dilated: F^1, F^2, F^4 and F^8 as the aggregation reads them, by their dilation; [B, C / 4, H, W] each, in the
            thesis's form [B, C, H, W].
        aggregated: the layer's output, [B, C, H, W].
    """

    dilated: dict[int, torch.Tensor]
    aggregated: torch.Tensor


def find_smart_layers(network: nn.Module) -> dict[str, SMART | ThesisSMART]:
    """The SMART layers of a network, of either form, by their names in it."""
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, SMART | ThesisSMART)}


@contextmanager
def collect_smart_maps(network: nn.Module) -> Iterator[dict[str, SmartMaps]]:
    """Collect the maps of every SMART layer of a network while the `with` block lasts.

    Meanwhile these layers compute as they are defined, which is slower and rounds differently; afterwards the network
    is as before. Of several calls the last one counts. A network that `torch.compile` made gives no maps.

    Yields:
        Maps by the layer's name in the network, in the order in which the layers run; filled by the network's call.
    """
    maps: dict[str, SmartMaps] = {}
    read: dict[str, torch.Tensor] = {}

    def watch(name: str, layer: SMART | ThesisSMART) -> None:
        def keep_dilated(aggregation: nn.Module, inputs: tuple[Any, ...]) -> None:
            read[name] = inputs[0].detach()

        def keep_aggregated(smart: nn.Module, inputs: Any, output: torch.Tensor) -> None:
            quarters = read.pop(name).chunk(len(DILATIONS), 1)
            maps.pop(name, None)
            maps[name] = SmartMaps(dict(zip(DILATIONS, quarters, strict=True)), output.detach())

        # What the aggregation reads is [F^1, F^2, F^4, F^8] in both forms.
        aggregation = layer.fusion if isinstance(layer, SMART) else layer.aggregation
        hooks.enter_context(aggregation.register_forward_pre_hook(keep_dilated))
        hooks.enter_context(layer.register_forward_hook(keep_aggregated))

    with ExitStack() as hooks:
        for name, layer in find_smart_layers(network).items():
            watch(name, layer)
        yield maps
