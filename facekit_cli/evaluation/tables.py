"""What each table of the thesis measures: one entry of `TABLES` a table, read by all other modules."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import Literal

from facekit.methods import Input, Task

Pairing = Literal["reversed", "random", "pose"]
# Short names of inputs, of which the names of configurations are made.
MODALITIES: dict[str, Input] = {
    "Ma": "mask",
    "Ex": "exemplar",
    "Sk": "sketch",
    "Se": "semantics",
    "Co": "color",
    "Te": "prompt",
}

# The five of Fig. 6.12.
FIVE = ("Sk", "Se", "Co", "Ex", "Te")

# What a table has after the thesis's columns: what each metric brings along. These need no download.
ADDITIONAL = {
    "fid": ("fid-lite0", "kid-lite0"),
    "fid-reference": ("fid-lite0-reference", "kid-lite0-reference"),
    "lpips": ("imagenet-distance",),
    "ssim": ("imagenet-distance",),
}
ADDITIONAL_NOTE = (
    "Lite0 and ImageNet distance: additional columns, by features of EfficientNet-Lite0 trained on ImageNet. Compare "
    "them within such tables, not with FID, KID or LPIPS of other networks."
)


@dataclass(frozen=True)
class Condition:
    """One way to make inputs: a damage preset (`facekit.damage.degrade`), or a kind of hole, or neither.

    Attributes:
        name: head of its columns; where a table has one condition it is not said.
        damage: preset of `PRESETS`.
        hole: "centre", "band" (with `low` and `high`), "free-form" (the training holes of EXE-GAN), or "mix" (one of
            hair, face, foreground subject, 50-60% irregular, centre: thesis section 6.3.1).
        low, high: share of the hole.
    """

    name: str = ""
    damage: str | None = None
    hole: Literal["centre", "band", "free-form", "mix"] | None = None
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class Sweep:
    """Models that differ in one option of their training: a method's source names them by `{name}`, a row for each.

    Attributes:
        name: what stands between the braces.
        values: those of the thesis.
        label: end of a row's label.
        training: the option of `train.inpaint` that has the value.
        call: the argument of the pipeline's call that must have it too; "": none.
    """

    name: str
    values: tuple[int, ...]
    label: str
    training: str
    call: str = ""


@dataclass(frozen=True)
class Table:
    """One table or figure.

    Attributes:
        name: as the command takes it.
        title: what the thesis measures there.
        data: the collections that the thesis measures it on.
        task: what a method is asked for (`facekit.methods.Method.tasks`); "complexity" counts networks instead.
        metrics: names of `facekit_cli.evaluation.measures.METRICS`.
        conditions: each a set of inputs, and so a group of columns.
        size: side of the pictures that the thesis tests on; what is taken where no method has a size of its own.
        pairing: how pictures get an exemplar, see `facekit_cli.evaluation.pairs`.
        modalities: for "edit", the configurations (a row each), of `MODALITIES` joined by +.
        classes: the semantic classes that "Se" shows; None: all.
        sweep: models of which each has a row.
        mean: columns are means over all conditions, rows over the models of the sweep.
        runs: sets of inputs (seeds) whose results are averaged.
        options: call arguments that give a row of its own in addition, as (label, name, value).
        starter: the model that takes part where no method is named; "": one must be named.
        wordless: where no picture has a caption its configurations that read texts are left out, instead of refused.
        sheet: module whose `lay(plan, pages, problems, lines)` gives the lines of the picture, the figure then;
            "": pictures of all rows side by side.
        notes: what a reader must know; the thesis's own data sets, decisions where the thesis says nothing.
    """

    name: str
    title: str
    task: Task | Literal["complexity"]
    metrics: tuple[str, ...]
    conditions: tuple[Condition, ...] = (Condition(),)
    size: int = 256
    data: tuple[str, ...] = ()
    pairing: Pairing | None = None
    modalities: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None
    sweep: Sweep | None = None
    mean: bool = False
    runs: int = 1
    options: tuple[tuple[str, str, object], ...] = ()
    starter: str = ""
    wordless: bool = False
    sheet: str = ""
    notes: tuple[str, ...] = ()

    @property
    def has_curves(self) -> bool:
        """Whether its numbers are also drawn, over the share of the hole."""
        return len(self.conditions) > 1 and (self.mean or self.name.startswith("fig-"))

    @property
    def additional(self) -> tuple[str, ...]:
        """Metrics of the columns that come after the thesis's own, see `ADDITIONAL`."""
        brought = dict.fromkeys(name for metric in self.metrics for name in ADDITIONAL.get(metric, ()))
        return tuple(name for name in brought if name not in self.metrics)


