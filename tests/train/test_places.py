"""Where training reads and writes, and how it ends: shards, caches, home folders, closed folders, Ctrl-C."""

import io
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import tarfile
import time
from multiprocessing import resource_sharer
from multiprocessing.connection import Client
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train.data.images import ImageSource, read_picture
from train.data.samples import forget_a_gone_trainer
from train.engine.config import read_config
from train.inpaint.__main__ import main
from train.inpaint.config import InpaintConfig
from train.parser.config import ParserConfig
from train.parser.data import PairSource

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def shards(pictures: Path, tmp_path: Path) -> str:
    """The ten pictures in two shards."""
    files = sorted(pictures.glob("*.png"))
    for number, part in enumerate((files[:6], files[6:])):
        with tarfile.open(tmp_path / f"held-{number}.tar", "w") as archive:
            for file in part:
                entry = tarfile.TarInfo(file.name)
                entry.size = file.stat().st_size
                archive.addfile(entry, io.BytesIO(file.read_bytes()))
    return str(tmp_path / "held-{0..1}.tar")


@pytest.mark.parametrize("count", [3, 8, 20])
def test_the_first_pictures_of_shards_are_those_of_their_folder(
    pictures: Path, shards: str, count: int
) -> None:
    streamed, listed = (ImageSource(str(data)).load_first_pictures(count) for data in (shards, pictures))
    assert len(streamed) == len(listed) == min(count, 10)
    for one, other in zip(streamed, listed, strict=True):
        np.testing.assert_array_equal(read_picture(one), read_picture(other))


@pytest.mark.slow
def test_validation_on_shards(tiny_config: Path, pictures: Path, shards: str, tmp_path: Path) -> None:
    scores = []
    for data in (shards, str(pictures)):
        folder = tmp_path / f"run{len(scores)}"
        line = ["--config", tiny_config, "--output_dir", folder, "--max_steps", 1, "--validation.every", 1]
        line += ["--validation.data", data, "--validation.split", "train", "--validation.images", 7]
        main([str(word) for word in line])
        lines = map(json.loads, (folder / "curves.jsonl").read_text().splitlines())
        scores.append([line["validation_psnr"] for line in lines if "validation_psnr" in line])
    assert scores[0] == scores[1] and len(scores[0]) == 1


def test_label_maps_are_not_looked_for_in_shards(pictures: Path, shards: str) -> None:
    with pytest.raises(ValueError, match=r"by a picture's place in a folder; .* is read as a stream"):
        PairSource(ParserConfig(data=str(pictures), output_dir="out", max_steps=1), shards, "train", {})


def test_a_local_folder_needs_no_cache(pictures: Path, tmp_path: Path) -> None:
    """With splits it is read by the datasets library, which would note in its cache what is there."""
    for split in ("train", "validation"):
        (tmp_path / "faces" / split).mkdir(parents=True)
        for file in sorted(pictures.glob("*.png"))[:3]:
            Image.open(file).save(tmp_path / "faces" / split / file.name)
    (tmp_path / "file").touch()
    code = (
        "import sys; from train.data.images import ImageSource, read_picture; "
        "source = ImageSource(sys.argv[1], 'validation'); "
        "print(source.count(), *(read_picture(p).size for p in source.load_first_pictures(5)))"
    )
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "faces"],
        env=os.environ | {"HF_HOME": str(tmp_path / "file" / "home"), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert done.stdout.strip() == "3 (64, 64) (64, 64) (64, 64)", done.stderr[-3000:]
    assert not list(temporary.glob("facekit-*"))


def test_home_folders_in_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run.yaml").write_text("data: [~/faces, others]\noutput_dir: ~/out\nmax_steps: 1\n")
    config = read_config(InpaintConfig, ["--config", "~/run.yaml"])
    assert (config.data, config.output_dir) == ([f"{tmp_path}/faces", "others"], f"{tmp_path}/out")
    config = read_config(InpaintConfig, ["--config", "~/run.yaml", "--data", "{~/faces: 2e-1}"])
    assert config.data == {f"{tmp_path}/faces": "2e-1"}
    config = read_config(InpaintConfig, ["--config", "~/run.yaml", "--output_dir=~/other"])
    assert config.output_dir == f"{tmp_path}/other"


def test_an_output_that_cannot_be_written_is_refused_first(tiny_config: Path, tmp_path: Path) -> None:
    """Before the pictures, which are not there, and before the precisions are measured."""
    (tmp_path / "file").touch()
    line = ["--config", tiny_config, "--data", tmp_path / "missing", "--mixed_precision", "auto"]
    with pytest.raises(OSError, match=r"output_dir .*file/run lies below the file"):
        main([str(word) for word in (*line, "--output_dir", tmp_path / "file" / "run")])
    family = ["--data", tmp_path, "--minutes", 1, "--output", tmp_path / "file" / "run"]
    done = subprocess.run(
        [sys.executable, "-m", "train.starters", *map(str, family)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("train.starters: --output ") and "lies below the file" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False])
def test_ctrl_c_ends_quietly_and_keeps_checkpoints(tiny_config: Path, tmp_path: Path, kept: bool) -> None:
    folder = tmp_path / "run"
    line = ["--config", tiny_config, "--output_dir", folder, "--max_steps", 100000, "--num_workers", 1]
    line += ["--checkpoint_every", 1 if kept else 100000, "--keep_checkpoints", 2]
    process = subprocess.Popen(
        [sys.executable, "-m", "train.inpaint", *map(str, line)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        # The jobs that a shell runs in the background, tests among them, begin with Ctrl-C switched off.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    curves = folder / "curves.jsonl"
    while process.poll() is None and not (curves.is_file() and len(curves.read_text().splitlines()) > 1):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 130 and "Traceback" not in error
    told = error.strip().splitlines()[-1]
    found = sorted(path.name for path in (folder / "checkpoints").glob("step-*") if not path.suffix)
    if kept:
        assert found and told == f"stopped; the same command goes on from {found[-1]}"
    else:
        assert not found and told == "stopped; the same command begins anew: there was no checkpoint yet"


def _hand_out(descriptor_ids, prepare) -> None:
    """What a loader process does with a batch in shared memory."""
    prepare(0)
    with open(os.devnull) as file:
        descriptor_ids.put(resource_sharer.DupFd(file.fileno())._id)
        time.sleep(1.5)


@pytest.mark.parametrize("prepare, is_quiet", [(forget_a_gone_trainer, True), (abs, False)])
def test_loaders_are_quiet_when_the_trainer_goes_while_it_takes_a_batch(prepare, is_quiet, capfd) -> None:
    context = multiprocessing.get_context("fork")
    descriptor_ids = context.Queue()
    loader = context.Process(target=_hand_out, args=(descriptor_ids, prepare))
    loader.start()
    address, _ = descriptor_ids.get(timeout=60)
    Client(address, authkey=multiprocessing.current_process().authkey).close()
    loader.join(60)
    assert loader.exitcode == 0 and ("Traceback" in capfd.readouterr().err) != is_quiet
