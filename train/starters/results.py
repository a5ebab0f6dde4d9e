"""Results of a trained family: a folder for each model, as `facekit push` takes it, and a table of stages."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import torch
from diffusers.utils import logging
from torch import nn

import facekit
from facekit.models.precision import narrow_for_storing
from facekit.pipelines.sample import CODES_FILE
from train.data.images import ImageSource
from train.engine.checkpoints import write_folder
from train.engine.stage import Network, load_component, load_scheduler
from train.starters import sheets
from train.starters.cards import Pictures, compose_card, take_last_part
from train.starters.family import Family, StagePlan, holds
from train.starters.history import History, format_family, is_there, read_chain
from train.starters.kinds import KINDS, PRIOR, Kind


def write_results(family: Family, plans: Sequence[StagePlan]) -> list[Path]:
    """Write `OUTPUT/NAME` for every model whose stages were finished or given, and `OUTPUT/table.md`.

    Earlier folders are replaced. The networks are the best ones of each stage where it was scored, else the last.

    Args:
        plans: the stages of this launch, whose minutes stand in the table.

    Returns:
        The folders written.

    Raises:
        OSError: the disk is full, or the pictures are no longer there.
    """
    family.output.mkdir(parents=True, exist_ok=True)
    (family.output / "table.md").write_text(format_family(family, plans))
    print(f"wrote {family.output / 'table.md'}")
    pictures, written = count_pictures(family), []
    for kind in KINDS:
        final = next((stage for stage in kind.completing if is_there(family, stage)), None)
        if final is None:
            continue
        missing = find_missing(kind, family, final)
        if missing:
            print(f"no {kind.name(family.size)}: there is no {' and no '.join(missing)} for it")
            continue
        folder = family.output / kind.name(family.size)
        write_folder(folder, Model(kind, family, final, pictures).write)
        print(f"wrote {folder}", flush=True)
        written.append(folder)
    return written


def count_pictures(family: Family) -> Pictures:
    """Count the pictures, used, excluded and held out."""
    rows = ImageSource(dict(family.data), exclude=family.exclude).load()
    every = ImageSource(dict(family.data)).load() if family.exclude else rows
    validation = None
    if family.validation is not None:
        held_out = ImageSource(family.validation, family.validation_split).load()
        validation = (take_last_part(family.validation), len(held_out))
    return Pictures(
        counts=[
            (take_last_part(folder), len(part)) for folder, part in zip(family.data, rows.parts, strict=True)
        ],
        weights=list(family.data.values()),
        left_out=len(every) - len(rows),
        excluded=family.exclude,
        validation=validation,
    )


def find_sources(kind: Kind, family: Family, final: str) -> list[Path]:
    """Find the folders to look for a model's networks in: that of the stage `final`, then those of its others."""
    others = [*reversed(kind.finals[:-1]), "autoencoder"]
    return [family.find_result(stage) for stage in (final, *others)]


def find_missing(kind: Kind, family: Family, final: str) -> list[str]:
    """Find what a model lacks to be written: names of networks, or "scheduler"."""
    folders = find_sources(kind, family, final)
    if kind.pipeline_class is None:
        return [] if holds(folders[0], "prior", "StyleGAN2Generator") else ["prior"]
    spared = kind.pipeline_class._optional_components
    wanted = {name: network for name, network in find_networks(kind).items() if name not in spared}
    missing = [name for name, network in wanted.items() if find_source(folders, name, network) is None]
    if kind.method == "restore" and not any((folder / "scheduler").is_dir() for folder in folders):
        missing.append("scheduler")
    return missing


def find_networks(kind: Kind) -> dict[str, type[nn.Module]]:
    """The classes of a pipeline's networks by their names in it, as its `__init__` is annotated."""
    found = {}
    for name, hint in get_type_hints(kind.pipeline_class.__init__).items():
        for part in get_args(hint) or (hint,):  # of several the first
            if issubclass(part, nn.Module):
                found.setdefault(name, part)
    return found


def find_source(folders: Sequence[Path], name: str, network: type[Network]) -> Path | None:
    """Find the first folder that has a network of a name and class, or None."""
    return next((folder for folder in folders if holds(folder, name, network.__name__)), None)


