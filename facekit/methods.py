"""The methods that facekit knows: one entry for each.

Command line, page, evaluation, publishing, benchmarks and starters go through this table and have no list of their own.
An entry names modules and loads none of them; those who need one import it through the entry. What a published
checkpoint needs to become a model is no fact of the method: `facekit convert` knows it.

A new method of facekit's own is an entry of `OWN`. A method from outside needs no file of facekit changed: its package
has an entry called `METHOD`, and is found

    where it is installed, by an entry point of the group "facekit.methods" that names the entry:
        [project.entry-points."facekit.methods"]
        blur = "facekit_blur:METHOD"
    where it lies, by the environment variable FACEKIT_METHODS: folders, files or dotted modules, separated as in PATH:
        FACEKIT_METHODS=mine/facekit_blur:other.package facekit blur photo.jpg --output blurred

What cannot be used is left out, and `refusals` says why; nothing else suffers from it. The parts that an entry names
(one without a command or tab leaves it empty):

    pipeline   A `DiffusionPipeline`. Called with `image`, those of `reads`, `aligned=True` and `generator`, it returns
               an output whose `images` are Pillow pictures; all else has defaults.
    command    HELP, DESCRIPTION and EXAMPLES (text under the options), `add_options(parser)`, and `run(args)`, which
               returns the exit code or raises `facekit_cli.errors.UsageError`. Imported whenever `facekit` starts:
               torch and the pipeline are imported inside `run`.
    tab        `build_tab()` lays the tab out in the open `gr.Blocks` and wires its events; the endpoint for programs
               is called as the method is. The id of every component begins with that name.

`docs/extending.md` has an example.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Literal, get_args

GROUP = "facekit.methods"
VARIABLE = "FACEKIT_METHODS"

Task = Literal["restore", "inpaint", "exemplar", "edit"]
Input = Literal["mask", "exemplar", "sketch", "semantics", "color", "prompt"]

# What the module of each part has, see above.
COMMAND = ("HELP", "DESCRIPTION", "EXAMPLES", "add_options", "run")
TAB = ("build_tab",)


class MethodError(ImportError):
    """A part of a method from outside cannot be used; the message says which, why, and the way out."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """What facekit has to know of a method.

    Attributes:
        name: of its command and of its tab's id and endpoint; small letters, digits, - and _.
        title: of its tab.
        model: what its model is called, "face-inpaint": so `starter` and `facekit evaluate --method` know it, and names
            on the Hub begin with it.
        starter: where that model is: a folder of `hub_cards/` by name; of a method from outside any folder by its
            absolute path, or ORG/NAME on the Hub.
        pipeline: class, by its dotted name.
        command: module of its command.
        tab: module of its tab.
        tasks: what it can be asked for in tables of `facekit evaluate` (`facekit_cli.evaluation.tables.Table.task`).
        reads: which inputs of such a table it can read besides the picture, as its call names them.
        drawn_by: the component that makes its pictures, whose configuration has their side as `sample_size`; empty: it
            works at any size.
        additions: arguments of its call under which the picture is not the network's own; such a table sets each to 0.
        needs: other starters that its tab loads.
        summary: for visitors, what its tab does, in a sentence without terms of the trade.
        paper: where the method comes from, as one cites it, ending in a full stop.
        way_out: of a method from outside, what to do where it is broken; set when it is found.
    """

    name: str
    title: str
    model: str
    starter: str
    pipeline: str
    command: str = ""
    tab: str = ""
    tasks: tuple[Task, ...] = ()
    reads: tuple[Input, ...] = ()
    drawn_by: str = ""
    additions: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    summary: str = ""
    paper: str = ""
    way_out: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for entry in fields(self):
            value, several = getattr(self, entry.name), entry.default == ()
            if several and not (isinstance(value, tuple) and all(isinstance(part, str) for part in value)):
                raise ValueError(f"{entry.name} is {value!r}; it must be a tuple of texts, such as ('mask',)")
            if not several and not isinstance(value, str):
                raise ValueError(f"{entry.name} is {value!r}; it must be a text")
        for name in ("title", "model", "starter"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty")
        if not re.fullmatch(r"[a-z][a-z0-9_-]*", self.name):
            raise ValueError(f"name is {self.name!r}; it must be of small letters, digits, - and _")
        if not all(self.pipeline.rpartition(".")):
            raise ValueError(f"pipeline is {self.pipeline!r}; it must read MODULE.CLASS")
        for name, known in (("tasks", get_args(Task)), ("reads", get_args(Input))):
            unknown = set(getattr(self, name)) - set(known)
            if unknown:
                raise ValueError(f"{name} has {', '.join(sorted(unknown))}; known are {', '.join(known)}")

    @property
    def class_name(self) -> str:
        """Of the pipeline, as `model_index.json` has it."""
        return self.pipeline.rpartition(".")[2]

    @property
    def package(self) -> str:
        """The package, or single module, that the pipeline comes from."""
        return self.pipeline.partition(".")[0]

    @property
    def model_variable(self) -> str:
        """The environment variable that names another model for the tab, such as FACEKIT_INPAINT_MODEL."""
        return f"FACEKIT_{self.name.upper().replace('-', '_')}_MODEL"

    def import_command(self) -> ModuleType:
        """The command's module. Raises MethodError."""
        return self._import("command", self.command, COMMAND)

    def import_tab(self) -> ModuleType:
        """The tab's module. Raises MethodError."""
        return self._import("tab", self.tab, TAB)

    def import_pipeline(self) -> type:
        """The pipeline's class. Raises MethodError."""
        module, _, name = self.pipeline.rpartition(".")
        return getattr(self._import("pipeline", module, (name,)), name)

    def refusal(self, part: str, error: Exception | SystemExit) -> MethodError:
        """The error for a part that does not work."""
        return MethodError(
            f"the {part} of the method {self.name} cannot be used: {_reason(error)}. {self.way_out}"
        )

    @contextmanager
    def guard(self, part: str) -> Iterator[None]:
        """Let code of a part from outside raise MethodError alone; errors of facekit's own parts stay as they are."""
        try:
            yield
        except (Exception, SystemExit) as error:  # whatever code from outside raises
            if not self.way_out:
                raise
            raise self.refusal(part, error) from error

    def _import(self, part: str, name: str, contents: tuple[str, ...]) -> ModuleType:
        with self.guard(part):
            module = import_module(name)
            missing = [content for content in contents if not hasattr(module, content)]
            if missing:
                raise ImportError(f"{name} has no {', '.join(missing)}")
        return module


