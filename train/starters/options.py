"""The command line of the starters."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from train.starters.checks import check_named_twice, read_weight
from train.starters.family import ROOT, STAGES, Family


def read_options(argv: Sequence[str] | None = None, description: str = "") -> argparse.Namespace:
    """Parse the command line; `argv` None reads `sys.argv`. Raises SystemExit as argparse does."""
    parser = argparse.ArgumentParser(
        prog="python -m train.starters",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", action="append", required=True, type=os.path.expanduser, metavar="FOLDER[=WEIGHT]",
        help="pictures of aligned faces; several are mixed by their weights (default 1)")  # fmt: skip
    add(
        "--validation",
        type=os.path.expanduser,
        metavar="FOLDER",
        help="held-out pictures by which the best weights of a stage are kept",
    )
    add("--validation_split", default="validation")
    add("--minutes", type=float, required=True, help="of the clock, for all stages together")
    add("--output", type=os.path.expanduser, required=True, help="folder of stages and results")
    add("--only", nargs="+", choices=[*STAGES], metavar="STAGE", help=f"some of {', '.join(STAGES)}")
    add("--init_from", nargs="+", default=[], metavar="STAGE=FOLDER",
        help="begin a stage from these networks, or stand them in for it where it is not run")  # fmt: skip
    add("--size", type=int, default=256, choices=(64, 128, 256), help="side of the pictures")
    add("--parallel", type=int, default=1, help="stages side by side on the same device")
    add("--num_processes", type=int, default=1, help="processes of a stage (one for each GPU)")
    add("--batch_size", type=int, help="of every stage, instead of each one's own")
    add("--num_workers", type=int, default=0, help="processes of each stage that read and damage pictures")
    add("--mixed_precision", default="auto", choices=("auto", "no", "bf16", "fp16"))
    add("--parser", type=os.path.expanduser, metavar="FOLDER",
        default=str(ROOT / "hub_cards" / "face-parser-starter-256"),
        help="network that labels the parts of a face where the pictures come without label maps")  # fmt: skip
    add("--channels", type=int, nargs=2, metavar=("BASE", "MOST"),
        help="width of the style networks, min(BASE / side, MOST); 8192 128 is twice the bundled one")  # fmt: skip
    add("--exclude", type=yaml.safe_load, default={}, metavar="YAML",
        help="leave out pictures by a metadata column, e.g. '{generator: [DALLE3]}'")  # fmt: skip
    add(
        "--set",
        nargs="+",
        default=[],
        metavar="STAGE.OPTION=VALUE",
        help="an option of one stage, read as YAML",
    )
    add(
        "--license",
        default="other",
        help="of the models, for their cards, as the Hub names it (default: other)",
    )
    add("--seed", type=int, default=0)
    return parser.parse_args(argv)


def read_family(options: argparse.Namespace) -> Family:
    """Read the family that the options ask for. Raises ValueError where they are wrong or contradict each other."""
    data = [read_weight(entry) for entry in options.data]
    check_named_twice([folder for folder, _ in data])
    starts = _pairs(options.init_from, "--init_from")
    unknown = sorted(set(starts) - set(STAGES))
    if unknown:
        raise ValueError(f"--init_from names {', '.join(unknown)}; the stages are {', '.join(STAGES)}")
    own: dict[str, dict[str, Any]] = {}
    for name, value in _pairs(options.set, "--set").items():
        stage, _, option = name.partition(".")
        if stage not in STAGES or not option:
            raise ValueError(f"--set takes STAGE.OPTION=VALUE with one of {', '.join(STAGES)}; got {name}")
        own.setdefault(stage, {})[option] = yaml.safe_load(value)
    return Family(
        data=dict(data),
        validation=options.validation,
        validation_split=options.validation_split,
        output=Path(options.output),
        size=options.size,
        starts={stage: Path(folder).expanduser() for stage, folder in starts.items()},
        parser=options.parser,
        exclude=read_exclude(options.exclude),
        channels=None if options.channels is None else tuple(options.channels),
        license=options.license,
        shared={
            "mixed_precision": options.mixed_precision,
            "num_workers": options.num_workers,
            "seed": options.seed,
        }
        | ({} if options.batch_size is None else {"batch_size": options.batch_size}),
        own=own,
    )


def read_exclude(given: Any) -> dict[str, list[Any]]:
    """Read metadata columns and their values; a single value may stand without a list.

    Raises:
        ValueError: `given` is no mapping.
    """
    if not isinstance(given, dict):
        raise ValueError(f"--exclude takes columns and values, e.g. '{{generator: [DALLE3]}}'; got {given!r}")
    return {str(key): value if isinstance(value, list) else [value] for key, value in given.items()}


def _pairs(entries: Sequence[str], option: str) -> dict[str, str]:
    found = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        if not equals:
            raise ValueError(f"{option} takes NAME=VALUE, got {entry!r}")
        found[name] = value
    return found
