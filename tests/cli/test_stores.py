"""A batch with photos and results in a store: as from folder to folder; on S3 by two processes, one of them killed."""

import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import fsspec
import numpy as np
import pytest
import s3fs
from PIL import Image

from facekit_cli.batch import stores
from facekit_cli.batch.journal import Journal
from facekit_cli.batch.sources import RemoteSource
from facekit_cli.batch.stores import open_store
from facekit_cli.errors import UsageError
from tests.cli.test_batch import KILLED, RECORDS, RESULTS, batch, files, launch, photos, report
from tests.helpers.bucket import BUCKET, serve_bucket

__all__ = ["photos"]  # a fixture
REMOTE_RECORDS = RECORDS - {".facekit-batch/lock"}


@pytest.fixture
def memory(photos: Path) -> Iterator[fsspec.AbstractFileSystem]:
    """A store in this process, with the photos at `memory://photos`."""
    there = fsspec.filesystem("memory")
    there.put(f"{photos}/", "/photos/", recursive=True)
    yield there
    there.rm("/", recursive=True)


def contents(there: fsspec.AbstractFileSystem, root: str) -> dict[str, bytes]:
    """Every file below a path."""
    there.invalidate_cache()
    return {name.removeprefix(root).lstrip("/"): there.cat_file(name) for name in there.find(root)}


def test_from_store_to_store_as_from_folder_to_folder(
    photos: Path, memory: fsspec.AbstractFileSystem, model: str, capsys: pytest.CaptureFixture
) -> None:
    line = ["--model", model, "--seed", 3]
    assert batch(photos, "-o", "out", *line) == 1
    said_here = capsys.readouterr()
    assert batch("memory://photos", "-o", "memory://out", *line) == 1
    said = capsys.readouterr()
    assert said.out == said_here.out.replace("skipped: out", "skipped: memory://out")
    assert "failed: trip/broken.jpg" in said.err and "notes.txt: not named like a picture" in said.err
    found = contents(memory, "/out")
    assert found.keys() == RESULTS | REMOTE_RECORDS
    assert {name: found[name] for name in RESULTS} == {name: files("out")[name] for name in RESULTS}
    lines = [json.loads(line) for line in found["report.jsonl"].decode().splitlines()]
    assert {entry["photo"]: entry["status"] for entry in lines} == {
        k: e["status"] for k, e in report().items()
    }

    # Goes on: what is done stays, what failed and what went missing is done.
    memory.pipe_file("/photos/trip/broken.jpg", (photos / "a.jpg").read_bytes())
    memory.rm("/out/trip/b.png")
    assert batch("memory://photos", "-o", "memory://out", *line) == 0
    assert "2 done, 0 failed, 7 skipped" in capsys.readouterr().out
    # Computed together with the photo that was broken, which may move a rounding.
    pair = [Image.open(io.BytesIO(each)) for each in (memory.cat("/out/trip/b.png"), found["trip/b.png"])]
    again, before = (np.asarray(picture).astype(int) for picture in pair)
    assert np.abs(again - before).max() <= 1

    assert batch("memory://photos", "-o", "memory://out", "--model", model) == 2
    assert "memory://out holds results of a run with seed 3, now it is 0" in capsys.readouterr().err
    assert batch("memory://photos", "-o", "memory://out", "--model", model, "--overwrite") == 0
    assert len(contents(memory, "/out")) == len(RESULTS) + 1 + len(REMOTE_RECORDS)


def test_results_below_the_photos_are_no_photos(
    memory: fsspec.AbstractFileSystem, model: str, capsys: pytest.CaptureFixture
) -> None:
    memory.rm("/photos/trip", recursive=True)
    line = ["memory://photos", "-o", "memory://photos/sharp", "--model", model]
    assert batch(*line) == 0
    assert batch(*line) == 0
    assert "0 done, 0 failed, 4 skipped" in capsys.readouterr().out  # two are done, two are no photos
    assert batch("memory://photos", "-o", "memory://photos/", "--model", model) == 2
    assert "the results would lie among the photos" in capsys.readouterr().err


def test_faces_and_candidates_are_uploaded_too(memory: fsspec.AbstractFileSystem, model: str) -> None:
    memory.rm("/photos/trip", recursive=True)
    line = ["memory://photos", "-o", "memory://out", "--model", model, "--save-faces", "--candidates", 2]
    assert batch(*line, "--format", "jpeg") == 0
    found = contents(memory, "/out").keys()
    assert {"a.jpg-1.jpg", "a.jpg-2.jpg", "a.jpg-2-faces/0-after.png", "a.jpg-2-faces/0-before.png"} <= found


