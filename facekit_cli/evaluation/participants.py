"""Who takes part in a table: a facekit pipeline, the input itself, or a folder of another tool's outputs.

A participant is written `NAME=SOURCE?OPTION=VALUE&OPTION=VALUE`; `NAME=` and the options may be left out. SOURCE is

    input              the damaged picture itself, or the one with the hole in gray
    face-restore       a starter model by its task
    FOLDER             with a model_index.json: a pipeline; else the outputs, by file name
    ORG/NAME           a pipeline on the Hub

A folder that training wrote stands for the `pipeline` in it. Options are arguments of the pipeline's call, such as
`fidelity=1` or `num_inference_steps=5`, and `dtype`. Mappings are written as JSON: `text_options={"search":"thesis"}`
follows texts by Eq. 6.4 to the letter. In `SOURCE`, `{data}` stands for the name of each collection, and `{shots}` or
`{T}`, in tables that have them (`Sweep`), for each of their values.
"""

import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image

from facekit.hub.classes import pipeline_class
from facekit.hub.starters import starter, starters
from facekit.methods import Method, MethodError, method_of, methods
from facekit_cli.errors import UsageError
from facekit_cli.evaluation.data import read_square
from facekit_cli.evaluation.inputs import Case
from facekit_cli.evaluation.tables import MODALITIES, Sweep, Table
from facekit_cli.options import DTYPES
from facekit_cli.photos import list_pictures

if TYPE_CHECKING:
    import torch

Kind = Literal["input", "outputs", "pipeline"]
Run = Callable[[Case], np.ndarray]

# Arguments that the table itself decides.
OURS = frozenset(
    "self image mask exemplar sketch semantics color prompt aligned exemplar_aligned generator output_type "
    "return_dict num_images watermark return_steps return_aligned return_exemplars cache z latents".split()
)


@dataclass(frozen=True)
class Participant:
    """One of them.

    Attributes:
        name: its row, and its folder below `outputs`.
        kind: "input", "outputs" or "pipeline".
        source: folder or Hub id; empty for "input".
        pipeline: class of a pipeline.
        options: arguments for its call.
        dtype: number type of its networks.
        value: which model of the table's sweep it is.
        places: itself for each collection, by name, where its source differs (`{data}`).
    """

    name: str
    kind: Kind
    source: str = ""
    pipeline: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    value: int | None = None
    places: Mapping[str, "Participant"] = field(default_factory=dict)

    def at(self, collection: str) -> "Participant":
        """Who takes part in a collection's columns."""
        return self.places.get(collection, self)

    def record(self) -> dict[str, Any]:
        """What its outputs depend on, for a run that goes on."""
        source: Any = str(Path(self.source).resolve()) if Path(self.source).is_dir() else self.source
        if self.places:
            source = {name: place.record()["source"] for name, place in self.places.items()}
        return {"kind": self.kind, "source": source, "options": dict(self.options), "dtype": self.dtype}


@dataclass(frozen=True)
class Row:
    """A participant in one configuration: a line of the table.

    Attributes:
        label: "EXE-GAN", or "FACEMUG (+Sk+Ma)".
        participant: who.
        modalities: of an "edit" table, as `Table.modalities` has them.
        options: arguments that this row adds to the participant's.
        method: label of the row that means over the table's sweep make of this one.
    """

    label: str
    participant: Participant
    modalities: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    method: str = ""

    @property
    def folder(self) -> str:
        """Name of the row's folder of outputs."""
        return "".join(c if c.isalnum() or c in "-_.+=" else "_" for c in self.label).strip(".") or "_"


def fields_of(text: str, table: Table) -> set[str]:
    """The names in braces in a `--method`'s name and source.

    Raises:
        UsageError: one that the table does not fill, or no NAME= before them.
    """
    head = text.partition("?")[0]
    fields = set(re.findall(r"{(\w+)}", head))
    known = {"data"} if table.sweep is None else {"data", table.sweep.name}
    if strange := sorted(fields - known):
        filled = " and ".join(f"{{{name}}}" for name in sorted(known))
        raise UsageError(f"--method {text!r}: table {table.name} fills {filled}, not {{{strange[0]}}}")
    if fields and (("=" not in head) or "{" in head.partition("=")[0]):
        raise UsageError(f"--method {text!r}: one name is needed for all of its models; say NAME=SOURCE")
    return fields


