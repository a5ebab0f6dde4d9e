"""What a run does: which pictures of which collection, under which condition, by which rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from facekit.hub.starters import starter
from facekit_cli.errors import UsageError
from facekit_cli.evaluation.data import Pictures
from facekit_cli.evaluation.inputs import Case, caption_of, make_case
from facekit_cli.evaluation.maps import MissingMaps, needs_maps, plan_maps
from facekit_cli.evaluation.pairs import PAIRS, Partners, Poses, describe_pairing, pair_pictures
from facekit_cli.evaluation.participants import OutputFolder, Participant, Row, plain_options, rows_of
from facekit_cli.evaluation.poses import read_poses
from facekit_cli.evaluation.tables import Condition, Pairing, Table
from facekit_cli.evaluation.templates import LARGE, bands_of, describe_bands, find_templates

NAMED = 5  # pictures whose names a message or note lists


@dataclass(frozen=True, eq=False)
class InputSet:
    """One collection under one condition and seed.

    Attributes:
        key: its folder, such as "faces/10-20" or "all".
        inner: the same within the collection, such as "10-20" or "all".
        indices: which pictures of the collection; those without an exemplar are left out, and where a row reads texts
            those without a caption may be.
        run: number of the seed.
        templates: pictures of holes by the names of bands, see `make_case`.
    """

    key: str
    inner: str
    table: Table
    pictures: Pictures
    condition: Condition
    run: int
    indices: tuple[int, ...]
    partners: Partners | None
    seed: int
    templates: Mapping[str, Sequence[Path]] = field(default_factory=dict)

    def case(self, place: int, modalities: str | None = None) -> Case:
        """The inputs of the picture at `place` of `indices`."""
        return make_case(
            self.table,
            self.condition,
            self.pictures,
            self.indices[place],
            partners=self.partners,
            modalities=modalities,
            templates=self.templates,
            seed=self.seed,
            run=self.run,
        )

    @property
    def names(self) -> list[str]:
        """File names without ending."""
        return [self.pictures.files[index].stem for index in self.indices]


@dataclass(frozen=True, eq=False)
class Plan:
    """A table, its rows and its sets of inputs.

    Attributes:
        given: the files of rows that are folders of outputs.
        notes: what a reader of the table must know of this run.
        settings: what the inputs depend on, beyond data, seed, size and captions, as JSON has it.
        missing: semantic maps that must be made before any inputs are, see `make_maps`.
        size_origin: where the side of the pictures comes from, in words.
    """

    table: Table
    rows: tuple[Row, ...]
    sets: tuple[InputSet, ...]
    given: dict[tuple[str, str], list[Path]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    missing: tuple[MissingMaps, ...] = ()
    size_origin: str = ""

    def tasks(self) -> list[tuple[Row, InputSet, int]]:
        """Everything that pipelines have to make, in the order of rows."""
        rows = (row for row in self.rows if row.participant.kind == "pipeline")
        return [(row, s, place) for row in rows for s in self.sets for place in range(len(s.indices))]


def make_plan(
    table: Table,
    data: Sequence[Pictures],
    participants: Sequence[Participant],
    *,
    seed: int = 0,
    runs: int | None = None,
    masks: Path | None = None,
    exports: bool = False,
    skip_uncaptioned: bool = False,
    size_origin: str = "",
    pairing: Pairing | None = None,
    poses: Path | None = None,
    pairs: int | None = None,
    parser: str | None = None,
    home: Path | None = None,
) -> Plan:
    """Settle rows and inputs; nothing is made yet.

    Args:
        masks: folder with pictures of holes, see `find_templates`; None: holes are drawn.
        pairing: "reversed" or "random" exemplars; None: as the table says.
        poses: file of angles for pairs of similar pose, see `read_poses`; None: poses are estimated.
        pairs: so many of the most similar pairs; None: 550.
        parser: makes semantic maps where there are none; None: the bundled starter.
        home: the output folder, below which such maps will lie; None: pictures must have their maps.
        exports: all inputs of the table are written, also those that no row reads.
        skip_uncaptioned: leave pictures without a caption out where texts are read, instead of refusing.
        size_origin: where the side of the pictures comes from, in words.

    Raises:
        UsageError: methods that do not fit, outputs, semantic maps or captions that are missing, pictures that do not
            pair.
    """
    notes: list[str] = _note_options(participants)
    if table.wordless and not any(
        caption_of(pictures, index) for pictures in data for index in range(len(pictures))
    ):
        table = replace(table, modalities=tuple(m for m in table.modalities if "Te" not in m.split("+")))
        notes.append(
            "No picture has a caption: rows with words (+Te) are left out. --captions FILE names texts."
        )
    rows = tuple(rows_of(table, participants))
    if len({pictures.name for pictures in data}) < len(data):
        raise UsageError("two --data folders have the same name; say --data NAME=FOLDER")
    runs = table.runs if runs is None else runs
    pairing, alike = _settle_pairing(table, pairing, poses, pairs)
    templates = find_templates(masks, table.conditions)
    sets: list[InputSet] = []
    missing: list[MissingMaps] = []
    parser = starter("face-parser") if parser is None else parser
    for pictures in data:
        if needs_maps(table):
            pictures, lacking = _find_maps(table, pictures, home)
            missing += lacking
            notes += [part.describe(parser) for part in lacking]
        try:
            partners = pair_pictures(pictures, pairing, seed, alike)
        except ValueError as error:
            raise UsageError(error) from error
        if pairing is not None and partners is not None:
            notes.append(describe_pairing(pictures, pairing, partners, alike))
        indices = tuple(i for i in range(len(pictures)) if partners is None or i in partners)
        if _reads_texts(table, rows, exports):
            indices, left_out = _keep_captioned(table, pictures, indices, skip_uncaptioned)
            notes += left_out
        for condition in table.conditions:
            for run in range(runs):
                parts = [condition.name.rstrip("%").lower()] if len(table.conditions) > 1 else []
                parts += [f"run-{run + 1}"] if runs > 1 else []
                inner = "/".join(parts) or "all"
                key = "/".join([pictures.name, *parts]) if len(data) > 1 else inner
                sets.append(
                    InputSet(key, inner, table, pictures, condition, run, indices, partners, seed, templates)
                )
    notes += describe_bands(table.conditions, templates, masks)
    bands = bands_of(table.conditions)
    settings = {
        "masks": None if masks is None else str(masks.resolve()),
        "large_holes": "cmod" if any(b.low >= LARGE and b.name not in templates for b in bands) else None,
        "pairing": pairing,
        "poses": None if poses is None else str(poses.resolve()),
        "pairs": alike.pairs if pairing == "pose" else None,
        "parser": parser if missing else None,
    }
    notes = list(dict.fromkeys(notes))
    plan = Plan(
        table,
        rows,
        tuple(sets),
        notes=tuple(notes),
        settings=settings,
        missing=tuple(missing),
        size_origin=size_origin,
    )
    for row in rows:
        if row.participant.kind == "outputs":
            for pictures in data:
                own = [s for s in sets if s.pictures.name == pictures.name]
                plan.given.update(_outputs(row, own, len(data) > 1))
    return plan


def _settle_pairing(
    table: Table, pairing: Pairing | None, poses: Path | None, pairs: int | None
) -> tuple[Pairing | None, Poses]:
    """How pictures get exemplars, and how similar poses are found. UsageError for what the table has no use for."""
    if pairing is not None and table.pairing in (None, "pose"):
        why = "has no exemplars" if table.pairing is None else "pairs pictures of similar pose"
        raise UsageError(f"--pairing {pairing} does not fit: table {table.name} {why}")
    if table.pairing != "pose" and (poses is not None or pairs is not None):
        option = "--pairs" if poses is None else "--poses"
        raise UsageError(f"{option} is for tables of pairs of similar pose, and table {table.name} is none")
    most = PAIRS if pairs is None else pairs
    if poses is None:
        return pairing or table.pairing, Poses(pairs=most)
    try:
        return table.pairing, Poses(read_poses(poses), poses.name, most)
    except ValueError as error:
        raise UsageError(error) from error


def _outputs(row: Row, sets: Sequence[InputSet], several_data: bool) -> dict[tuple[str, str], list[Path]]:
    """The files of a folder of outputs for the sets of one collection; a folder of its own holds no others."""
    own = bool(row.participant.places) or not several_data
    source = row.participant.at(sets[0].pictures.name).source
    folder = OutputFolder(source, [s.inner if own else s.key for s in sets], own)
    return {(row.label, s.key): folder.find(s.inner if own else s.key, s.names) for s in sets}


def _note_options(participants: Sequence[Participant]) -> list[str]:
    """Say which additions to the networks' pictures are off."""
    off = dict.fromkeys(name for participant in participants for name in plain_options(participant))
    if not off:
        return []
    listed = " and ".join(f"{name}=0" for name in off)
    return [
        f"The networks' own pictures are measured, as in the thesis: {listed}. An option of a method says "
        f"otherwise, such as --method NAME=MODEL?{next(iter(off))}=1."
    ]


