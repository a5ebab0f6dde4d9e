"""Models that a table trains itself: which, by which commands, how a stop ends them, and one whole run."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from facekit_cli.errors import UsageError
from facekit_cli.evaluation import training
from facekit_cli.evaluation.data import Pictures, open_pictures
from facekit_cli.evaluation.tables import TABLES
from facekit_cli.evaluation.training import Job, is_trained, plan_training, run_folder
from tests.helpers.evaluation import SIZE, evaluate, read_report

ROOT = Path(__file__).resolve().parents[3]
CONFIG = str(ROOT / "train/configs/inpaint/thesis.yaml")
TINY = {
    "max_steps": 1,
    "batch_size": 2,
    "masks": {"kind": "centre"},
    "reasoning_steps": 1,
    "inpainter": {
        "sample_size": SIZE,
        "stem_channels": 4,
        "encoder_channels": [8, 8, 8],
        "dim": 8,
        "num_blocks": [1, 1, 1, 1],
        "num_refinement_blocks": 1,
        "num_heads": [1, 1, 2, 2],
    },
    "adversarial": {"weight": 0, "patch_weight": 0},
    "pixel_weight": 1,
    "pictures": {"perceptual": "none"},
    "validation": {"every": 0},
    "sample_every": 0,
    "tracker": "none",
}


@pytest.fixture
def collections(data: Path, tmp_path: Path) -> list[Pictures]:
    """Two, of 60 and of 4 training pictures."""
    found = []
    for name, count in (("Dog", 60), ("Shell", 4)):
        shutil.copytree(data / "val", tmp_path / name / "val")
        (tmp_path / name / "train").mkdir()
        for number in range(count):
            shutil.copy(data / "val/0.png", tmp_path / name / "train" / f"{number}.png")
        found.append(open_pictures(str(tmp_path / name), "val", SIZE))
    return found


def options_of(job: Job) -> dict[str, str]:
    """What a command says after `-m train.inpaint`."""
    words = job.command[job.command.index("train.inpaint") + 1 :]
    return dict(zip(words[::2], words[1::2], strict=True))


def test_a_command_for_each_collection_and_number_of_shots(
    collections: list[Pictures], tmp_path: Path
) -> None:
    methods = ["input", f"GRIG={tmp_path}/runs/{{data}}-{{shots}}"]
    jobs = plan_training(TABLES["4.3"], methods, collections, [CONFIG, "max_steps=7"], cpu=True)
    assert [job.folder.name for job in jobs] == [
        f"{d}-{n}" for d in ("Dog", "Shell") for n in (5, 10, 30, 50)
    ]
    launch = (sys.executable, "-m", "accelerate.commands.launch", "--cpu", "-m", "train.inpaint")
    assert jobs[0].command[:6] == launch
    given = [options_of(job) for job in jobs]
    assert [each.get("--shots") for each in given] == ["5", "10", "30", "50", None, None, None, None]
    expected = {"--config": CONFIG, "--max_steps": "7", "--output_dir": str(tmp_path / "runs/Shell-5")}
    assert given[4] == expected | {"--data": str(tmp_path / "Shell")}  # all four pictures

    wanted = [CONFIG, "validation.data=held-out/{data}"]
    jobs = plan_training(TABLES["4.3"], [f"{methods[1]}/best"], collections, wanted, cpu=True)
    assert jobs[0].folder == tmp_path / "runs/Dog-5"
    held = [options_of(job)["--validation.data"] for job in jobs]
    assert held == ["held-out/Dog"] * 4 + ["held-out/Shell"] * 4

    table = TABLES["4.6"]
    jobs = plan_training(table, [f"GRIG={tmp_path}/T{{T}}/best"], collections[:1], [CONFIG], cpu=False)
    assert [options_of(job)["--reasoning_steps"] for job in jobs] == ["1", "3", "5", "7", "9"]
    assert jobs[0].folder == tmp_path / "T1" and "--cpu" not in jobs[0].command


def test_what_is_there_is_not_trained(collections: list[Pictures], tmp_path: Path) -> None:
    records = {5: {"complete": True}, 10: {"complete": False}, 30: None}
    for shots, record in records.items():
        (tmp_path / f"runs/{shots}/pipeline").mkdir(parents=True)
        if record is not None:
            (tmp_path / f"runs/{shots}/pipeline/training.json").write_text(json.dumps(record))
    jobs = plan_training(TABLES["4.3"], [f"a={tmp_path}/runs/{{shots}}"], collections[:1], [CONFIG], cpu=True)
    assert [job.folder.name for job in jobs] == ["10", "50"]  # not to its end, and not at all

    (tmp_path / "other/10-20").mkdir(parents=True)  # another tool's outputs
    (tmp_path / "killed/checkpoints").mkdir(parents=True)
    (tmp_path / "killed/curves.jsonl").touch()
    assert is_trained(tmp_path / "other") and not is_trained(tmp_path / "killed")
    assert run_folder(f"a={tmp_path}/runs/5/pipeline?x=1") == tmp_path / "runs/5"


@pytest.mark.parametrize(
    ("table", "methods", "wanted", "message"),
    [
        ("4.5", ["a=b"], [CONFIG], "has no models that --train could make"),
        ("4.3", ["a=b"], [CONFIG], "say --method NAME=runs/{shots}"),
        ("4.3", ["a=b/{shots}"], ["nowhere.yaml"], "nowhere.yaml is no file"),
        ("4.3", ["a=b/{shots}"], [CONFIG], "write {data} too"),
        ("4.3", ["a=b/{data}-{shots}"], [CONFIG, "shots=3"], "the table sets shots itself"),
        ("4.3", ["a=b/{data}-{shots}"], [CONFIG, "max_steps"], "options as NAME=VALUE, not 'max_steps'"),
    ],
)
def test_what_is_refused(
    table: str, methods: list[str], wanted: list[str], message: str, collections: list[Pictures]
) -> None:
    with pytest.raises(UsageError) as caught:
        plan_training(TABLES[table], methods, collections, wanted, cpu=True)
    assert message in str(caught.value)


def test_the_measured_pictures_are_not_trained_on(data: Path, tmp_path: Path) -> None:
    alone = open_pictures(str(data / "train"), None, SIZE)
    with pytest.raises(UsageError, match="pictures that are not measured: a folder train beside"):
        plan_training(TABLES["4.3"], [f"a={tmp_path}/{{shots}}"], [alone], [CONFIG], cpu=True)


def test_other_methods_are_refused_before_training(
    collections: list[Pictures], models: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("4.3", "--data", tmp_path / "Dog", "--train", CONFIG, "--output", tmp_path / "out")
    ours = ("-m", f"GRIG={tmp_path}/runs/{{shots}}")
    assert evaluate(*arguments, *ours, "-m", f"other={models['restore']}") == 2
    said = capsys.readouterr()
    assert "needs FaceInpaintPipeline" in said.err and "training 1" not in said.out
    assert not (tmp_path / "runs").exists()


PARENT = """
import signal, sys
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from facekit_cli.evaluation.training import Job, train
grandchild = "import os, time; open('grandchild', 'w').write(str(os.getpid())); time.sleep(600)"
child = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {grandchild!r}]).wait()"
train([Job(Path("run"), (sys.executable, "-c", child))])
"""


def runs(process: str) -> bool:
    """Whether a process is at work; one that ended and whose code nobody asked for is not."""
    status = Path(f"/proc/{process}/status")
    return status.exists() and "zombie" not in status.read_text()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="processes are looked up in /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_a_stop_ends_what_was_launched(number: signal.Signals, code: int, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL
    )
    file, deadline = tmp_path / "grandchild", time.monotonic() + 60
    while not (file.exists() and file.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process = file.read_text()
    assert runs(process)
    with pytest.raises(UsageError, match="another process trains in"), training._lock(tmp_path / "run"):
        pass
    parent.send_signal(number)
    assert parent.wait(60) == code
    while runs(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs(process)


@pytest.mark.slow
def test_table_4_3_from_nothing(
    collections: list[Pictures], tmp_path: Path, no_downloads: None, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two models are trained, measured, and measured again without training."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    arguments = (
        *("4.3", "--data", tmp_path / "Dog", "--count", 2, "--values", 2, 3, "--metrics", "lpips"),
        *("-m", f"GRIG={tmp_path}/runs/{{data}}-{{shots}}", "--output", tmp_path / "out"),
        *("--train", tmp_path / "tiny.yaml", "max_steps=2"),
    )
    assert evaluate(*arguments) == 0
    assert "training 2 of 2" in capfd.readouterr().out
    record = json.loads((tmp_path / "runs/Dog-3/pipeline/training.json").read_text())
    assert record["steps"] == 2 and record["complete"]
    (row,) = read_report(tmp_path / "out")["rows"]
    apart = json.loads((tmp_path / "out/curves.json").read_text())["rows"]
    assert [each["method"] for each in apart] == ["GRIG, 2-shot", "GRIG, 3-shot"]
    means = [sum(each["values"][:6]) / 6 for each in apart]
    assert row["values"][0] == pytest.approx(sum(means) / 2)

    assert evaluate(*arguments) == 0
    assert "training 1" not in capfd.readouterr().out