# In the order of the page's tabs: first what somebody with an old photo looks for.
OWN = (
    Method(
        name="restore",
        title="Restore",
        model="face-restore",
        starter="face-restore-starter-256",
        pipeline="facekit.pipelines.restore.FaceRestorePipeline",
        command="facekit_cli.commands.restore",
        tab="facekit_demo.restore.tab",
        tasks=("restore",),
        drawn_by="restorer",
        additions=("fidelity", "self_ensemble"),
        summary="Makes blurred, noisy or badly printed faces sharp again; all around them stays as it is.",
        paper="W. Lu et al., Visual style prompt learning using diffusion models for blind face restoration, "
        "Pattern Recognition 161 (2025).",
    ),
    Method(
        name="mend",
        title="Old photo",
        model="photo-mend",
        starter="photo-mend-starter-256",
        pipeline="facekit.pipelines.mend.pipeline.PhotoMendPipeline",
        command="facekit_cli.commands.mend",
        tab="facekit_demo.mend.tab",
        needs=("face-inpaint", "face-restore"),
        summary="Finds scratches, folds, dust and stains of an old photo, fills them and makes the faces sharp.",
        paper="Damage is found by a small network of facekit's own, and filled by those of the other tabs.",
    ),
    Method(
        name="inpaint",
        title="Inpaint",
        model="face-inpaint",
        starter="face-inpaint-starter-256",
        pipeline="facekit.pipelines.inpaint.FaceInpaintPipeline",
        command="facekit_cli.commands.inpaint",
        tab="facekit_demo.inpaint.tab",
        tasks=("inpaint", "exemplar", "edit"),
        reads=("mask",),
        drawn_by="residual_inpainter",
        additions=("match_tones",),
        needs=("face-restore",),
        summary="Paint over a scratch, a stain or whatever disturbs: it is filled from what is around it.",
        paper="W. Lu et al., GRIG: few-shot generative residual image inpainting, Computational Visual Media (2025).",
    ),
    Method(
        name="exemplar",
        title="Exemplar",
        model="exemplar-inpaint",
        starter="exemplar-inpaint-starter-256",
        pipeline="facekit.pipelines.exemplar.pipeline.ExemplarInpaintPipeline",
        command="facekit_cli.commands.exemplar",
        tab="facekit_demo.exemplar.tab",
        tasks=("exemplar", "edit"),
        reads=("mask", "exemplar"),
        drawn_by="multi_style_generator",
        additions=("match_tones",),
        needs=("face-prior", "face-restore"),
        summary="Fills what you paint over after the manner of another face, the example (exemplar).",
        paper="W. Lu et al., Do inpainting yourself: generative facial inpainting guided by exemplars, "
        "Neurocomputing 617 (2025).",
    ),
    Method(
        name="edit",
        title="Edit",
        model="face-edit",
        starter="face-edit-starter-256",
        pipeline="facekit.pipelines.edit.pipeline.FaceEditPipeline",
        command="facekit_cli.commands.edit",
        tab="facekit_demo.edit.tab",
        tasks=("inpaint", "exemplar", "edit"),
        reads=("mask", "exemplar", "sketch", "semantics", "color", "prompt"),
        drawn_by="refiner",
        additions=("match_tones",),
        needs=("face-prior", "exemplar-inpaint", "face-restore"),
        summary="Changes the part of a face that you paint over: by lines, colours, sliders or another face.",
        paper="W. Lu et al., FACEMUG: a multimodal generative and fusion framework for local facial editing, IEEE "
        "Transactions on Visualization and Computer Graphics (2024).",
    ),
)
# Starters of networks that belong to no method alone.
SHARED_STARTERS = {"face-parser": "face-parser-starter-256", "face-prior": "face-prior-starter-256"}


