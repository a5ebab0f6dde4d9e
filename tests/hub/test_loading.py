"""Loading facekit's models over HTTP with the real huggingface_hub and diffusers, and what may go wrong."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from facekit.hub.cache import check_downloads, read_announced_digest
from tests.hub.stand_in import HubStandIn, Repository
from tests.tiny.pipelines import tiny_inpaint_pipeline

REPO = "facekit/tiny"
PRIVATE = "facekit/tiny-private"
WEIGHTS = "residual_inpainter/diffusion_pytorch_model.safetensors"


class LoadError(Exception):
    """What the client process met: message, names of the error's classes, traceback."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer["error"])
        self.kinds: list[str] = answer["kinds"]
        self.trace: str = answer["trace"]


class Client:
    """A process whose HF_ENDPOINT is the stand-in; each `load` may have a cache of its own."""

    def __init__(self, hub: HubStandIn, home: Path, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("client.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("HF_")},
                "HF_ENDPOINT": hub.endpoint,
                "HF_HOME": str(home),
                "HF_HUB_DISABLE_XET": "1",
                "NO_PROXY": "127.0.0.1",
                **environment,
            },
        )

    def load(self, loader: str, repo: str, cache: Path, **options: Any) -> dict[str, Any]:
        """`from_pretrained` in the client. Raises LoadError with what it raised there."""
        assert self.process.stdin is not None and self.process.stdout is not None
        request = {"loader": loader, "repo": repo, "cache_dir": str(cache), **options}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise LoadError(answer)
        return answer["result"]

    def close(self) -> None:
        self.process.communicate(timeout=60)


def pipeline_files(folder: Path, mark: float) -> dict[str, bytes]:
    """A tiny real pipeline in both precisions; the first number of its weights tells which one it is."""
    pipeline = tiny_inpaint_pipeline()
    with torch.no_grad():
        next(pipeline.residual_inpainter.parameters()).fill_(mark)
    pipeline.save_pretrained(folder)
    pipeline.to(torch.float16).save_pretrained(folder, variant="fp16")
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubStandIn]:
    """A Hub with two revisions of a public repository, and a private one."""
    first = pipeline_files(tmp_path_factory.mktemp("first"), 0.25)
    second = pipeline_files(tmp_path_factory.mktemp("second"), 0.5)
    with HubStandIn() as hub:
        hub.repositories[REPO] = Repository()
        hub.repositories[REPO].commit(first, "v1")
        hub.repositories[REPO].commit(second, "main")
        hub.repositories[PRIVATE] = Repository(private=True)
        hub.repositories[PRIVATE].commit(second, "main")
        yield hub


@pytest.fixture
def hub(served: HubStandIn) -> HubStandIn:
    served.restore()
    served.answers.clear()
    return served


