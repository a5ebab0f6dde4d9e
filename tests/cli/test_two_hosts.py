"""A batch on two machines that share no disk: photos and results on S3, one machine killed, and both started again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import s3fs
from PIL import Image
from skimage.data import astronaut

from tests.helpers.bucket import BUCKET, serve_bucket
from tests.helpers.two_hosts import INTERFACE, Host, NotAllowed, connect_two_hosts

PHOTOS = 40
PROCESSES = 4  # of both machines
PORT = 29_511


@pytest.fixture
def hosts() -> Iterator[tuple[str, Host, Host]]:
    try:
        with connect_two_hosts() as found:
            yield found
    except NotAllowed as reason:
        pytest.skip(f"network namespaces are not allowed here: {reason}")


@pytest.fixture
def environment(hosts: tuple[str, Host, Host], monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """What a process needs that finds the bucket and the other machine."""
    with serve_bucket(hosts[0]) as access:
        for name, value in access.items():
            monkeypatch.setenv(name, value)
        yield os.environ | {
            "OMP_NUM_THREADS": "1",
            "ACCELERATE_USE_CPU": "true",
            "GLOO_SOCKET_IFNAME": INTERFACE,
        }


def start(hosts: tuple[Host, Host], line: list[str], environment: dict[str, str]) -> list[subprocess.Popen]:
    """The batch on both machines, two processes each."""
    running = []
    for rank, host in enumerate(hosts):
        launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "2"]
        launch += ["--num_processes", str(PROCESSES)]
        launch += ["--machine_rank", str(rank), "--main_process_ip", hosts[0].address]
        launch += ["--main_process_port", str(PORT), "--mixed_precision", "no", "--dynamo_backend", "no"]
        running.append(host.start([sys.executable, *launch, "-m", "facekit_cli.batch", *line], environment))
    return running


def end(running: list[subprocess.Popen]) -> list[str]:
    """What each said, when all are over."""
    return [process.communicate(timeout=150)[0] for process in running]


@pytest.mark.slow
def test_a_machine_is_killed_and_started_again(
    hosts: tuple[str, Host, Host], environment: dict[str, str], model: str, tmp_path: Path
) -> None:
    s3fs.S3FileSystem.clear_instance_cache()
    there = s3fs.S3FileSystem()
    there.mkdir(BUCKET)
    picture = tmp_path / "a.jpg"
    Image.fromarray(np.ascontiguousarray(astronaut()[0:220, 130:330])).save(picture)
    for number in range(PHOTOS):
        there.put_file(str(picture), f"{BUCKET}/photos/{number}.jpg")
    line = ["restore", f"s3://{BUCKET}/photos", "--output", f"s3://{BUCKET}/sharp", "--batch-size", "1"]
    line += ["--model", model]

    def results() -> set[str]:
        there.invalidate_cache()
        return {name.rpartition("/")[2] for name in there.find(f"{BUCKET}/sharp") if name.endswith(".png")}

    first, second = start(hosts[1:], line, environment)
    deadline = time.monotonic() + 120
    while not results() and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    hosts[2].kill()
    said, _ = end([first, second])
    assert first.returncode != 0 and second.returncode == -signal.SIGKILL
    assert "stopped: another process of the launch is gone" in said and "The same command goes on" in said
    done = results()
    assert 0 < len(done) < PHOTOS, said

    running = start(hosts[1:], line, environment)
    said, _ = end(running)
    assert [process.returncode for process in running] == [0, 0], said
    assert results() == {f"{number}.png" for number in range(PHOTOS)}
    there.invalidate_cache()
    lines = there.cat_file(f"{BUCKET}/sharp/report.jsonl").decode().splitlines()
    entries = [json.loads(line) for line in lines]
    assert sorted(entry["photo"] for entry in entries) == sorted(f"{number}.jpg" for number in range(PHOTOS))
    assert {entry["status"] for entry in entries} == {"done"}
    assert {entry["process"] for entry in entries} == set(range(PROCESSES))
    left = {name.rpartition("/")[2] for name in there.ls(f"{BUCKET}/sharp/.facekit-batch", detail=False)}
    assert left == {"run.json", "plan.jsonl"}