class Model:
    """One model of a family, ready to be written.

    Args:
        final: the stage that has all of its networks.
        pictures: that the family was trained on.
    """

    def __init__(self, kind: Kind, family: Family, final: str, pictures: Pictures) -> None:
        self.kind, self.family, self.final, self.pictures = kind, family, final, pictures
        self.folders = find_sources(kind, family, final)
        others = {stage for other in KINDS if other is not kind for stage in other.finals}
        finals = [*kind.finals[:-1], final]
        chains = [read_chain(family, stage, sorted(others)) for stage in finals]
        self.chains: list[list[History]] = [found for found in chains if found]

    def write(self, folder: Path) -> None:
        """Write networks, curves, contact sheet and card into a new folder; the sheet is made by what was written."""
        folder.mkdir(parents=True)
        if self.kind.pipeline_class is None:
            self._write_prior(folder)
        else:
            self._write_pipeline(folder)
        forget_places(folder)
        self._write_sheet(folder)
        training = folder / "training"
        for history in (history for found in self.chains for history in found):
            curves = self.family.folder(history.stage) / "curves.jsonl"
            if curves.is_file():
                training.mkdir(exist_ok=True)
                shutil.copyfile(curves, training / f"curves-{history.stage}.jsonl")
        faces = (
            "the mirrored photo" if self._prior() is None else f"samples of `{PRIOR.name(self.family.size)}`"
        )
        drawn = sheets.save_curves(self.chains, folder / "curves.png")
        weights = [file for file in folder.rglob("*.safetensors") if file.name != CODES_FILE]
        text = compose_card(
            self.kind,
            self.family,
            self.pictures,
            self.chains,
            megabytes=sum(file.stat().st_size for file in weights) / 1e6,
            parameters=self.parameters,
            curves=drawn,
            faces=faces,
            codes=(folder / CODES_FILE).is_file(),
        )
        (folder / "README.md").write_text(text)

    def _write_prior(self, folder: Path) -> None:
        source = self.folders[0]
        prior = halve(load_component(facekit.StyleGAN2Generator, str(source), "prior"))
        self.parameters = count_parameters(prior)
        prior.save_pretrained(folder)
        codes = [source / "prior" / CODES_FILE, source / CODES_FILE]
        found = next((file for file in codes if file.is_file()), None)
        if found is not None:
            shutil.copyfile(found, folder / CODES_FILE)

    def _write_pipeline(self, folder: Path) -> None:
        parts = {name: self._load(name, network) for name, network in find_networks(self.kind).items()}
        if self.kind.method == "restore":
            source = next(source for source in self.folders if (source / "scheduler").is_dir())
            parts["scheduler"] = load_scheduler(str(source))
        networks = [part for part in parts.values() if isinstance(part, nn.Module)]
        self.parameters = sum(map(count_parameters, networks))
        options = {**self.kind.options, **read_options(self.folders[0], self.kind.trained)}
        self.kind.pipeline_class(**parts, **options).save_pretrained(folder)

    def _load(self, name: str, network: type[Network]) -> Network | None:
        """A network in half precision; None where no folder has it."""
        folders = self.folders
        if name == "face_parser":
            folders = [*folders, Path(self.family.parser)]
        if name == "directions":
            folders = [*folders, self.family.find_result("directions")]
        source = find_source(folders, name, network)
        return None if source is None else halve(load_component(network, str(source), name))

    def _write_sheet(self, folder: Path) -> None:
        """`samples.png`, by the networks as they stand in the folder."""
        path, method, size = folder / "samples.png", self.kind.method, self.family.size
        if not method:
            sheets.save_prior_sheet(folder, path)
            return
        with silence_loading():
            pipeline = self.kind.pipeline_class.from_pretrained(folder)
        pipeline.set_progress_bar_config(disable=True)
        if method == "restore":
            sheets.save_restore_sheet(pipeline, size, path)
        elif method == "inpaint":
            sheets.save_inpaint_sheet(pipeline, size, path)
        else:
            draw = sheets.save_exemplar_sheet if method == "exemplar" else sheets.save_edit_sheet
            draw(pipeline, size, self._prior(), path)

    def _prior(self) -> Path | None:
        """The family's prior as it was written just before, or None where it has none."""
        folder = self.family.output / PRIOR.name(self.family.size)
        return folder if is_there(self.family, "autoencoder") and folder.is_dir() else None


def read_options(folder: Path, names: Sequence[str]) -> dict[str, Any]:
    """Options of those names that a stage's pipeline folder holds; none where it is a folder of networks alone."""
    index = folder / "model_index.json"
    stored = json.loads(index.read_text()) if index.is_file() else {}
    return {name: stored[name] for name in names if name in stored}


@contextlib.contextmanager
def silence_loading() -> Iterator[None]:
    """Keep diffusers' progress bars out of the log, while the context lasts."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def halve(network: Network) -> Network:
    """Copy a network with weights in half precision (see `narrow_for_storing`), without the path it was loaded from."""
    # Not where it was loaded from, nor diffusers' note of arguments that it takes for defaults.
    config = {key: value for key, value in network.config.items() if not key.startswith("_")}
    copy = type(network).from_config(config)
    copy.load_state_dict(network.state_dict())
    narrow_for_storing(copy, torch.float16)
    return copy.eval()


def count_parameters(network: nn.Module) -> int:
    """Count the numbers in all parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def forget_places(folder: Path) -> None:
    """Take the paths that networks were loaded from out of all configurations in a folder."""
    for file in folder.rglob("*.json"):
        values = json.loads(file.read_text())
        if isinstance(values, dict) and values.pop("_name_or_path", None) is not None:
            file.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
