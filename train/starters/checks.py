"""Checks of a family before any work: pictures, networks, options, space."""

import importlib
import math
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from train.engine.config import read_config
from train.starters.family import STAGES, Family, StagePlan, holds
from train.starters.kinds import find_untrained

LEAST_MINUTES = 0.05  # a stage must be able to begin at least
SPACE = 3 * 2**30  # bytes: networks, optimizers and two checkpoints of each stage
CODES_FILE = "style_codes.safetensors"  # as `facekit.pipelines.sample` calls it
LOOKED_AT = 12  # pictures in which a face is sought

# Of each module: the class of its options, and the networks by name and class that it can go on with.
OPTIONS = {
    "train.style_encoder": "StyleEncoderConfig",
    "train.restorer": "RestorerConfig",
    "train.inpaint": "InpaintConfig",
    "train.code_diffuser": "CodeDiffuserConfig",
    "train.exemplar": "ExemplarConfig",
    "train.latent_warper": "LatentWarperConfig",
    "train.directions": "DirectionsConfig",
    "train.multimodal": "MultimodalConfig",
}
NETWORKS = {
    "train.style_encoder": {"style_encoder": "StyleEncoder"},
    "train.restorer": {"restorer": "RestoreAutoEncoder"},
    "train.inpaint": {"residual_inpainter": "ResidualInpainter"},
    "train.code_diffuser": {"code_diffuser": "CodeDiffuser"},
    "train.exemplar": {"multi_style_generator": "MultiStyleGenerator"},
    "train.latent_warper": {"latent_warper": "LatentWarper"},
    "train.directions": {"directions": "StyleDirections"},
    "train.multimodal": {"aggregation": "MultimodalAggregation", "refiner": "RefinementAutoEncoder"},
}
# These train from scratch only: what is given can stand in for them, not be gone on with.
NEVER_GO_ON = ("train.code_diffuser", "train.directions")


def check(family: Family, plans: Sequence[StagePlan], minutes: float) -> None:
    """Make all checks; print a line about each folder of pictures, and notes.

    Raises:
        ValueError: what was asked for cannot work.
        OSError: something is missing: pictures, networks, packages, space.
    """
    from facekit.weights.imagenet import efficientnet_lite_file

    for name in find_untrained():
        print(f"note: the method {name} is not trained here: its package has to train it")
    check_minutes(plans, minutes)
    check_starts(family, plans)
    efficientnet_lite_file(0)
    check_pictures(family, plans)
    for plan in plans:
        read_options_of(plan.refresh(family))
    check_codes(family, plans)
    check_parser(family, plans)
    check_space(family.output)


def check_minutes(plans: Sequence[StagePlan], minutes: float) -> None:
    """Refuse a time that is too short for all stages. Raises ValueError with how long is needed."""
    least = min(plan.minutes for plan in plans)
    if least < LEAST_MINUTES:
        needed = minutes * LEAST_MINUTES / least
        raise ValueError(
            f"{minutes:g} minutes are too few for {len(plans)} stages: give {needed:.1f} or more, or choose by --only"
        )


def check_starts(family: Family, plans: Sequence[StagePlan]) -> None:
    """Refuse folders of `--init_from` without the networks of their stages (OSError), or of no use (ValueError)."""
    running = {plan.name for plan in plans}
    for stage, folder in family.starts.items():
        module = STAGES[stage].module
        if not folder.is_dir():
            raise OSError(f"--init_from {stage}={folder}: there is no such folder")
        wanted = find_stage_networks(stage)
        missing = [name for name, kind in wanted.items() if not holds(folder, name, kind)]
        if missing:
            raise OSError(
                f"--init_from {stage}={folder}: it has no {' and no '.join(missing)} "
                f"({', '.join(wanted[name] for name in missing)})"
            )
        if stage in running and module in NEVER_GO_ON:
            raise ValueError(
                f"--init_from {stage}={folder}: this stage cannot go on with networks. They can stand in for it: "
                "choose the other stages by --only"
            )
        if module == "train.inpaint" and not (folder / "model_index.json").is_file():
            raise OSError(f"--init_from {stage}={folder}: it is no whole pipeline (no model_index.json)")
        if module == "train.code_diffuser" and not (folder / "scheduler").is_dir():
            raise OSError(f"--init_from {stage}={folder}: it has no scheduler, which belongs to the diffuser")


def find_stage_networks(stage: str) -> dict[str, str]:
    """Names and classes of the networks that a stage writes and others begin from."""
    joint = {"prior": "StyleGAN2Generator"} if stage.startswith("autoencoder") else {}
    return joint | NETWORKS[STAGES[stage].module]


def read_options_of(plan: StagePlan) -> Any:
    """Read the options of a stage as it will. Raises ValueError where it will refuse them."""
    options = getattr(importlib.import_module(f"{plan.module}.config"), OPTIONS[plan.module])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(yaml.safe_dump(plan.values, sort_keys=False))
        try:
            return read_config(options, ["--config", str(path)])
        except (ValueError, TypeError) as error:
            raise ValueError(f"stage {plan.name}: {str(error).removeprefix(f'{path}: ')}") from error