def test_a_list_names_photos_anywhere(
    photos: Path, memory: fsspec.AbstractFileSystem, model: str, capsys: pytest.CaptureFixture
) -> None:
    there = (photos / "trip" / "sky.png").resolve()
    lines = ["a.jpg", "", "trip/b.png", "memory://photos/a.png", there.as_uri(), "a.jpg", "missing.png"]
    (photos / "some.txt").write_text("\n".join(lines), encoding="utf-8-sig")
    assert batch(photos / "some.txt", "-o", "out", "--model", model) == 1
    entries = report()
    assert entries.keys() == set(lines) - {""}
    assert entries["memory://photos/a.png"]["outputs"] == ["photos/a.png"]
    assert entries[there.as_uri()]["outputs"] == [str(there).lstrip("/")]
    assert entries["missing.png"]["status"] == "failed"

    memory.pipe_file("/photos/some.txt", b"trip/b.png\nmemory://photos/trip/day 1/c.tif\n")
    assert batch("memory://photos/some.txt", "-o", "memory://out", "--model", model) == 0
    assert contents(memory, "/out").keys() == {"trip/b.png", "photos/trip/day 1/c.tif"} | REMOTE_RECORDS


def test_results_keep_their_names_when_a_list_is_changed(photos: Path, model: str) -> None:
    for lines, stem in (("a.jpg", "a"), ("a.png", "a.png"), ("a.jpg\ntrip/b.png", "a")):
        (photos / "some.txt").write_text(lines)
        assert batch(photos / "some.txt", "-o", "out", "--model", model) == 0
        assert report()[lines.split()[0]]["outputs"] == [f"{stem}.png"]
    assert files("out").keys() == {"a.png", "a.png.png", "trip/b.png"} | RECORDS


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("../a.jpg\n../b.jpg", "line '../a.jpg' (2 such lines): it leads to no place below --output"),
        (".\na.jpg", "line '.': it leads to no place below --output"),
        ("a.jpg\n./a.jpg", "line './a.jpg': its results would lie where those of a.jpg do"),
        (
            "s3://b/a.jpg\ngs://b/a.jpg",
            "line 'gs://b/a.jpg': its results would lie where those of s3://b/a.jpg do",
        ),
        ("", "names no pictures"),
    ],
)
def test_lists_that_cannot_be(photos: Path, lines: str, message: str, capsys: pytest.CaptureFixture) -> None:
    (photos / "some.txt").write_text(lines)
    assert batch(photos / "some.txt", "-o", "out", "--model", "not/there") == 2
    assert message in capsys.readouterr().err and not Path("out").exists()


def test_odd_keys_of_a_store(memory: fsspec.AbstractFileSystem, photos: Path, model: str) -> None:
    """Empty names between slashes, of which no result can be named, and files that stand for folders."""
    picture = (photos / "a.jpg").read_bytes()
    there = fsspec.filesystem("memory")
    source = RemoteSource("memory://odd", "memory:///odd/sharp")
    there.pipe_file("/odd/a [1].jpg", picture)
    found = ["/odd/", "/odd/trip/", "/odd/a [1].jpg", "/odd//a.jpg", "/odd/t//c.jpg", "/odd/sharp/a [1].png"]
    source.files = SimpleNamespace(
        find=lambda root: found, cat_file=there.cat_file
    )  # as a bucket would show it
    (item,) = source.items({})
    assert item == ("a [1].jpg", "a [1]") and source.left_out.keys() == {"/a.jpg", "t//c.jpg"}
    assert source.open(item)[0].size == Image.open(io.BytesIO(picture)).size
    assert batch("memory://odd", "-o", "memory:///odd/sharp", "--model", model) == 0
    assert batch("memory://odd", "-o", "memory://odd/sharp/", "--model", model) == 0
    assert "sharp/a [1].png" in contents(memory, "/odd")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["memory://nothing", "-o", "out"], "there are no pictures below memory://nothing"),
        (["memory://nothing.txt", "-o", "out"], "the list memory://nothing.txt cannot be read"),
        (["memory://photos", "-o", "out", "--split", "train"], "memory://photos is no data set"),
        (["empty.txt", "-o", "out", "--split", "train"], "empty.txt is no data set"),
        (["https://huggingface.co/datasets/a/b", "-o", "out"], "say OWNER/NAME for a data set of the Hub"),
        (["nowhere://photos", "-o", "out"], "nowhere://photos cannot be opened: Protocol not known: nowhere"),
        (["photos", "-o", "nowhere://out"], "nowhere://out cannot be opened"),
        (["empty.txt", "-o", "out"], "names no pictures"),
        (["photos", "-o", "memory://taken"], "holds files that no batch wrote, such as precious.txt"),
    ],
)
def test_what_cannot_work_is_refused_first(
    memory: fsspec.AbstractFileSystem,
    model: str,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture,
) -> None:
    Path("empty.txt").write_text("\n\n")
    memory.pipe_file("/taken/precious.txt", b"mine")
    before = contents(memory, "/")
    assert batch(*arguments, "--model", model) == 2
    assert message in capsys.readouterr().err
    assert contents(memory, "/") == before and not Path("out").exists()