def uses_sweep(text: str, table: Table) -> bool:
    """Whether a `--method` names a model for each value of the table's sweep. UsageError as of `fields_of`."""
    return table.sweep is not None and table.sweep.name in fields_of(text, table)


def fill_fields(text: str, table: Table, value: int | None, collection: str) -> str:
    """A `--method` with a value of the table's sweep and a collection's name for its names in braces."""
    head, mark, query = text.partition("?")
    if table.sweep is not None:
        head = head.replace(f"{{{table.sweep.name}}}", str(value))
    return head.replace("{data}", collection) + mark + query


def parse_participants(text: str, table: Table, collections: Sequence[str]) -> list[Participant]:
    """A `--method` as the head of this module says: one for each value of the table's sweep that it names.

    Args:
        collections: names of the data.

    Raises:
        UsageError: as of `parse_participant` and `fields_of`; or models of different kinds for different collections.
    """
    fields = fields_of(text, table)
    if not fields:
        return [parse_participant(text)]
    found = []
    values: Sequence[int | None] = (None,)
    if table.sweep is not None and uses_sweep(text, table):
        values = table.sweep.values
    for value in values:
        names = collections if "data" in fields else collections[:1]
        try:
            places = {name: parse_participant(fill_fields(text, table, value, name)) for name in names}
        except UsageError as error:
            way = (
                "" if value is None or table.task != "inpaint" else "; --train CONFIG makes what is not there"
            )
            raise UsageError(error, way) from error
        first = next(iter(places.values()))
        for name, place in places.items():
            if (place.kind, place.pipeline) != (first.kind, first.pipeline):
                kinds = f"{place.pipeline or place.kind} for {name} and {first.pipeline or first.kind}"
                raise UsageError(f"--method {text!r} is {kinds} for {collections[0]}; they must be alike")
        found.append(replace(first, value=value, places=places if "data" in fields else {}))
    return found


def parse_participant(text: str) -> Participant:
    """A `--method` as the head of this module says.

    Raises:
        UsageError: an empty source, an option without "=", a folder that is neither, networks that are no pipeline, an
            unknown dtype.
    """
    head, _, query = text.partition("?")
    name, separator, source = head.partition("=")
    if not separator:
        name, source = "", head
    options: dict[str, Any] = {}
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if not equals or not key:
            raise UsageError(f"--method {text!r}: the option {part!r} must read NAME=VALUE")
        options[key] = _value(value)
    dtype = options.pop("dtype", "float32")
    if dtype not in DTYPES:
        raise UsageError(f"--method {text!r}: dtype is {dtype!r}; choose one of {', '.join(DTYPES)}")
    if not source:
        raise UsageError(f"--method {text!r} names no source; say NAME=FOLDER, NAME=ORG/MODEL or input")
    if source == "input":
        return Participant(name or "input", "input", options=_none(options, text))
    if source in starters():
        source = starter(source)
    path = Path(source).expanduser()
    name = name or path.name
    if (path / "pipeline" / "model_index.json").is_file():
        path /= "pipeline"
    if (path / "model_index.json").is_file():
        pipeline = json.loads((path / "model_index.json").read_text())["_class_name"]
        return Participant(name, "pipeline", str(path), pipeline, options, dtype)
    if path.is_dir():
        _refuse_loose_networks(text, path)
        return Participant(name, "outputs", str(path), options=_none(options, text))
    if source.count("/") == 1 and not source.startswith((".", "/", "~")):
        return Participant(name, "pipeline", source, _class_on_hub(source), options, dtype)
    raise UsageError(
        f"--method {text!r}: {source} is no folder, no model on the Hub (ORG/NAME) and no starter "
        f"({', '.join(sorted(starters()))})"
    )


def _refuse_loose_networks(text: str, folder: Path) -> None:
    """Raise UsageError for networks without the `model_index.json` that makes a pipeline of them."""
    networks = sorted(file.parent.name for file in folder.glob("*/config.json"))
    if networks:
        raise UsageError(
            f"--method {text!r}: {folder} holds networks ({', '.join(networks)}) and no model_index.json, so it is "
            "no pipeline. Where training wrote it, run the same training command once more, which writes the folder "
            "anew: train.restorer with any --ablation, train.multimodal with --latent_warper. A run of before needs "
            "--form published with the presets paper and thesis"
        )