def check_codes(family: Family, plans: Sequence[StagePlan]) -> None:
    """Refuse a given prior without codes of faces where a stage mixes such codes. Raises OSError."""
    given = family.starts.get("autoencoder")
    for values in (plan.refresh(family).values for plan in plans):
        if given is None or values.get("random_codes") != "faces" or values.get("prior") != str(given):
            continue
        if not any((folder / CODES_FILE).is_file() for folder in (given / "prior", given)):
            raise OSError(
                f"--init_from autoencoder={given}: its prior has no {CODES_FILE}, whose codes the stage edit mixes"
            )


def check_parser(family: Family, plans: Sequence[StagePlan]) -> None:
    """Refuse a missing face parser where a stage needs it; a Hub id is not looked up. Raises OSError."""
    if Path(family.parser).is_dir() or re.fullmatch(r"[\w.-]+/[\w.-]+", family.parser):
        return
    for plan in plans:
        if plan.refresh(family).values.get("guidance", {}).get("semantics") == "parser":
            raise OSError(
                f"--parser {family.parser}: there is no such folder, and stage {plan.name} needs it"
            )


def check_pictures(family: Family, plans: Sequence[StagePlan]) -> None:
    """Check the pictures to train on and to score; print how many there are, and a note where they show no faces.

    Raises:
        OSError: a folder is missing.
        ValueError: no picture is left, label maps would be taken for pictures, or there are too few to score.
    """
    from train.data.images import ImageSource

    for folder in family.data:
        if not Path(folder).is_dir():
            raise OSError(f"--data {folder}: there is no such folder")
    rows = ImageSource(dict(family.data), exclude=family.exclude).load()
    for folder, part in zip(family.data, rows.parts, strict=True):
        maps = Path(folder).resolve() / "semantic"
        if maps.is_dir() and any(maps in Path(file).resolve().parents for file in list_files(part)):
            raise ValueError(
                f"{folder}: the label maps in its folder `semantic` would be taken for pictures: put them elsewhere"
            )
        print(f"{folder}: {len(part)} picture{'' if len(part) == 1 else 's'}")
    if not shows_face(rows):
        print(
            f"note: no face was found in {min(LOOKED_AT, len(rows))} of the pictures. Other subjects may be trained, "
            "but restoring, filling after an exemplar and editing look for faces, aligned as those of FFHQ"
        )
    if family.validation is None:
        return
    if not Path(family.validation).is_dir():
        raise OSError(f"--validation {family.validation}: there is no such folder")
    try:
        held_out = len(ImageSource(family.validation, family.validation_split).load())
    except ValueError as error:
        raise ValueError(f"--validation {family.validation}: {error} (see --validation_split)") from error
    print(f"{family.validation}: {held_out} held-out pictures")
    if held_out < 2 and any(plan.module == "train.exemplar" for plan in plans):
        raise ValueError(
            f"--validation {family.validation}: the exemplar stages fill faces after one another and need two pictures"
        )


def list_files(rows: Any) -> list[str]:
    """The files behind a table of pictures, without opening them."""
    import datasets

    cells = rows.cast_column("image", datasets.Image(decode=False))["image"]
    return [cell["path"] for cell in cells if cell["path"]]


def shows_face(rows: Any) -> bool:
    """Whether the bundled detector finds a face in any of a few pictures, spread over all of them."""
    from facekit.faces import detect_faces
    from train.data.images import fit_square

    for index in np.linspace(0, len(rows) - 1, min(LOOKED_AT, len(rows))).round().astype(int):
        pixels = fit_square(rows[int(index)]["image"], 256, None)  # small pictures are enlarged
        if detect_faces(pixels, faces="largest", turned=False):
            return True
    return False


def check_space(output: Path) -> None:
    """Refuse a folder, which need not exist yet, whose disk is nearly full. Raises OSError."""
    place = next(path for path in (output.absolute(), *output.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    if free < SPACE:
        raise OSError(
            f"{output} has {free / 2**30:.1f} GiB left; checkpoints of all stages need {SPACE / 2**30:.0f}"
        )


def read_weight(entry: str) -> tuple[str, float]:
    """Read FOLDER or FOLDER=WEIGHT -> both. Raises ValueError for a weight that is no positive number."""
    if Path(entry).is_dir() or "=" not in entry:
        return entry, 1.0
    folder, _, text = entry.rpartition("=")
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not (math.isfinite(weight) and weight > 0):
        raise ValueError(f"--data {entry}: the weight must be a positive number, got {text!r}")
    return folder, weight


def check_named_twice(folders: Sequence[str]) -> None:
    """Refuse two names of one folder. Raises ValueError."""
    seen: dict[Path, str] = {}
    for folder in folders:
        place = Path(folder).resolve()
        if place in seen:
            raise ValueError(
                f"--data names {folder} twice{'' if folder == seen[place] else f' (also as {seen[place]})'}: "
                "to draw from it more often, give it a weight"
            )
        seen[place] = folder
