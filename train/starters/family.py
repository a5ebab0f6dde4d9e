"""The stages of the starter family: what each trains, what it needs, and its share of the time."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from train.engine.config import read_yaml
from train.engine.groups import merge, nest

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "train" / "configs"
CHECKPOINT_MINUTES = 10  # what a stage that is killed loses at most
Values = dict[str, Any]
# Networks with StyleGAN2's table of channels; the refiner takes the prior's.
WITH_CHANNELS = ("prior", "restorer", "multi_style_generator")


@dataclass(frozen=True)
class Family:
    """What the user asked for.

    Attributes:
        data: folders of pictures, and how often each is drawn from.
        validation, validation_split: folder and split of the held-out pictures; None without any.
        output: folder of stages and results.
        size: side of the pictures in pixels.
        starts: stage -> folder of networks that it begins from, or that take its place.
        parser: folder or Hub id of the network that labels parts of faces.
        exclude: metadata column -> values that are left out.
        channels: `channel_base` and `max_channels` of all networks built as StyleGAN2's are; None: as configured.
        shared: options of every stage.
        own: options of single stages.
        license: of the models, as the Hub names it, for their cards.
    """

    data: dict[str, float]
    output: Path
    validation: str | None = None
    validation_split: str = "validation"
    size: int = 256
    starts: dict[str, Path] = field(default_factory=dict)
    parser: str = ""
    exclude: dict[str, list[Any]] = field(default_factory=dict)
    channels: tuple[int, int] | None = None
    shared: Values = field(default_factory=dict)
    own: dict[str, Values] = field(default_factory=dict)
    license: str = "other"

    def folder(self, stage: str) -> Path:
        """Folder in which a stage writes."""
        return self.output / "stages" / stage

    def find_result(self, stage: str) -> Path:
        """Folder of a stage's networks: the best where they were scored, else the last, else those of `starts`."""
        for name in ("best", "pipeline", "directions"):
            if (self.folder(stage) / name).is_dir():
                return self.folder(stage) / name
        if stage in self.starts:
            return self.starts[stage]
        return self.folder(stage) / "pipeline"


@dataclass(frozen=True)
class Stage:
    """One training.

    Attributes:
        module: what is launched, `python -m MODULE`; its options are in `MODULE.config`.
        config: file below `train/configs/`, without its ending.
        needs: stages whose networks it reads.
        begins: stage whose networks it goes on with; None: it starts afresh, as where that one has not run.
        share: of the time of all stages that run, in proportion to theirs.
        fill: gives the options that depend on the family, beside its pictures.
        sizes: sides of a family's pictures at which the stage is part of the family.
    """

    module: str
    config: str
    needs: tuple[str, ...]
    begins: str | None
    share: float
    fill: Callable[[Family], Values]
    sizes: tuple[int, ...] = (64, 128, 256)


def _sized(config: str, key: str, size: int, **more: Any) -> Values:
    """The options of a network in a configuration, under the name `key`, at another size."""
    return {key: read_yaml(CONFIGS / f"{config}.yaml")[key] | {"sample_size": size} | more}


def _num_styles(size: int) -> int:
    return 2 * size.bit_length() - 4


def _autoencoder(config: str, side: int | None) -> Callable[[Family], Values]:
    def fill(family: Family) -> Values:
        size = side or family.size
        encoder = {"num_styles": _num_styles(family.size), "sample_size": min(128, family.size)}
        values = _sized(config, "prior", size)
        values["encoder"] = read_yaml(CONFIGS / f"{config}.yaml")["encoder"] | encoder
        return values

    return fill


def _frozen(family: Family, encoder: str = "autoencoder") -> Values:
    return {
        "prior": str(family.find_result("autoencoder")),
        "style_encoder": str(family.find_result(encoder)),
    }


def _labels(family: Family) -> Values:
    """Label maps of the pictures: their own where one folder has them all (and the held-out ones), else a parser's."""
    (first, *others) = family.data
    folders = [first] if family.validation is None else [first, family.validation]
    if not others and all((Path(folder) / "semantic").is_dir() for folder in folders):
        return {"guidance": {"semantics": "folder"}}
    return {"guidance": {"semantics": "parser", "face_parser": family.parser}}