def side_of(participant: Participant) -> int | None:
    """Side of the pictures that a participant makes: of its network, or of its outputs; None where it takes any.

    Raises:
        UsageError: the model's configuration cannot be read.
    """
    if participant.kind == "outputs":
        folder = Path(participant.source)
        files = list_pictures(folder) or [
            file for child in sorted(folder.rglob("*")) if child.is_dir() for file in list_pictures(child)
        ]
        if not files:
            return None
        with Image.open(files[0]) as image:
            return image.size[0]
    method = method_of(participant.pipeline)
    if method is None or not method.drawn_by:
        return None
    from facekit.hub.errors import explain_errors
    from facekit.models.base import VerifiedModelMixin

    try:
        with explain_errors(participant.source) as options:
            config: Any = VerifiedModelMixin.load_config(
                participant.source, subfolder=method.drawn_by, **options
            )
    except (OSError, ValueError) as error:
        raise UsageError(f"the model {participant.source} cannot be loaded: ", error) from error
    return config.get("sample_size")


def choose_size(table: Table, participants: Sequence[Participant], said: int | None) -> tuple[int, str]:
    """The side that all pictures of a run have, and why, in words for the table's notes.

    Args:
        said: `--size`, which prevails.

    Raises:
        UsageError: it was not said, and the participants have different sizes.
    """
    sides = {participant.name: side_of(participant) for participant in participants}
    known = {name: side for name, side in sides.items() if side is not None}
    if said is not None:
        others = [f"{name} has {side}x{side}" for name, side in known.items() if side != said]
        resized = f" ({', '.join(others)}: resized)" if others else ""
        return said, f"as --size says{resized}"
    if len(set(known.values())) > 1:
        listed = ", ".join(f"{name} {side}x{side}" for name, side in known.items())
        raise UsageError(
            f"the methods make pictures of different sizes ({listed}). Say --size {max(known.values())}, and all "
            "are measured in that size, or measure them apart"
        )
    if known:
        return next(iter(known.values())), f"the size of {', '.join(known)}"
    return table.size, "the size of the thesis"


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _none(options: Mapping[str, Any], text: str) -> dict[str, Any]:
    if options:
        raise UsageError(f"--method {text!r}: only pipelines take options, such as {next(iter(options))}")
    return {}


def _class_on_hub(source: str) -> str:
    from diffusers import DiffusionPipeline

    from facekit.hub.errors import explain_errors

    try:
        with explain_errors(source) as options:
            return DiffusionPipeline.load_config(source, **options)["_class_name"]
    except (OSError, KeyError, ValueError) as error:
        raise UsageError(f"the model {source} cannot be loaded: ", error) from error


def rows_of(table: Table, participants: Sequence[Participant]) -> list[Row]:
    """The lines of a table.

    Raises:
        UsageError: a participant twice, a pipeline of another task, an option it does not have or the table sets.
    """
    rows: list[Row] = []
    for participant in participants:
        if participant.kind == "pipeline":
            _check_pipeline(table, participant)
        if table.sweep is not None:
            participant = _of_sweep(table, table.sweep, participant)
        made = _rows_of_one(table, participant)
        if not made:
            raise UsageError(
                f"{participant.name}, a {participant.pipeline}, reads no configuration of table {table.name}"
            )
        rows += made
    folders = [row.folder for row in rows]
    for row in rows:
        if folders.count(row.folder) > 1:
            raise UsageError(f"two methods are called {row.label}; name them apart, as NAME=SOURCE")
    return rows


def _of_sweep(table: Table, sweep: Sweep, participant: Participant) -> Participant:
    """A model of a sweep, asked for what it was trained for. Raises UsageError where that is not said."""
    asked = participant.options.get(sweep.call)
    if participant.value is not None:
        if asked is not None:
            raise UsageError(f"{participant.name}: {sweep.call} is the {{{sweep.name}}} of each model")
        if sweep.call and participant.kind == "pipeline":
            return replace(participant, options={**participant.options, sweep.call: participant.value})
        return participant
    if participant.kind == "pipeline" and sweep.call:
        asked_for = asked if isinstance(asked, list) else [asked]
        if all(isinstance(value, int) and value > 0 for value in asked_for) and asked_for:
            return participant
        way = f", or what one model is asked for, ?{sweep.call}=3 or ?{sweep.call}=[1,3]"
    elif participant.kind == "input" or len(sweep.values) == 1 or not table.mean:
        return participant
    else:
        way = ""
    raise UsageError(
        f"{participant.name}: table {table.name} has several models, {{{sweep.name}}} = "
        f"{', '.join(map(str, sweep.values))}; say where they lie, such as {participant.name}=runs/"
        f"{sweep.name.lower()}-{{{sweep.name}}}{way}"
    )