def test_lines_of_a_log_are_uploaded_together(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "LINES", 3)
    store = open_store("memory://records")
    log = store.open_log("part-00000")
    for number in range(7):
        log.write(f"{number}\n")
    assert len(store.list_names()) == 2  # the seventh waits
    log.close()
    again = store.open_log("part-00000")  # of a process that was started again
    again.write("7\n")
    again.close()
    names = store.list_names()
    assert len(names) == 4 and all(name.startswith("part-00000-") for name in names)
    found = b"".join(store.read(name) or b"" for name in sorted(names))
    assert sorted(found.split()) == [str(number).encode() for number in range(8)]
    monkeypatch.setattr(stores, "SECONDS", 0.0)
    log.write("8\n")
    assert len(store.list_names()) == 5
    store.remove(names | {"not-there"})
    assert len(store.list_names()) == 1


def test_a_store_that_lets_nobody_remove(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(memory), "rm_file", staticmethod(refuse))
    with pytest.raises(UsageError, match=r"can be written there and not removed.*Access Denied"):
        open_store("memory://kept").check()
    monkeypatch.undo()
    Journal(open_store("memory://kept")).check({}, overwrite=False)  # what was left is in nobody's way


def test_errors_of_a_package_become_those_of_a_disk(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LostError(Exception):
        pass

    def lose(*names: object) -> None:
        raise LostError("the network is gone")

    monkeypatch.setattr(type(memory), "pipe_file", lose)
    with pytest.raises(OSError, match="memory://out: the network is gone"):
        open_store("memory://out").write("a", b"")


def test_keys_that_are_too_long_are_told_before_work() -> None:
    store = open_store("memory://bucket/out")
    fits, long = "a/" * 400 + "a.png", "a/" * 600 + "a.png"
    assert store.why_too_long([fits], None) is None
    assert "would have a key of" in (store.why_too_long([long], None) or "")


@pytest.fixture
def bucket(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3fs.S3FileSystem]:
    """A bucket of S3 with the photos at `s3://bucket/photos`; processes find it by their environment."""
    with serve_bucket() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()  # of the bucket of another test
        there = s3fs.S3FileSystem()
        there.mkdir(BUCKET)
        there.put(f"{photos}/", f"{BUCKET}/photos/", recursive=True)
        yield there


def test_a_bucket_that_is_not_there(bucket: s3fs.S3FileSystem) -> None:
    open_store(f"s3://{BUCKET}/out").check()
    assert not bucket.find(f"{BUCKET}/out")
    with pytest.raises(UsageError, match="nothing can be written there"):
        open_store("s3://another/out").check()


@pytest.mark.slow
def test_two_processes_on_s3_one_killed(photos: Path, bucket: s3fs.S3FileSystem, model: str) -> None:
    bucket.rm(f"{BUCKET}/photos/trip/broken.jpg")
    (photos / "trip" / "broken.jpg").unlink()
    for number in range(7):
        (photos / f"{number}.jpg").write_bytes((photos / "a.jpg").read_bytes())
        bucket.put_file(str(photos / "a.jpg"), f"{BUCKET}/photos/{number}.jpg")
    line = ["--model", model, "--batch-size", "2", "-o"]
    alone = launch(1, ["restore", "photos", *line, "one"])
    assert alone.returncode == 0, alone.stderr[-3000:]

    there = ["restore", f"s3://{BUCKET}/photos", *line, f"s3://{BUCKET}/out"]
    killed = launch(2, [str(KILLED), "batch", *there], KILL_IN_WRITE="3")
    assert killed.returncode == 1 and "SIGKILL" in killed.stderr
    bucket.invalidate_cache()
    left = {
        name: bucket.info(name)["LastModified"]
        for name in bucket.find(f"{BUCKET}/out")
        if ".facekit" not in name
    }
    complete = Journal(open_store(f"s3://{BUCKET}/out")).find_finished()
    again = launch(2, there)
    assert again.returncode == 0, again.stderr[-3000:]
    found = contents(bucket, f"{BUCKET}/out")
    assert found.keys() == (files("one").keys() - RECORDS) | REMOTE_RECORDS
    assert f"{12 - len(complete)} done, 0 failed, {len(complete) + 3} skipped" in again.stdout
    kept = [name for name, when in left.items() if bucket.info(name)["LastModified"] == when]
    assert len(kept) >= len(complete)
    assert not list(Path(tempfile.gettempdir()).glob("facekit-batch-*"))
    entries = [json.loads(line) for line in found["report.jsonl"].decode().splitlines()]
    assert len(entries) == 12 and {entry["status"] for entry in entries} == {"done"}
    assert {entry["photo"] for entry in entries} == report("one").keys()
    assert Journal(open_store(f"s3://{BUCKET}/out")).find_finished() == report("one").keys()