def _reads_texts(table: Table, rows: Sequence[Row], exports: bool) -> bool:
    spoken = [row.modalities or "" for row in rows] + (list(table.modalities) if exports else [])
    return any("Te" in modalities.split("+") for modalities in spoken)


def _keep_captioned(
    table: Table, pictures: Pictures, indices: tuple[int, ...], skip: bool
) -> tuple[tuple[int, ...], list[str]]:
    """The pictures that have a caption, and a note on those that were left out. Raises UsageError without `skip`."""
    missing = [index for index in indices if caption_of(pictures, index) is None]
    if not missing:
        return indices, []
    names = [pictures.files[index].name for index in missing]
    first = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
    kept = tuple(index for index in indices if index not in missing)
    if not skip or not kept:
        advice = ", or say --skip-uncaptioned to leave them out of all rows" if kept else ""
        raise UsageError(
            f"table {table.name} reads texts, and {len(names)} of {len(indices)} pictures in {pictures.folder} have no "
            f"caption: {first}. Name their texts with --captions FILE, write them as caption into "
            f"{pictures.folder / 'metadata.jsonl'}{advice}"
        )
    note = f"{pictures.name}: {len(names)} pictures without a caption were left out, {len(kept)} are measured: {first}."
    return kept, [note]


def _find_maps(table: Table, pictures: Pictures, home: Path | None) -> tuple[Pictures, list[MissingMaps]]:
    """The collection with a map for each picture, and those that are to be made."""
    found, missing = plan_maps(pictures, Path() if home is None else home)
    if missing is None:
        return pictures, []
    if home is None:
        names = [pictures.files[index].name for index in missing.indices]
        raise UsageError(
            f"table {table.name} needs semantic maps, and {len(names)} of {len(pictures)} pictures in "
            f"{pictures.folder} have none, {names[0]} for example; put gray pictures of class numbers (the 19 of "
            f"facekit.conditions.semantics) into {pictures.folder.parent / 'semantic' / pictures.folder.name}"
        )
    return found, [missing]