def _rows_of_one(table: Table, participant: Participant) -> list[Row]:
    value = participant.value
    which = "" if table.sweep is None or value is None else f", {table.sweep.label.format(value)}"
    label = participant.name + which
    if participant.kind == "outputs":  # of whatever configuration it was
        shown = next((m for m in table.modalities if "Ma" in m), None)
        return [Row(label, participant, shown, method=participant.name)]
    if participant.kind == "input":
        shown = "Ma" if table.modalities else None
        return [Row(label, participant, shown, method=participant.name)]
    variants: list[tuple[str, dict[str, Any]]] = [("", {})]
    call, reads = _call_arguments(participant.pipeline), _known(participant.pipeline).reads
    alone = plain_options(participant)
    if table.options and all(name in call for _, name, _ in table.options):
        variants = [(f", {label}", {name: value}) for label, name, value in table.options]
        if any(name in participant.options for _, name, _ in table.options):
            variants = [("", {})]  # the user said which
    if table.sweep is not None and isinstance(asked := participant.options.get(table.sweep.call), list):
        variants = [
            (f", one model at {table.sweep.label.format(each)}", {table.sweep.call: each}) for each in asked
        ]
    rows = []
    for modalities in table.modalities or (None,):
        if modalities is not None and not {MODALITIES[part] for part in modalities.split("+")} <= set(reads):
            continue
        shown = f" (+{modalities})" if modalities and len(table.modalities) > 1 else ""
        rows += [
            Row(
                label + shown + variant,
                participant,
                modalities,
                alone | extra,
                participant.name + shown + variant,
            )
            for variant, extra in variants
        ]
    return rows


def plain_options(participant: Participant) -> dict[str, Any]:
    """Arguments under which a pipeline gives its network's own picture, but for those that the user has set.

    What the thesis calls I_out is the network's picture (section 3.2.1); what facekit may add to it is no part of it.
    """
    if participant.kind != "pipeline":
        return {}
    return {name: 0 for name in _known(participant.pipeline).additions if name not in participant.options}


def _known(pipeline: str) -> Method:
    """The method of a pipeline's class, which `_check_pipeline` has seen."""
    method = method_of(pipeline)
    if method is None:
        raise ValueError(f"there is no pipeline {pipeline}")
    return method


def _call_arguments(pipeline: str) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(pipeline_class(pipeline).__call__).parameters
    except MethodError as error:
        raise UsageError(str(error)) from error


def _check_pipeline(table: Table, participant: Participant) -> None:
    method = method_of(participant.pipeline)
    if method is None:
        classes = ", ".join(method.class_name for method in methods())
        raise UsageError(f"{participant.source} is a {participant.pipeline}; known are {classes}")
    if table.task not in method.tasks:
        fitting = " or ".join(method.class_name for method in methods() if table.task in method.tasks)
        raise UsageError(
            f"{participant.name} is a {participant.pipeline}, and table {table.name} needs {fitting}"
        )
    call = _call_arguments(participant.pipeline)
    given = ("image", *method.reads, *method.additions, "aligned", "generator")
    missing = [name for name in given if name not in call]
    if missing:
        raise UsageError(
            f"{participant.name}: the call of a {participant.pipeline} takes no {', '.join(missing)}, which this table "
            "gives; see facekit/methods.py"
        )
    options = [name for name in call if name not in OURS]
    for name in participant.options:
        if name in OURS:
            raise UsageError(f"{participant.name}: the table sets {name} itself")
        if name not in options:
            raise UsageError(
                f"{participant.name}: a {participant.pipeline} has no option {name}; it has {', '.join(options)}"
            )