def methods() -> tuple[Method, ...]:
    """All methods: facekit's own, those installed, those of FACEKIT_METHODS. Looked for once in a process."""
    return _find()[0]


def refusals() -> tuple[str, ...]:
    """Why what was offered from outside is no method: a sentence or two each, with the way out."""
    return _find()[1]


def method_named(name: str) -> Method:
    """The method of that name. Raises ValueError with those there are."""
    for method in methods():
        if method.name == name:
            return method
    raise ValueError(
        f"there is no method {name!r}; known are {', '.join(method.name for method in methods())}"
    )


def method_of(class_name: str) -> Method | None:
    """The method whose pipeline's class has that name."""
    return next((method for method in methods() if method.class_name == class_name), None)


@cache
def _find() -> tuple[tuple[Method, ...], tuple[str, ...]]:
    found, refused = list(OWN), []
    for place, way_out, load in _offers():
        try:
            method = load()
            if not isinstance(method, Method):
                raise ImportError(f"it gives {method!r}, which is no facekit.methods.Method")
            if method in found:  # installed and named in the variable
                continue
            _check_free(method, found)
        except (Exception, SystemExit) as error:  # whatever code from outside raises
            refused.append(f"{place} is left out: {_reason(error)}. {way_out}")
            continue
        found.append(replace(method, way_out=way_out))
    return tuple(found), tuple(refused)


def _offers() -> Iterator[tuple[str, str, Callable[[], object]]]:
    """What may give a method: its name for messages, the way out where it is broken, and what loads it."""
    from importlib.metadata import entry_points  # takes as long as all the rest of this module

    for entry in entry_points(group=GROUP):
        owner = entry.dist.name if entry.dist is not None else entry.module
        way_out = f"Repair the distribution {owner} or uninstall it."
        yield f"the method {entry.name} of the distribution {owner}", way_out, entry.load
    for place in os.environ.get(VARIABLE, "").split(os.pathsep):
        if place.strip():
            way_out = f"Repair {place} or take it out of {VARIABLE}."
            yield f"{place} in {VARIABLE}", way_out, partial(_method_at, place.strip())


def _method_at(place: str) -> object:
    """`METHOD` of a folder, a file, or a dotted module.

    The folder around is put at the end of `sys.path`, so that nothing else is hidden by what lies there.
    """
    given = Path(place).expanduser()
    if given.name == place and given.suffix != ".py" and not given.exists():
        return import_module(place).METHOD
    path = Path(os.path.abspath(given))
    file = path if path.suffix == ".py" else path / "__init__.py"
    if not file.is_file():
        raise ImportError(f"there is no file {file}")
    if not path.stem.isidentifier():
        raise ImportError(
            f"{path.name} is no name that Python can import: give it one of letters, digits and _"
        )
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    module = import_module(path.stem)
    if not (module.__file__ and file.samefile(module.__file__)):
        raise ImportError(f"Python knows another {path.stem}, {module.__file__}: give yours another name")
    return module.METHOD


def _check_free(method: Method, others: list[Method]) -> None:
    for other in others:
        for what in ("name", "model", "class_name"):
            if getattr(method, what) == getattr(other, what):
                raise ValueError(f"its {what} {getattr(method, what)} is taken by the method {other.name}")
    if method.model in SHARED_STARTERS:
        raise ValueError(f"its model {method.model} is taken by a starter of facekit's")


def _reason(error: Exception | SystemExit) -> str:
    """What went wrong, without a full stop; the kind of error where its words alone would not say much."""
    if isinstance(error, SystemExit):
        return f"it would end the whole program by sys.exit({error.code!r})"
    text = str(error).strip().removesuffix(".")
    if isinstance(error, ImportError | ValueError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