STAGES: dict[str, Stage] = {
    "autoencoder-64": Stage(
        "train.style_encoder", "style_encoder/autoencoder-starter-64", (), None, 1.0,
        _autoencoder("style_encoder/autoencoder-starter-64", 64), (128, 256),
    ),
    "autoencoder-128": Stage(
        "train.style_encoder", "style_encoder/autoencoder-starter-128", (), "autoencoder-64", 2.0,
        _autoencoder("style_encoder/autoencoder-starter-128", 128), (256,),
    ),
    "autoencoder": Stage(
        "train.style_encoder", "style_encoder/autoencoder-starter", (), "autoencoder-128", 8.0,
        _autoencoder("style_encoder/autoencoder-starter", None),
    ),
    "restorer-plain": Stage(
        "train.restorer", "restorer/starter-plain", (), None, 4.0,
        lambda family: _sized("restorer/starter-plain", "restorer", family.size),
    ),
    "inpaint": Stage(
        "train.inpaint", "inpaint/starter", (), None, 3.0,
        lambda family: _sized("inpaint/starter", "inpainter", family.size),
    ),
    "inpaint-sharp": Stage(
        "train.inpaint", "inpaint/starter-sharp", (), "inpaint", 5.0,
        lambda family: _sized("inpaint/starter", "inpainter", family.size),  # where it starts afresh
    ),
    "code-diffuser": Stage(
        "train.code_diffuser", "code_diffuser/starter", ("autoencoder",), None, 1.0,
        lambda family: _frozen(family) | {"size": family.size},
    ),
    "restorer": Stage(
        "train.restorer", "restorer/starter", ("autoencoder", "code-diffuser"), "restorer-plain", 5.0,
        lambda family: _frozen(family) | _sized("restorer/starter", "restorer", family.size)
        | {"code_diffuser": str(family.find_result("code-diffuser"))},
    ),
    "exemplar-128": Stage(
        "train.exemplar", "exemplar/starter-128", ("autoencoder",), None, 2.0,
        lambda family: _frozen(family) | _sized("exemplar/starter-128", "multi_style_generator", 128), (256,),
    ),
    "exemplar": Stage(
        "train.exemplar", "exemplar/starter", ("autoencoder",), "exemplar-128", 5.0,
        lambda family: _frozen(family) | _sized("exemplar/starter", "multi_style_generator", family.size),
    ),
    "encoder-multimodal": Stage(
        "train.style_encoder", "style_encoder/multimodal-starter", ("autoencoder",), "autoencoder", 2.0,
        # What is scored elsewhere, reconstructions of whole pictures, is not what this stage learns.
        lambda family: _labels(family) | {"size": family.size, "validation": {"data": None}}
        | {key: str(family.find_result("autoencoder")) for key in ("prior", "teacher")},
    ),
    "latent-warper": Stage(
        "train.latent_warper", "latent_warper/starter", ("autoencoder", "encoder-multimodal"), None, 1.0,
        lambda family: _frozen(family, "encoder-multimodal") | {"size": min(128, family.size)},
    ),
    "directions": Stage(
        "train.directions", "", ("autoencoder",), None, 0.0,
        lambda family: {"method": "pca", "prior": str(family.find_result("autoencoder"))},
    ),
    "edit-128": Stage(
        "train.multimodal", "multimodal/starter-128", ("autoencoder", "encoder-multimodal"), None, 2.0,
        lambda family: _frozen(family, "encoder-multimodal") | _labels(family), (256,),
    ),
    "edit": Stage(
        "train.multimodal", "multimodal/starter", ("autoencoder", "encoder-multimodal", "latent-warper", "directions"),
        "edit-128", 5.0,
        lambda family: _frozen(family, "encoder-multimodal") | _labels(family)
        | _sized("multimodal/starter", "refiner", family.size)
        | {"guide_size": family.size, "latent_warper": str(family.find_result("latent-warper")),
           "directions": str(family.find_result("directions"))},
    ),
}  # fmt: skip


def holds(folder: Path, name: str, kind: str) -> bool:
    """Whether a folder has a network of a class: in its sub-folder `name`, or itself where there is none."""
    place = folder / name if (folder / name).is_dir() else folder
    try:
        return json.loads((place / "config.json").read_text()).get("_class_name") == kind
    except (OSError, ValueError):
        return False


@dataclass(frozen=True)
class StagePlan:
    """A stage of one family, ready to run.

    Attributes:
        needs: stages of this launch that end before it begins.
        values: its options; empty until `refresh` fills them in.
        folder: in which it writes.
        share, minutes: its part of the time, and what that is.
    """

    name: str
    module: str
    needs: tuple[str, ...]
    values: Values
    folder: Path
    share: float
    minutes: float = 0.0

    @property
    def result(self) -> Path:
        """Folder that it leaves behind when it ends."""
        return self.folder / ("directions" if self.name == "directions" else "pipeline")

    @property
    def is_done(self) -> bool:
        """Whether it was finished, in this launch or before."""
        return (self.folder / "done").is_file()

    def mark_done(self) -> None:
        """Remember that it was finished."""
        (self.folder / "done").touch()

    def refresh(self, family: Family) -> "StagePlan":
        """A copy with its options filled in, by the folders of the stages before it as they are now."""
        return dataclasses.replace(self, values=_values(self.name, family, self.minutes))