def open_row(
    row: Row, collection: str, device: "torch.device", loaded: dict[Any, Any], clip: str | None = None
) -> Run:
    """A function from a case to the row's picture, uint8 [S, S, 3].

    Args:
        collection: name of the data that the cases are from.
        loaded: keeps the last pipeline, and CLIP, from row to row.
        clip: folder or Hub id of the CLIP that reads texts.

    Raises:
        WeightsUnavailable: the row needs a CLIP that cannot be had.
        UsageError: the model cannot be loaded.
    """
    if row.participant.kind == "input":
        return lambda case: case.image
    if row.participant.kind == "outputs":
        raise ValueError("a folder of outputs is read, not run")
    participant = row.participant.at(collection)
    key = (participant.source, participant.dtype)
    if key not in loaded:
        from facekit_cli.models import load_pipeline

        for other in [name for name in loaded if name != "text"]:
            del loaded[other]
        loaded[key] = load_pipeline(participant.pipeline, participant.source, device, participant.dtype)
    pipeline = loaded[key]
    guide = _text_guide(clip, loaded) if row.modalities and "Te" in row.modalities.split("+") else None

    def run(case: Case) -> np.ndarray:
        import torch

        given = (
            arguments_of(row.participant.pipeline, case) | dict(row.participant.options) | dict(row.options)
        )
        if guide is not None:
            given["text_guide"] = guide
        generator = torch.Generator("cpu").manual_seed(case.seed)
        return np.asarray(pipeline(**given, aligned=True, generator=generator).images[0].convert("RGB"))

    return run


def _text_guide(clip: str | None, loaded: dict[Any, Any]) -> Any:
    """CLIP. Raises WeightsUnavailable where it cannot be had, the same at once when asked again."""
    from facekit.conditions.text import TextGuide
    from facekit.metrics import WeightsUnavailable

    if "text" not in loaded:
        try:
            loaded["text"] = TextGuide.from_pretrained(*([] if clip is None else [clip]))
        except (OSError, ImportError) as error:
            loaded["text"] = WeightsUnavailable(str(error))
    if isinstance(loaded["text"], WeightsUnavailable):
        raise loaded["text"]
    return loaded["text"]


def arguments_of(pipeline: str, case: Case) -> dict[str, Any]:
    """A case as arguments of a pipeline's call: what it can read of it."""
    given: dict[str, Any] = {"image": Image.fromarray(case.image)}
    for name in _known(pipeline).reads:
        value = getattr(case, name)
        if value is None:
            continue
        if name == "mask":
            value = Image.fromarray(value * 255)
        elif name == "sketch":
            value = value.astype(bool)
        elif name in ("exemplar", "color"):
            value = Image.fromarray(value)
        given[name] = value
    return given


class OutputFolder:
    """Another tool's outputs: `FOLDER/SET/NAME.*`, or `FOLDER/NAME.*` where these are all the sets and there is one."""

    def __init__(self, folder: str | Path, sets: Sequence[str], complete: bool) -> None:
        self.folders = {key: Path(folder) / key for key in sets}
        if complete and len(sets) == 1 and not self.folders[sets[0]].is_dir():
            self.folders = {sets[0]: Path(folder)}

    def find(self, key: str, names: Sequence[str]) -> list[Path]:
        """The output of each picture.

        Raises:
            UsageError: some are missing.
        """
        folder = self.folders[key]
        files = {file.stem: file for file in list_pictures(folder)} if folder.is_dir() else {}
        missing = [name for name in names if name not in files]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise UsageError(
                f"{folder} lacks the outputs {missing[0]}.png{more}, of {len(names)}; --export-inputs writes the "
                "inputs that they are to be made from, in the same folders"
            )
        return [files[name] for name in names]


def read_output(file: Path, case: Case, keep_known: bool) -> np.ndarray:
    """An output of another tool; with `keep_known` its pixels outside the hole are the original's.

    Raises:
        ValueError: a picture of another size.
    """
    with Image.open(file) as image:
        width, height = image.size
    side = case.truth.shape[0]
    if (width, height) != (side, side):
        raise ValueError(
            f"{file} has {width}x{height} pixels and the inputs {side}x{side}; resize it or say --size"
        )
    pixels = read_square(file, side)
    if keep_known and case.mask is not None:
        return np.where(case.mask[..., None] > 0, pixels, case.truth)
    return pixels
