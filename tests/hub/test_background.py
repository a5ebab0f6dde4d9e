"""Networks for backgrounds over HTTP: a repository with one file, one of several, pickles, and no connection."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub.stand_in import HubStandIn, Repository
from tests.tiny.upscalers import write_compact

pytest.importorskip("spandrel")

LOAD = """
import json, sys
from facekit import BackgroundUpscaler

told = {}
for source in sys.argv[1:]:
    try:
        told[source] = BackgroundUpscaler.from_pretrained(source).scale
    except (OSError, ValueError) as error:
        told[source] = f"{type(error).__name__}: {error}"
print(json.dumps(told))
"""


@pytest.mark.slow
def test_networks_of_the_hub(tmp_path: Path) -> None:
    double, triple = (write_compact(tmp_path / f"x{n}.safetensors", n).read_bytes() for n in (2, 3))
    with HubStandIn() as hub:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")} | {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
        }
        for name, files in {
            "one": {"README.md": b"", "x2.safetensors": double},
            "two": {"x2.safetensors": double, "models/x3.safetensors": triple},
            "old": {"x4.pth": b"\x80\x04cposix\nsystem\n"},
        }.items():
            hub.repositories[f"org/{name}"] = Repository()
            hub.repositories[f"org/{name}"].commit(files, "main")

        def load(*sources: str, **more: str) -> dict[str, int | str]:
            command = [sys.executable, "-c", LOAD, *sources]
            done = subprocess.run(
                command, env=environment | more, capture_output=True, text=True, cwd=tmp_path, check=True
            )
            return json.loads(done.stdout.splitlines()[-1])

        told = load("org/one", "org/two/models/x3.safetensors", "org/two", "org/old", "org/none")
        assert told["org/one"] == 2 and told["org/two/models/x3.safetensors"] == 3
        assert "Say which: org/two/models/x3.safetensors" in told["org/two"]
        assert "only pickles (x4.pth)" in told["org/old"] and "x4.pth" not in str(hub.answers)
        assert "OSError: There is no folder and no model org/none" in told["org/none"]
        cached = load("org/one", "org/two/x2.safetensors", HF_HUB_OFFLINE="1")
        assert cached["org/one"] == 2
        assert "The Hub cannot be reached: offline mode is on" in cached["org/two/x2.safetensors"]