@pytest.fixture(scope="module")
def client(served: HubStandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(served, tmp_path_factory.mktemp("home"))
    yield client
    client.close()


def partial_files(cache: Path) -> list[Path]:
    return list(cache.rglob("*.incomplete"))


@pytest.mark.slow
@pytest.mark.parametrize("loader", ["bare", "pipeline"])
def test_pipeline_by_repo_id(hub: HubStandIn, client: Client, tmp_path: Path, loader: str) -> None:
    loaded = client.load(loader, REPO, tmp_path)
    assert loaded == {"class": "FaceInpaintPipeline", "mark": 0.5, "dtype": "float32"}
    assert not list(tmp_path.rglob("*.fp16.safetensors"))


def test_network_by_repo_id(hub: HubStandIn, client: Client, tmp_path: Path) -> None:
    loaded = client.load("network", REPO, tmp_path, subfolder="residual_inpainter")
    assert loaded["class"] == "ResidualInpainter" and loaded["mark"] == 0.5


def test_revision(hub: HubStandIn, client: Client, tmp_path: Path) -> None:
    assert client.load("bare", REPO, tmp_path, revision="v1")["mark"] == 0.25
    commit = hub.repositories[REPO].names["v1"]
    assert client.load("pipeline", REPO, tmp_path, revision=commit)["mark"] == 0.25
    assert client.load("pipeline", REPO, tmp_path)["mark"] == 0.5


def test_unknown_revision(hub: HubStandIn, client: Client, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no revision 'v9'") as error:
        client.load("pipeline", REPO, tmp_path, revision="v9")
    assert "OSError" in error.value.kinds


def test_variant(hub: HubStandIn, client: Client, tmp_path: Path) -> None:
    loaded = client.load("bare", REPO, tmp_path, variant="fp16", dtype="float16")
    assert loaded["dtype"] == "float16" and loaded["mark"] == 0.5
    assert [f.name for f in tmp_path.rglob("*.safetensors")] == ["diffusion_pytorch_model.fp16.safetensors"]


def test_cut_download_resumes(hub: HubStandIn, client: Client, tmp_path: Path) -> None:
    hub.cut_after, hub.cuts_left = 5000, 1
    assert client.load("pipeline", REPO, tmp_path)["mark"] == 0.5
    assert hub.cuts_left == 0
    assert sum(n for answer, n in hub.answers.items() if answer.startswith("GET 206 /content/")) == 1
    assert not partial_files(tmp_path)


def test_cut_download_fails_clearly_and_leaves_the_cache_sound(
    hub: HubStandIn, client: Client, tmp_path: Path
) -> None:
    hub.cut_after, hub.cuts_left = 5000, 1000
    with pytest.raises(LoadError, match=r"broke off .*load again") as error:
        client.load("pipeline", REPO, tmp_path)
    assert "OSError" in error.value.kinds
    assert not partial_files(tmp_path) and not list(tmp_path.rglob("*.safetensors"))
    hub.restore()
    assert client.load("bare", REPO, tmp_path)["mark"] == 0.5


@pytest.mark.parametrize("loader", ["bare", "pipeline", "network"])
@pytest.mark.parametrize("position", [20, -20], ids=["header", "weights"])
def test_wrong_byte_is_refused(
    hub: HubStandIn, client: Client, tmp_path: Path, loader: str, position: int
) -> None:
    options = {"subfolder": "residual_inpainter"} if loader == "network" else {}
    hub.wrong_byte = position
    with pytest.raises(LoadError, match="is damaged: its digest is") as error:
        client.load(loader, REPO, tmp_path, **options)
    assert "OSError" in error.value.kinds and WEIGHTS in str(error.value)
    hub.restore()
    assert client.load(loader, REPO, tmp_path, **options)["mark"] == 0.5


# How mirrors of the Hub announce a file, and whether one can tell by it that the content is wrong.
MIRRORS: dict[str, tuple[Callable[[bytes], str], bool]] = {
    "sha1": (lambda content: f'"{hashlib.sha1(content).hexdigest()}"', True),
    "named": (lambda content: f'"{{SHA1{{{hashlib.sha1(content).hexdigest().upper()}}}}}"', True),
    "md5": (lambda content: f'W/"{hashlib.md5(content).hexdigest()}"', True),
    "sha256": (lambda content: hashlib.sha256(content).hexdigest(), True),
    "md5 of something else": (lambda content: f'"{hashlib.md5(b"key" + content).hexdigest()}"', False),
    "sha1 of something else": (lambda content: f'"{hashlib.sha1(b"key" + content).hexdigest()}"', False),
    "time and size": (lambda content: f'"5f3c1a2b-{len(content):x}"', False),
}


@pytest.mark.parametrize("way", MIRRORS)
@pytest.mark.parametrize("loader", ["pipeline", "network"])
def test_a_mirror_with_digests_of_its_own(
    hub: HubStandIn, client: Client, tmp_path: Path, loader: str, way: str
) -> None:
    options = {"subfolder": "residual_inpainter"} if loader == "network" else {}
    hub.etag, telling = MIRRORS[way]
    assert client.load(loader, REPO, tmp_path / "sound", **options)["mark"] == 0.5
    kept = sorted(f for f in tmp_path.rglob("*") if f.is_file())
    assert client.load(loader, REPO, tmp_path / "sound", **options)["mark"] == 0.5
    assert sorted(f for f in tmp_path.rglob("*") if f.is_file()) == kept
    hub.wrong_byte = -20
    if telling:
        with pytest.raises(LoadError, match="is damaged: its digest is"):
            client.load(loader, REPO, tmp_path / "wrong", **options)
    else:
        client.load(loader, REPO, tmp_path / "wrong", **options)


def test_a_folder_of_ones_own_is_left_alone(tmp_path: Path) -> None:
    blob, link = tmp_path / "blobs" / ("0" * 40), tmp_path / "model" / "config.json"
    for file, text in ((blob, "{}"), (tmp_path / "model" / "other.json", "{}")):
        file.parent.mkdir()
        file.write_text(text)
    link.symlink_to(blob)
    check_downloads(tmp_path / "model")
    assert read_announced_digest(link) is None and link.read_text() == "{}"


def test_file_damaged_on_disk_is_refused(hub: HubStandIn, client: Client, tmp_path: Path) -> None:
    client.load("bare", REPO, tmp_path)
    (weights,) = tmp_path.rglob("*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.resolve().write_bytes(content)
    with pytest.raises(LoadError, match="is damaged"):
        client.load("bare", REPO, tmp_path)


@pytest.mark.parametrize("repo", ["facekit/no-such-model", PRIVATE])
@pytest.mark.parametrize("loader", ["pipeline", "network"])
def test_missing_or_private(hub: HubStandIn, client: Client, tmp_path: Path, loader: str, repo: str) -> None:
    options = {"subfolder": "residual_inpainter"} if loader == "network" else {}
    with pytest.raises(LoadError, match="hf auth login") as error:
        client.load(loader, repo, tmp_path, **options)
    assert "OSError" in error.value.kinds and repo in str(error.value)
    assert any(answer.startswith(("HEAD 401", "GET 401")) for answer in hub.answers)


def test_missing_with_the_bare_loader(hub: HubStandIn, client: Client, tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="facekit/no-such-model") as error:
        client.load("bare", "facekit/no-such-model", tmp_path)
    assert "OSError" in error.value.kinds and "make sure you are authenticated" in error.value.trace


def test_private_with_a_token(hub: HubStandIn, client: Client, tmp_path: Path) -> None:
    assert client.load("pipeline", PRIVATE, tmp_path, token=hub.token)["mark"] == 0.5
    with pytest.raises(LoadError, match="hf auth login"):
        client.load("pipeline", PRIVATE, tmp_path / "other", token="hf_wrong")


@pytest.mark.slow
def test_offline_from_the_cache(hub: HubStandIn, client: Client, tmp_path: Path) -> None:
    client.load("bare", REPO, tmp_path / "cache")
    with HubStandIn() as gone:
        offline = Client(gone, tmp_path / "home", HF_HUB_OFFLINE="1")
    try:
        for loader in ("bare", "pipeline"):
            assert offline.load(loader, REPO, tmp_path / "cache")["mark"] == 0.5
        with pytest.raises(LoadError) as error:
            offline.load("pipeline", REPO, tmp_path / "empty")
        assert "OSError" in error.value.kinds
    finally:
        offline.close()