def subsets(names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """All subsets of names in their order, smaller ones first: 2^n of them."""
    return chain.from_iterable(combinations(names, count) for count in range(len(names) + 1))


def _band(low: int) -> Condition:
    return Condition(f"{low}-{low + 10}%", hole="band", low=low / 100, high=(low + 10) / 100)


CENTRE = Condition("Fixed", hole="centre")
MODERATE = (CENTRE, *map(_band, range(10, 60, 10)))  # the irregular templates end at 60%
ALL_BANDS = (CENTRE, *map(_band, range(10, 100, 10)))
HALF = (_band(50),)
SHOTS = Sweep("shots", (5, 10, 30, 50), "{}-shot", "shots")
# A model is asked for the steps that it was trained with.
STEPS = Sweep("T", (1, 3, 5, 7, 9), "T = {}", "reasoning_steps", "num_inference_steps")
DAMAGED = (Condition(damage="thesis"),)
FREE_FORM = (Condition(hole="free-form"),)
MIX = (Condition(hole="mix"),)

TEMPLATES = (
    "The thesis takes PConv's irregular templates for holes up to 60%, CoModGAN's generator for larger ones."
)
ABLATION = "Variants are models of their own: name one with --method for each."
REAL_WORLD = "Pictures are taken as they are; give each collection as a --data folder of its own."
CELEBA_TEST = ("CelebA-Test",)
REAL = ("LFW-Test", "CelebChild-Test", "WebPhoto-Test")
SMALL = ("CHASE", "Shell", "Skull", "Anime", "Fauvism", "Moongate", "Cat", "Dog", "Pokemon", "Art")
LARGE = ("CelebA-HQ", "FFHQ", "PSV", "Places365")
# Of the few-shot settings: Figures 4.11 to 4.14, 4.15 to 4.18, and all of Table 4.3.
FEW_SHOT_FIRST = ("Shell", "Skull", "Anime", "Fauvism", "Moongate")
FEW_SHOT_SECOND = ("Cat", "Dog", "Art", "CelebA-HQ", "PSV")
FEW_SHOT = FEW_SHOT_FIRST + FEW_SHOT_SECOND
FACES = ("CelebA-HQ", "FFHQ")


def _few_shot_figure(number: int, shots: int, data: tuple[str, ...]) -> Table:
    return Table(
        f"fig-4.{number}",
        f"Inpainting by share of the hole, {shots}-shot: {', '.join(data)}",
        "inpaint",
        ("fid",),
        MODERATE,
        data=data,
        sweep=replace(SHOTS, values=(shots,)),
        notes=(TEMPLATES,),
    )


RESTORED = 512  # side of the pictures of chapter 3; those of the other chapters have 256
_EDIT_METRICS = ("fid", "u-ids", "lpips")
_REAL = ("fid-reference", "niqe")

_TABLES = (
    Table(
        "3.1",
        "Blind restoration of synthetically damaged faces",
        "restore",
        ("fid", "u-ids", "p-ids", "fid-reference", "niqe", "psnr", "ssim"),
        DAMAGED,
        data=CELEBA_TEST,
        size=RESTORED,
    ),
    Table(
        "3.2",
        "Blind restoration of real photos",
        "restore",
        _REAL,
        data=REAL,
        size=RESTORED,
        notes=(REAL_WORLD,),
    ),
    Table(
        "3.3",
        "Ablation of the restoration framework, real photos",
        "restore",
        _REAL,
        data=REAL,
        size=RESTORED,
        notes=(
            REAL_WORLD,
            ABLATION,
            "Rows (a) to (d) are what train.restorer writes with --ablation a to d.",
        ),
    ),
    Table(
        "3.4",
        "Landmark detection after restoration",
        "restore",
        ("dsr", "nme"),
        DAMAGED,
        data=CELEBA_TEST,
        size=RESTORED,
        notes=(
            "NME is a share of the distance between the eyes of the undamaged face, over the faces that are found. "
            "Points whose mean distance to the undamaged face's is that of its eyes or more count as not found.",
        ),
    ),
    Table(
        "3.5",
        "Emotion recognition after restoration",
        "restore",
        ("emotion",),
        DAMAGED,
        data=CELEBA_TEST,
        size=RESTORED,
    ),
    Table(
        "fig-4.4",
        "Inpainting of small collections by share of the hole: FID",
        "inpaint",
        ("fid",),
        MODERATE,
        data=SMALL,
        notes=(TEMPLATES,),
    ),
    Table(
        "fig-4.5",
        "Inpainting of small collections by share of the hole: LPIPS",
        "inpaint",
        ("lpips",),
        MODERATE,
        data=SMALL,
        notes=(TEMPLATES,),
    ),
    Table(
        "fig-4.8",
        "Inpainting after large-scale training, by share of the hole",
        "inpaint",
        ("fid", "lpips"),
        MODERATE,
        data=LARGE,
        notes=(TEMPLATES,),
    ),
    Table(
        "4.3",
        "Few-shot inpainting, mean over all shares of the hole and numbers of shots",
        "inpaint",
        ("fid", "lpips"),
        MODERATE,
        data=FEW_SHOT,
        sweep=SHOTS,
        mean=True,
        notes=(TEMPLATES,),
    ),
    *(_few_shot_figure(11 + place, shots, FEW_SHOT_FIRST) for place, shots in enumerate(SHOTS.values)),
    *(_few_shot_figure(15 + place, shots, FEW_SHOT_SECOND) for place, shots in enumerate(SHOTS.values)),
    Table("4.4", "Complexity of inpainting networks", "complexity", ()),
    Table(
        "4.5",
        "Ablation of GRIG",
        "inpaint",
        ("fid",),
        HALF,
        data=("CHASE", "Anime", "Dog", "Art", "CelebA-HQ", "PSV"),
        notes=(TEMPLATES, ABLATION),
    ),
    Table(
        "4.6",
        "GRIG by reasoning steps T",
        "inpaint",
        ("fid",),
        HALF,
        data=("CHASE", "Anime", "Dog", "Art"),
        sweep=STEPS,
        notes=(TEMPLATES,),
    ),
    Table(
        "5.1",
        "Inpainting by exemplars against free-form inpainting",
        "exemplar",
        ("fid",),
        ALL_BANDS,
        data=FACES,
        pairing="reversed",
        notes=(TEMPLATES,),
    ),
    Table(
        "fig-5.4",
        "Inpainting by exemplars against free-form inpainting, by share of the hole",
        "exemplar",
        ("fid", "u-ids", "p-ids"),
        ALL_BANDS,
        data=FACES,
        pairing="reversed",
        notes=(TEMPLATES,),
    ),
    Table("5.2", "Complexity and speed of exemplar inpainting networks", "complexity", ()),
    Table(
        "5.3",
        "Ablation of the spatially variant gradient layer",
        "exemplar",
        ("fid", "u-ids", "p-ids"),
        FREE_FORM,
        data=FACES,
        pairing="reversed",
        runs=5,
        notes=(ABLATION,),
    ),
    Table(
        "5.4",
        "Ablation of the attribute and LPIPS losses",
        "exemplar",
        ("fid", "u-ids", "p-ids"),
        FREE_FORM,
        data=FACES,
        pairing="reversed",
        runs=5,
        notes=(ABLATION,),
    ),
    Table(
        "5.5",
        "Ablation of the identity loss: distance to the exemplar",
        "exemplar",
        ("idd",),
        ALL_BANDS,
        data=("CelebA-HQ",),
        pairing="reversed",
        notes=(TEMPLATES, ABLATION),
    ),
    Table(
        "fig-5.6",
        "Inpainting by exemplars of similar pose",
        "exemplar",
        ("fid",),
        ALL_BANDS,
        data=("CelebA-HQ",),
        pairing="pose",
        notes=(TEMPLATES,),
    ),
    Table(
        "6.1",
        "Multimodal editing: sketch, semantic map, text",
        "edit",
        _EDIT_METRICS,
        MIX,
        data=("CelebA-HQ",),
        modalities=("Se+Te", "Se+Te+Ma", "Sk+Se+Te", "Sk+Se+Te+Ma"),
    ),
    Table(
        "6.2",
        "Multimodal editing: sketch and semantic map of skin and hair",
        "edit",
        _EDIT_METRICS,
        MIX,
        data=FACES,
        modalities=("Sk+Se", "Sk+Se+Ma"),
        classes=("skin", "hair"),
    ),
    Table(
        "6.4",
        "Editing by sketch",
        "edit",
        _EDIT_METRICS,
        MIX,
        data=FACES,
        modalities=("Sk", "Sk+Co", "Sk+Ma"),
    ),
    Table(
        "6.5",
        "Editing by semantic map",
        "edit",
        _EDIT_METRICS,
        MIX,
        data=FACES,
        modalities=("Se", "Se+Co", "Se+Ma"),
    ),
    Table(
        "6.6",
        "Ablation of FACEMUG's components",
        "edit",
        _EDIT_METRICS,
        HALF,
        data=("FFHQ",),
        modalities=("Ma",),
        notes=(
            TEMPLATES,
            ABLATION,
            "Rows A to E are what train.multimodal writes with --ablation a to e and --latent_warper.",
            "The thesis names no modalities; here the masked picture alone is given.",
        ),
    ),
    Table(
        "6.7",
        "Editing by exemplars of similar pose",
        "edit",
        ("fid", "lpips"),
        MIX,
        data=("CelebA-HQ",),
        pairing="pose",
        modalities=("Ex+Ma",),
        notes=("The thesis does not name the holes; here those of section 6.3.1.",),
    ),
    Table(
        "fig-6.12",
        "Editing by every subset of five modalities",
        "edit",
        ("lpips", "psnr"),
        (CENTRE,),
        pairing="pose",
        modalities=tuple("+".join((*subset, "Ma")) for subset in subsets(FIVE)),
        starter="face-edit",
        wordless=True,
        sheet="facekit_cli.evaluation.figures.fig_6_12",
        notes=(
            "The thesis shows pictures alone; the numbers are distances to the undamaged ones. Sketch, map, colours "
            "and words are of the picture itself, the exemplar is one of similar pose, and the hole is the fixed one.",
        ),
    ),
    Table(
        "fig-6.14",
        "Ablation of the latent warper",
        "edit",
        _EDIT_METRICS,
        MODERATE,
        data=("FFHQ",),
        pairing="reversed",
        modalities=("Ex+Ma",),
        options=(("with warping", "align_pose", True), ("w/o warping", "align_pose", False)),
        notes=(TEMPLATES,),
    ),
)

TABLES: dict[str, Table] = {table.name: table for table in _TABLES}
