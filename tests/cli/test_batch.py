"""`facekit_cli.batch restore`: every photo once, whatever breaks, is killed, or how many processes share the work."""

import errno
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from facekit import FaceRestorePipeline
from facekit.images import files as disk
from facekit_cli.batch.command import main
from facekit_cli.batch.journal import Journal
from facekit_cli.batch.sources import seed_of
from facekit_cli.batch.stores import open_store

KILLED = Path(__file__).parents[1] / "helpers" / "killed_in_a_write.py"
RECORDS = {".facekit-batch/lock", ".facekit-batch/plan.jsonl", ".facekit-batch/run.json", "report.jsonl"}


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four photos with a face, one without, one broken; two of them would have the same name as PNG."""
    monkeypatch.chdir(tmp_path)
    folder = Path("photos")
    (folder / "trip" / "day 1").mkdir(parents=True)
    (folder / ".thumbnails").mkdir()
    picture = Image.fromarray(np.ascontiguousarray(astronaut()[0:220, 130:330]))
    for name in ("a.png", "a.jpg", "trip/b.png", "trip/day 1/c.tif", ".thumbnails/a.png", "trip/.hidden.png"):
        (picture.convert("CMYK") if name.endswith("tif") else picture).save(folder / name)
    shades = np.linspace(0, 255, 96 * 128 * 3).reshape(96, 128, 3)
    Image.fromarray(shades.astype(np.uint8)).save(folder / "trip" / "sky.png")
    (folder / "trip" / "broken.jpg").write_bytes(b"broken")
    (folder / "notes.txt").write_text("no picture")
    return folder


RESULTS = {"a.jpg.png", "a.png.png", "trip/b.png", "trip/day 1/c.tif", "trip/sky.png"}


def batch(*arguments: object) -> int:
    return main(["restore", *(str(a) for a in arguments)])


def files(folder: str | Path) -> dict[str, bytes]:
    """Every file under a folder, hidden ones too."""
    found = sorted(f for f in Path(folder).rglob("*") if f.is_file())
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in found}


def results(folder: str | Path) -> dict[str, bytes]:
    found = files(folder)
    assert RECORDS <= found.keys() and not any(name.endswith((".part", "-00000.jsonl")) for name in found)
    return {name: content for name, content in found.items() if name not in RECORDS}


def report(folder: str | Path = "out") -> dict[str, dict]:
    """The merged report by photo; no photo has two lines."""
    lines = [json.loads(line) for line in Path(folder, "report.jsonl").read_text().splitlines()]
    assert len({line["photo"] for line in lines}) == len(lines)
    return {line["photo"]: line for line in lines}


def times(folder: str | Path = "out") -> dict[str, int]:
    return {name: Path(folder, name).stat().st_mtime_ns for name in results(folder)}


def test_a_folder_with_sub_folders(photos: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    assert batch(photos, "-o", "out", "--model", model, "--batch-size", 3) == 1
    assert results("out").keys() == RESULTS
    lines = report()
    keys = {"a.jpg", "a.png", "trip/b.png", "trip/broken.jpg", "trip/day 1/c.tif", "trip/sky.png"}
    assert lines.keys() == keys
    broken, sky = lines.pop("trip/broken.jpg"), lines["trip/sky.png"]
    assert broken["status"] == "failed" and "no image that can be read" in broken["error"]
    assert {name for line in lines.values() for name in line["outputs"]} == RESULTS
    assert all(line["status"] == "done" and line["process"] == 0 for line in lines.values())
    assert [lines[key]["faces"] for key in sorted(lines)] == [1, 1, 1, 1, 0]
    # Notes go to the photo they are about, although photos are restored together.
    assert lines["a.jpg"]["notes"] == [] and "no face was found" in sky["notes"][0]
    assert sky["notes"][0].startswith("no face")
    np.testing.assert_array_equal(
        np.asarray(Image.open("out/trip/sky.png")), np.asarray(Image.open(photos / "trip/sky.png"))
    )
    printed = capsys.readouterr()
    assert "skipped: notes.txt: not named like a picture that can be read" in printed.err
    assert "skipped: .thumbnails and 1 more: hidden" in printed.err
    assert "5 done, 1 failed, 3 skipped: out" in printed.out and "1 without a restored face" in printed.out
    assert "failed: trip/broken.jpg: " in printed.err

    # The same command again tries what failed, and nothing else.
    before = times()
    Image.open(photos / "a.png").convert("RGB").save(photos / "trip" / "broken.jpg")
    assert batch(photos, "-o", "out", "--model", model, "--batch-size", 3) == 0
    after = times()
    assert after.keys() - before.keys() == {"trip/broken.png"}
    assert {name: after[name] for name in before} == before
    assert report()["trip/broken.jpg"]["status"] == "done" and len(report()) == 6
    assert "1 done, 0 failed, 8 skipped" in capsys.readouterr().out
    assert batch(photos, "-o", "out", "--model", "another", "--batch-size", 3) == 2
    assert batch(photos, "-o", "out", "--model", model) == 0 and times() == after


def test_each_photo_has_noise_of_its_own(photos: Path, model: str) -> None:
    Path("photos/trip/broken.jpg").unlink()
    assert batch(photos, "-o", "out", "--model", model, "--batch-size", 1) == 0
    with Image.open(photos / "a.png") as photo:
        pipeline = FaceRestorePipeline.from_pretrained(model)
        generator = torch.Generator().manual_seed(seed_of("trip/b.png", 0))
        expected = pipeline(photo, generator=generator, watermark=True).images[0]
    found = [np.asarray(Image.open(f"out/{name}")) for name in ("trip/b.png", "a.png.png")]
    np.testing.assert_array_equal(found[0], np.asarray(expected))
    assert (found[0] != found[1]).any()
    assert len({seed_of(f"{n}.png", s) for n in range(100) for s in range(10)}) == 1000
    assert seed_of("trip/b.png", 0) == 4871262021627022827


def test_what_a_kill_leaves_is_put_right(photos: Path, model: str) -> None:
    """A result without its line, a line without its result, a line and a picture cut off in the middle."""
    (photos / "trip" / "broken.jpg").unlink()
    line = [photos, "-o", "out", "--model", model, "--batch-size", 4]
    assert batch(*line) == 0
    whole, before = results("out"), times()
    lines = Path("out/report.jsonl").read_text().splitlines(keepends=True)
    assert "a.png" in lines[1] and "trip/b.png" in lines[2]
    Path("out/report.jsonl").write_text(lines[0])
    Path("out/.facekit-batch/part-00000.jsonl").write_text(lines[2])
    Path("out/.facekit-batch/part-00001.jsonl").write_text(lines[3] + lines[1][:25])
    Path("out/.facekit-batch/part-00002.jsonl").write_text(lines[4])
    Path("out/trip/b.png").unlink()
    Path("out/trip/.b.png.0123abcd.part").write_bytes(whole["trip/b.png"][:100])
    Path("out/.report.jsonl.0123abcd.part").write_bytes(b"{")
    assert Journal(open_store(Path("out"))).find_finished() == {"a.jpg", "trip/day 1/c.tif", "trip/sky.png"}
    assert batch(*line) == 0
    assert results("out") == whole
    assert report().keys() == {"a.jpg", "a.png", "trip/b.png", "trip/day 1/c.tif", "trip/sky.png"}
    changed = {name for name, when in times().items() if when != before[name]}
    assert changed == {"a.png.png", "trip/b.png"}


def test_a_folder_that_grew(photos: Path, model: str) -> None:
    (photos / "trip" / "broken.jpg").unlink()
    line = [photos, "-o", "out", "--model", model, "--batch-size", 2]
    assert batch(*line) == 0
    before = times()
    (photos / "0.jpg").write_bytes((photos / "a.jpg").read_bytes())
    (photos / "trip" / "b.jpg").write_bytes((photos / "a.jpg").read_bytes())
    (photos / "a.png").unlink()
    assert batch(*line) == 0
    after = times()
    # b.png was taken by trip/b.png, whose result does not move for the newcomer.
    assert after.keys() - before.keys() == {"0.png", "trip/b.jpg.png"}
    assert {name: after[name] for name in before} == before
    assert len(report()) == 7


def test_results_among_the_photos_and_odd_names(tmp_path: Path, photos: Path, model: str) -> None:
    (photos / "trip" / "broken.jpg").unlink()
    odd = ["über ? #1.jpg", "two\nlines.jpg", os.fsdecode(b"no-utf8-\xff.jpg")]
    for name in odd:
        (photos / name).write_bytes((photos / "a.jpg").read_bytes())
    out = photos / "trip" / "sharp"
    assert batch(photos, "-o", out, "--model", model) == 0
    assert batch(photos, "-o", out, "--model", model) == 0
    assert results(out).keys() == RESULTS | {name.replace("jpg", "png") for name in odd}
    assert report(out).keys() > set(odd) and len(report(out)) == 8


def test_candidates_and_faces(photos: Path, model: str) -> None:
    (photos / "trip" / "broken.jpg").unlink()
    (photos / "a.jpg").unlink()
    assert batch(photos, "-o", "out", "--model", model, "--candidates", 2, "--save-faces") == 0
    assert report()["a.png"]["outputs"] == ["a-1.png", "a-2.png"]
    assert report()["trip/day 1/c.tif"]["outputs"] == ["trip/day 1/c-1.tif", "trip/day 1/c-2.tif"]
    found = results("out")
    assert {"a-1-faces/0-before.png", "a-2-faces/0-prompt-4.png", "trip/sky-2.png"} <= found.keys()
    assert found["a-1.png"] != found["a-2.png"]


def test_starting_over(photos: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    (photos / "trip" / "broken.jpg").unlink()
    assert batch(photos, "-o", "out", "--model", model) == 0
    first, before = results("out"), times()
    assert batch(photos, "-o", "out", "--model", model, "--candidates", 2) == 2
    assert "results of a run with candidates 1, now it is 2; name another" in capsys.readouterr().err
    assert results("out") == first
    (photos / "trip" / "sky.png").unlink()
    assert batch(photos, "-o", "out", "--model", model, "--seed", 5, "--overwrite") == 0
    second, after = results("out"), times()
    assert second.keys() == first.keys() - {"trip/sky.png"} and len(report()) == 4
    assert all(after[name] != before[name] for name in second)
    assert second["trip/b.png"] != first["trip/b.png"]


def test_a_full_disk_stops_and_the_same_command_goes_on(
    photos: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (photos / "trip" / "broken.jpg").unlink()
    real_fsync, left = os.fsync, [5]  # settings, plan, empty report, two results

    def full(descriptor: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        real_fsync(descriptor)

    monkeypatch.setattr(disk.os, "fsync", full)
    assert batch(photos, "-o", "out", "--model", model) == 1
    assert "stopped: [Errno 28] No space left on device. The same command goes on" in capsys.readouterr().err
    monkeypatch.setattr(disk.os, "fsync", real_fsync)
    kept = {name: Path("out", name).stat().st_mtime_ns for name in ("a.jpg.png", "a.png.png")}
    assert batch(photos, "-o", "out", "--model", model) == 0
    assert results("out").keys() == RESULTS and len(report()) == 5
    assert {name: times()[name] for name in kept} == kept


def write_table(folder: Path) -> None:
    """A data set of four rows in one parquet file: with a name, broken, without a name, without a picture."""
    import datasets

    content = Path("photos/a.png").read_bytes()
    rows = [
        {"bytes": content, "path": "pictures/first one.png"},
        {"bytes": content[:3000], "path": "second.png"},
        {"bytes": Path("photos/trip/sky.png").read_bytes(), "path": None},
        None,
    ]
    features = datasets.Features({"photo": datasets.Image(), "label": datasets.Value("int64")})
    folder.mkdir()
    table = datasets.Dataset.from_dict({"photo": rows, "label": range(4)}, features=features)
    table.to_parquet(folder / "train-00000.parquet")


def test_data_sets(photos: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(Path("table"))
    line = ["table", "--split", "train", "-o", "out", "--model", model, "--batch-size", 2]
    assert batch(*line, "--image-column", "photo") == 1
    assert results("out").keys() == {"00000000-first_one.png", "00000002.png"}
    lines = report()
    assert [lines[key]["status"] for key in sorted(lines)] == ["done", "failed", "done", "failed"]
    assert "truncated" in lines["00000001"]["error"] and "no picture" in lines["00000003"]["error"]
    assert (lines["00000000"]["faces"], lines["00000002"]["faces"]) == (1, 0)
    before = times()
    assert batch(*line) == 1 and times() == before  # the only column with pictures need not be named

    (photos / "trip" / "broken.jpg").unlink()
    monkeypatch.setenv("HF_DATASETS_CACHE", "cache")
    assert batch(photos, "--split", "train[:2]", "-o", "out2", "--model", model) == 0
    assert results("out2").keys() == {"00000000-a.png", "00000001-a.png"}


def test_without_the_package_datasets(
    photos: Path, model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert batch("owner/faces", "-o", "out", "--model", model) == 2
    assert "owner/faces is no folder" in (error := capsys.readouterr().err)
    assert "pip install datasets" in error and not Path("out").exists()
    (photos / "trip" / "broken.jpg").unlink()
    assert batch(photos, "-o", "out", "--model", model) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos", "-o", "photos"], "the results would lie among the photos"),
        (["photos", "-o", "photos/a.png"], "is a file; name a folder"),
        (["photos", "-o", "other"], "holds files that no batch wrote, such as precious.txt"),
        (["empty", "-o", "out"], "hold no pictures"),
        (["photos/a.png", "-o", "out"], "facekit restore takes files"),
        (["photos", "-o", "out", "--fidelity", 2], "--fidelity is 2"),
        (["photos", "-o", "out", "--steps", 5], "between 1 and 4"),
        (["photos", "-o", "out", "--model", "empty"], "the model empty cannot be loaded"),
        (["table", "--split", "test", "-o", "out"], "the data set cannot be loaded"),
        (["table", "--image-column", "label", "-o", "out"], "no column of pictures 'label', but ['photo']"),
    ],
)
def test_wrong_usage_does_nothing_and_returns_2(
    photos: Path, model: str, arguments: list[object], message: str, capsys: pytest.CaptureFixture
) -> None:
    Path("empty").mkdir()
    Path("other").mkdir()
    Path("other/precious.txt").write_text("mine")
    if "table" in arguments:
        write_table(Path("table"))
    before = files(".")
    assert batch(*arguments, *([] if "--model" in arguments else ["--model", model])) == 2
    assert message in capsys.readouterr().err
    assert files(".") == before and not Path("out").exists()


def test_two_runs_do_not_share_a_folder(photos: Path, model: str, capsys: pytest.CaptureFixture) -> None:
    (photos / "trip" / "broken.jpg").unlink()
    assert batch(photos, "-o", "out", "--model", model) == 0
    whole = files("out")
    with open("out/.facekit-batch/lock") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert batch(photos, "-o", "out", "--model", model, "--overwrite") == 2
    assert "another run is at work in out" in capsys.readouterr().err and files("out") == whole
    assert batch(photos, "-o", "out", "--model", model) == 0


def levels_apart(first: Path, second: Path) -> int:
    """Largest difference of two pictures of one mode and size."""
    one, two = Image.open(first), Image.open(second)
    assert (one.mode, one.size) == (two.mode, two.size)
    return int(np.abs(np.asarray(one).astype(int) - np.asarray(two).astype(int)).max())


def launch(processes: int, arguments: list[str], **environment: str) -> subprocess.CompletedProcess:
    """Run the batch, several processes the way its help says for a machine without GPU."""
    command = arguments if arguments[0].endswith(".py") else ["-m", "facekit_cli.batch", *arguments]
    if processes > 1:
        launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
        launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
        command = [*launcher, "--main_process_port", "0", *command]
    settings = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"} | environment
    return subprocess.run(
        [sys.executable, *command], env=settings, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_two_processes_without_a_launcher(photos: Path, model: str) -> None:
    line = ["restore", "photos", "--model", model, "--batch-size", "1", "--cpu"]
    done = launch(1, [*line, "-o", "two", "--processes", "2"])
    assert done.returncode == 1 and "5 done, 1 failed, 3 skipped: two" in done.stdout
    assert done.stderr.count("failed: trip/broken.jpg") == 1 and "Traceback" not in done.stderr
    assert {entry["process"] for entry in report("two").values()} == {0, 1}
    alone = launch(1, [*line, "-o", "one"])
    assert (
        alone.stdout.replace(": one", ": two") == done.stdout
        and results("one").keys() == results("two").keys()
    )

    wrong = launch(1, [*line, "-o", "photos", "--processes", "2"])
    assert wrong.returncode == 2 and wrong.stderr.count("the results would lie among the photos") == 1
    under = launch(1, [*line, "-o", "three", "--processes", "2"], WORLD_SIZE="1")
    assert under.returncode == 2 and "leave --processes out" in under.stderr and not Path("three").exists()
    assert launch(1, [*line, "-o", "three", "--processes", "0"]).returncode == 2


@pytest.mark.slow
def test_a_process_that_is_lost_ends_the_others(photos: Path, model: str) -> None:
    """The second process ends itself with SIGKILL in its first picture; the same command goes on."""
    (photos / "trip" / "broken.jpg").unlink()
    line = [
        "restore",
        "photos",
        "--model",
        model,
        "--batch-size",
        "1",
        "--cpu",
        "-o",
        "out",
        "--processes",
        "2",
    ]
    lost = launch(1, [str(KILLED), "batch", *line], KILL_IN_WRITE="1")
    assert lost.returncode == 1 and "Traceback" not in lost.stderr, lost.stderr[-3000:]
    done = launch(1, line)
    assert done.returncode == 0 and len(report()) == 5


@pytest.mark.slow
def test_two_processes_one_killed_give_what_one_gives(photos: Path, model: str) -> None:
    (photos / "trip" / "broken.jpg").unlink()
    for number in range(7):
        (photos / f"{number}.jpg").write_bytes((photos / "a.jpg").read_bytes())
    line = ["restore", "photos", "--model", model, "--batch-size", "2", "-o"]

    alone = launch(1, [*line, "one"])
    assert alone.returncode == 0, alone.stderr[-3000:]
    assert len(report("one")) == 12

    # The second process ends itself with SIGKILL in the middle of its third picture.
    start = time.time_ns()
    killed = launch(2, [str(KILLED), "batch", *line, "two"], KILL_IN_WRITE="3")
    assert killed.returncode == 1 and "SIGKILL" in killed.stderr
    left = files("two")
    assert any(name.endswith(".part") for name in left)
    assert ".facekit-batch/part-00001.jsonl" in left
    complete = Journal(open_store(Path("two"))).find_finished()
    assert 2 <= len(complete) < 12
    entries = [
        entry for entry in Journal(open_store(Path("two"))).read_entries() if entry["photo"] in complete
    ]
    kept = {name for entry in entries for name in entry["outputs"]}
    before = {name: Path("two", name).stat().st_mtime_ns for name in kept}
    assert all(when > start for when in before.values())
    with open("two/.facekit-batch/part-00001.jsonl", "a") as part:
        part.write('{"photo": "6.jpg", "sta')  # another kill, in the middle of a line

    again = launch(2, [*line, "two"])
    assert again.returncode == 0, again.stderr[-3000:]
    assert (
        f"{12 - len(complete)} done, 0 failed, {len(complete) + 3} skipped" in again.stdout
    )  # three are no photos
    assert {name: times("two")[name] for name in before} == before
    assert report("two").keys() == report("one").keys()
    assert {entry["process"] for entry in report("two").values()} == {0, 1}
    assert results("two").keys() == results("one").keys()
    for name in results("one"):
        # Faces are restored together with others than in one process, which may move a rounding.
        assert levels_apart(Path("one", name), Path("two", name)) <= 1
