"""`nn.ModuleList` and `nn.ModuleDict` whose members' class a type checker knows; at run time they are PyTorch's own."""

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Generic, TypeVar, overload

    Layer = TypeVar("Layer", bound=nn.Module)

    class ModuleList(nn.ModuleList, Generic[Layer]):
        def __init__(self, modules: Iterable[Layer]) -> None: ...

        def __iter__(self) -> Iterator[Layer]: ...

        @overload
        def __getitem__(self, idx: slice) -> "ModuleList[Layer]": ...

        @overload
        def __getitem__(self, idx: int) -> Layer: ...

        def __getitem__(self, idx: int | slice) -> "Layer | ModuleList[Layer]": ...

    class ModuleDict(nn.ModuleDict, Generic[Layer]):
        def __init__(self, modules: Mapping[str, Layer]) -> None: ...

        def __getitem__(self, key: str) -> Layer: ...

else:
    ModuleList, ModuleDict = nn.ModuleList, nn.ModuleDict
