"""Semantic maps of pictures that have none, made by a face parser before a table's inputs are (thesis 6.2.6, 6.3.1).

OUT/semantic/DATA/NAME.png        class numbers, gray
OUT/semantic/DATA/parser.json     what made them; a run that goes on must say the same
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from facekit_cli.errors import UsageError
from facekit_cli.evaluation.data import Pictures
from facekit_cli.evaluation.tables import Table
from facekit_cli.results import save_picture, write_json

PARSED_AT_ONCE = 8


@dataclass(frozen=True, eq=False)
class MissingMaps:
    """Maps that a parser is to make.

    Attributes:
        pictures: the collection.
        indices: which of its pictures have no map.
        folder: where the maps will lie, `OUT/semantic/DATA`.
    """

    pictures: Pictures
    indices: tuple[int, ...]
    folder: Path

    def describe(self, parser: str) -> str:
        """A sentence for the table's notes."""
        own = len(self.pictures) - len(self.indices)
        besides = f" ({own} have their own)" if own else ""
        return (
            f"Semantic maps of {len(self.indices)} pictures of {self.pictures.name}{besides} are those of the parser "
            f"{Path(parser).name}, in the folder semantic/{self.folder.name} of the output."
        )


def needs_maps(table: Table) -> bool:
    """Whether a table's inputs show semantic maps or their mean colours, or have holes that are made of regions."""
    spoken = {part for modalities in table.modalities for part in modalities.split("+")}
    mixed = any(condition.hole == "mix" for condition in table.conditions)
    return mixed or bool(spoken & {"Se", "Co"})


def plan_maps(pictures: Pictures, home: Path) -> tuple[Pictures, MissingMaps | None]:
    """The collection with a place below `home` for the map of each picture that has none, and what is to be made."""
    indices = tuple(i for i, file in enumerate(pictures.files) if file.stem not in pictures.maps)
    if not indices:
        return pictures, None
    folder = home / "semantic" / pictures.name
    stems = [pictures.files[index].stem for index in indices]
    made = {stem: folder / f"{stem}.png" for stem in stems}
    pictures = replace(pictures, maps=pictures.maps | made)
    return pictures, MissingMaps(pictures, indices, folder)


def make_maps(missing: Sequence[MissingMaps], parser: str, device: str, overwrite: bool = False) -> None:
    """Write all maps that are not there yet.

    Args:
        parser: see `facekit.conditions.semantics.load_parser`.

    Raises:
        UsageError: the parser cannot be loaded, or maps of another one are there; nothing is written then.
    """
    from tqdm import tqdm

    records = [
        {"parser": parser, "size": part.pictures.size, "data": str(part.pictures.folder.resolve())}
        for part in missing
    ]
    todo: list[tuple[MissingMaps, int]] = []
    for part, record in zip(missing, records, strict=True):
        file = part.folder / "parser.json"
        before = json.loads(file.read_text()) if file.is_file() else record
        if before != record and not overwrite:
            raise UsageError(
                f"{part.folder} holds maps made from {before}, now it is {record}; name another folder, or start over "
                "with --overwrite"
            )
        todo += [
            (part, index)
            for index in part.indices
            if overwrite or not (part.folder / f"{part.pictures.files[index].stem}.png").is_file()
        ]
    if not todo:
        return
    import torch

    from facekit.conditions.semantics import load_parser, parse

    try:
        network = load_parser(parser)
    except (OSError, ImportError, ValueError) as error:
        raise UsageError(f"the parser {parser} cannot be loaded: ", error) from error
    network.to(device)
    for part, record in zip(missing, records, strict=True):
        write_json(record, part.folder / "parser.json")
    for first in tqdm(range(0, len(todo), PARSED_AT_ONCE), desc="semantic maps", unit="batch"):
        batch = todo[first : first + PARSED_AT_ONCE]
        pixels = np.stack([part.pictures.read(index) for part, index in batch])
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(device, torch.float32) / 127.5 - 1
        for (part, index), labels in zip(batch, parse(network, images).cpu().numpy(), strict=True):
            file = part.folder / f"{part.pictures.files[index].stem}.png"
            save_picture(Image.fromarray(labels.astype(np.uint8)), file)
