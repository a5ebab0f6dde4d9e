"""`train.starters` with stages that only wait: what the launcher does, without training.

    PYTHONPATH=ROOT:ROOT/tests/train python -m starters_probe --data ... --output ...

Each stage writes a line into OUTPUT/stages/NAME/launches.txt, then waits for a file in there: `end` lets it finish,
`fail` break.
"""

import dataclasses
import signal
import sys
import time
import types
from pathlib import Path

import yaml

from train.starters import __main__ as starters
from train.starters import family


def wait(config: Path) -> None:
    folder = Path(yaml.safe_load(config.read_text())["output_dir"])
    with open(folder / "launches.txt", "a") as launches:
        launches.write("launched\n")
    while not any((folder / name).exists() for name in ("end", "fail")):
        time.sleep(0.05)
    if (folder / "fail").exists():
        sys.exit("it broke")
    (folder / ("directions" if folder.name == "directions" else "pipeline")).mkdir()


def write_results(told: family.Family, plans: object) -> None:
    (told.output / "results.txt").write_text("written\n")


if __name__ == "__main__":
    if sys.argv[1] == "--config":
        wait(Path(sys.argv[2]))
        sys.exit()
    # The jobs that a shell runs in the background, tests among them, begin with Ctrl-C switched off.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name, stage in family.STAGES.items():
        family.STAGES[name] = dataclasses.replace(stage, module="starters_probe")
    starters.check = lambda *_: None
    # In place of the module, which takes seconds to import.
    sys.modules["train.starters.results"] = types.SimpleNamespace(write_results=write_results)  # type: ignore[assignment]
    starters.main()