def _values(name: str, family: Family, minutes: float) -> Values:
    stage = STAGES[name]
    if name == "directions":  # takes no time and no pictures
        return stage.fill(family) | {"output_dir": str(family.folder(name))} | family.own.get(name, {})
    values = read_yaml(CONFIGS / f"{stage.config}.yaml")
    data: Any = dict(family.data)
    if len(data) == 1:
        (data,) = data
    values |= {"data": data, "output_dir": str(family.folder(name)), "exclude": family.exclude}
    values |= {"max_steps": 10**7, "total_minutes": minutes, "checkpoint_minutes": CHECKPOINT_MINUTES}
    if "validation" in values and family.validation is not None:
        scored = {"data": family.validation, "split": family.validation_split}
        values = merge(values, {"validation": scored})
    values = merge(values, stage.fill(family))
    if family.channels is not None:
        base, most = family.channels
        for network in WITH_CHANNELS:
            if isinstance(values.get(network), dict):  # else a finished one, which has its own
                values[network] = values[network] | {"channel_base": base, "max_channels": most}
    begins = _begins(name, family)
    before = family.starts.get(name) or (family.find_result(begins) if begins else None)
    if before is not None and before.is_dir():
        values["init_from"] = str(before)
    return merge(values | family.shared, nest(family.own.get(name, {})))


def _begins(name: str, family: Family) -> str | None:
    """The stage that this one goes on with, or the one before that where the family's size has none of it."""
    before = STAGES[name].begins
    while before is not None and family.size not in STAGES[before].sizes:
        before = STAGES[before].begins
    return before


def plan_stages(family: Family, only: Sequence[str] | None) -> list[StagePlan]:
    """Plan the stages that are to run, each after those that it needs.

    Args:
        only: names of the stages; None: all of the family's size.

    Raises:
        ValueError: a stage is not part of a family of this size, or needs networks that no stage and no `starts` give.
    """
    for option, names in (("--only", only or ()), ("--init_from", family.starts), ("--set", family.own)):
        for name in names:
            if family.size not in STAGES[name].sizes:
                raise ValueError(f"{option} {name}: a family of {family.size} pixels has no such stage")
    chosen = [name for name in STAGES if family.size in STAGES[name].sizes and (only is None or name in only)]
    plans = []
    for name in chosen:
        stage = STAGES[name]
        for need in stage.needs:
            if need not in chosen and not family.find_result(need).is_dir():
                raise ValueError(
                    f"stage {name} needs {need}: run it too, or name its folder, --init_from {need}=FOLDER"
                )
        waits = {*stage.needs, *([] if name in family.starts else [_begins(name, family)])} & set(chosen)
        plan = StagePlan(name, stage.module, tuple(sorted(waits)), {}, family.folder(name), stage.share)
        plans.append(plan)
    return plans


def share_out(plans: Sequence[StagePlan], minutes: float, parallel: int) -> list[StagePlan]:
    """Give each stage its minutes, by its share, so that all of them end after `minutes` of the clock.

    Args:
        parallel: number of stages that run side by side.

    Raises:
        ValueError: `minutes` or `parallel` is not above 0.
    """
    if minutes <= 0 or parallel < 1:
        raise ValueError(f"minutes and parallel must be above 0, got {minutes:g} and {parallel}")
    whole = _length(plans, parallel)
    if whole == 0:
        return list(plans)
    return [dataclasses.replace(plan, minutes=plan.share * minutes / whole or minutes) for plan in plans]


def _length(plans: Sequence[StagePlan], parallel: int) -> float:
    """How long stages take together, each as long as its share and begun as soon as it can be."""
    ends: dict[str, float] = {}
    lanes = [0.0] * parallel
    waiting = list(plans)
    while waiting:
        free = min(range(parallel), key=lambda i: lanes[i])
        ready = [plan for plan in waiting if all(need in ends for need in plan.needs)]
        begin = {plan.name: max([lanes[free], *(ends[need] for need in plan.needs)]) for plan in ready}
        plan = min(ready, key=lambda plan: begin[plan.name])
        waiting.remove(plan)
        ends[plan.name] = lanes[free] = begin[plan.name] + plan.share
    return max(ends.values(), default=0.0)
