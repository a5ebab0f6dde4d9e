"""`train.starters` with stages that only wait: what the launcher does, without training.

    python starters_probe.py --data ... --output ...

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

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from train import family, starters


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
        family.STAGES[name] = dataclasses.replace(stage, script=str(Path(__file__).resolve()))
    starters.check = lambda *_: None
    # In place of the module, which takes seconds to import.
    sys.modules["train.family_results"] = types.SimpleNamespace(write_results=write_results)  # type: ignore[assignment]
    starters.main()
