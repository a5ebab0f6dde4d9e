"""`facekit push`: what it shows, what it refuses, and a push to the stand-in that is loaded back."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from facekit.hub.publish import plan_push
from facekit_cli.main import main
from tests.conftest import ROOT
from tests.hub.stand_in import HubStandIn
from tests.hub.test_loading import Client, pipeline_files

REPO = "facekit/tiny-pushed"
WEIGHTS = "residual_inpainter/diffusion_pytorch_model.safetensors"
CARD = """\
---
license: apache-2.0
library_name: diffusers
pipeline_tag: image-to-image
tags:
- facekit
datasets:
- SFHQ
model-index:
- name: tiny
  results:
  - task:
      type: image-to-image
    dataset:
      type: faces
      name: faces
    metrics:
    - type: psnr
      value: 17.4
---

# tiny

A network of the published structure at a small width, which was never trained and whose fills are noise. It is there
for tests of loading and pushing: the folder has everything that a model on the Hub has, and is small enough to be sent
within a moment. Nobody should fill a photo with it, and nothing that it makes should be taken for a face.
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    files = pipeline_files(tmp_path_factory.mktemp("saved"), 0.75)
    return {path: content for path, content in files.items() if ".fp16." not in path}


@pytest.fixture
def folder(saved: dict[str, bytes], tmp_path: Path) -> Path:
    """A model folder that may be pushed."""
    folder = tmp_path / "tiny"
    for path, content in {**saved, "README.md": CARD.encode()}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def test_dry_run_shows_what_would_go(folder: Path, capsys: pytest.CaptureFixture) -> None:
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("[core]")
    assert main(["push", str(folder), "--repo", REPO, "--dry-run"]) == 0
    *listed, total, left_out, end = capsys.readouterr().out.splitlines()
    shown = {line.split()[1]: int(line.split()[0].replace(",", "")) for line in listed}
    files = {f.relative_to(folder).as_posix(): f.stat().st_size for f in folder.rglob("*") if f.is_file()}
    del files[".git/config"]
    assert shown == files and {"README.md", "model_index.json", WEIGHTS} <= set(shown)
    assert total == f"{len(files)} files, {sum(files.values()):,} bytes, from {folder} to {REPO}"
    assert left_out == "left out: .git/config" and end == "dry run: nothing was uploaded"


def write(path: str, content: bytes | str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = content.encode() if isinstance(content, str) else content
        (folder / path).write_bytes(data)

    return change


def card(old: str, new: str) -> Callable[[Path], None]:
    assert old in CARD
    return write("README.md", CARD.replace(old, new))


def overflowed(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    weights["decoder.to_rgb.weight"] = (weights["decoder.to_rgb.weight"].sign() * 1e6).half()
    save_file(weights, folder / WEIGHTS)


PROBLEMS = {
    "pickle by name": (write("extra.pt", b"anything"), "extra.pt is a pickle"),
    "pickle by content": (write("extra.dat", pickle.dumps([1, 2], 4)), "extra.dat is a pickle"),
    "no card": (lambda folder: (folder / "README.md").unlink(), "there is no model card"),
    "no metadata": (write("README.md", CARD.split("---\n")[2]), "the metadata lacks license"),
    "no YAML": (card("license: apache-2.0", "license: ]["), "the metadata of README.md is not valid"),
    "no data": (card("datasets:\n- SFHQ\n", ""), "the metadata lacks datasets"),
    "results without name": (card("      name: faces\n", ""), "not valid"),
    "result in words": (card("value: 17.4", "value: good"), "the result psnr is 'good', not a number"),
    "wrong task": (card("image-to-image\ntags", "image2image\ntags"), "pipeline_tag is 'image2image'"),
    "base model": (card("datasets:", "base_model: ../prior\ndatasets:"), "base_model has '../prior'"),
    "placeholder": (card("# tiny\n", "# tiny\n[More Information Needed]\n"), "still has the placeholder"),
    "machine path": (
        write("residual_inpainter/config.json", json.dumps({"_name_or_path": "/home/somebody/model"})),
        "names a path of one machine, '/home/somebody/model'",
    ),
    "cut weights": (write(WEIGHTS, b"\x08\0\0\0\0\0\0\0{}      12"), "is damaged"),
    "infinite weights": (
        overflowed,
        f"{WEIGHTS} holds infinity or NaN in decoder.to_rgb.weight: save the weights",
    ),
    "no index": (lambda folder: (folder / "model_index.json").unlink(), "there is neither model_index.json"),
    "link": (lambda folder: (folder / "extra.txt").symlink_to(ROOT / "LICENSE"), "extra.txt is a link out"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_refused(folder: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    change, message = PROBLEMS[name]
    assert plan_push(folder).problems == []
    change(folder)
    # Without --dry-run: it must stop before anything is sent.
    assert main(["push", str(folder), "--repo", REPO]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("place", "repo"), [("missing", REPO), ("tiny", "no-owner"), ("tiny", "a/b/c")])
def test_wrong_usage(folder: Path, place: str, repo: str) -> None:
    assert main(["push", str(folder.parent / place), "--repo", repo]) == 2


@pytest.mark.parametrize("path", sorted(card.parent.name for card in ROOT.glob("hub_cards/*/README.md")))
def test_bundled_models_could_be_pushed(path: str) -> None:
    assert plan_push(ROOT / "hub_cards" / path).problems == []
    content = (ROOT / "hub_cards" / path / "README.md").read_text()
    told = ModelCard(content)
    assert told.data.license == "apache-2.0" and told.data.datasets
    # What the reader understood is what stands there: nothing is lost when it is written again.
    assert ModelCard(str(told)).data.to_dict() == told.data.to_dict()
    for result in told.data.eval_results or []:
        assert f"{result.metric_value:g}" in content.split("\n---\n", 1)[1], result


@pytest.fixture(scope="module")
def hub() -> Iterator[HubStandIn]:
    with HubStandIn() as hub:
        yield hub


def pushed(hub: HubStandIn, folder: Path, *options: str, token: str | None = None) -> tuple[int, str]:
    """The command in a process of its own, whose endpoint is the stand-in. Its exit code and words."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(folder.parent / "home"),
        "NO_PROXY": "127.0.0.1",
    }
    environment |= {"HF_TOKEN": token or hub.token, "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "facekit", "push", str(folder), "--repo", REPO, *options]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


def test_push_and_load_back(hub: HubStandIn, folder: Path, tmp_path: Path) -> None:
    # 1. Somebody else's token changes nothing
    code, words = pushed(hub, folder, token="hf_wrong")
    assert code == 1 and "401" in words and REPO not in hub.repositories

    # 2. The first push makes the repository, with exactly these files
    code, words = pushed(hub, folder, "--private")
    assert code == 0 and f"pushed: {hub.endpoint}/{REPO}/commit/" in words, words
    repository = hub.repositories[REPO]
    first = repository.commits[repository.names["main"]]
    local = {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    assert repository.private
    assert {path: content for path, content in first.items() if path != ".gitattributes"} == local
    assert list(hub.received.values()) == [local[WEIGHTS]]

    # 3. What was pushed loads
    client = Client(hub, tmp_path / "home")
    try:
        loaded = client.load("pipeline", REPO, tmp_path / "cache", token=hub.token)
    finally:
        client.close()
    assert loaded == {"class": "FaceInpaintPipeline", "mark": 0.75, "dtype": "float32"}

    # 4. A card that the Hub itself refuses changes nothing; a better one is a second commit
    (folder / "README.md").write_text(CARD + "\nMore.\n")
    hub.card_errors = ['"license" must be one of the known ones']
    code, words = pushed(hub, folder)
    assert code == 1 and "must be one of the known ones" in words
    hub.card_errors = []
    assert pushed(hub, folder, "--message", "Card")[0] == 0
    assert len(repository.commits) == 3
    assert repository.commits[repository.names["main"]]["README.md"].endswith(b"More.\n")


@pytest.mark.slow
def test_files_that_arrived_are_not_removed_for_an_answer_that_was_lost(
    hub: HubStandIn, folder: Path
) -> None:
    for revision in ((), ("--revision", "dev")):
        hub.repositories.pop(REPO, None)
        hub.loses_answers = True
        code, words = pushed(hub, folder, *revision)
        hub.loses_answers = False
        assert code == 1, words
        repository = hub.repositories[REPO]
        assert WEIGHTS in repository.commits[repository.names["dev" if revision else "main"]]


@pytest.mark.slow
def test_a_branch_is_made_or_nothing_is(hub: HubStandIn, folder: Path) -> None:
    hub.repositories.pop(REPO, None)
    # 1. A name that the Hub refuses, or a card: no empty repository stays behind
    code, words = pushed(hub, folder, "--revision", "no..branch")
    assert code == 1 and "the Hub did not take it" in words and REPO not in hub.repositories, words
    hub.card_errors = ["not this one"]
    code, words = pushed(hub, folder, "--revision", "dev")
    assert code == 1 and "not this one" in words and REPO not in hub.repositories

    # 2. A new repository with its files on the branch alone, then another branch of it
    hub.card_errors = []
    code, words = pushed(hub, folder, "--revision", "dev")
    assert code == 0, words
    repository = hub.repositories[REPO]
    assert set(repository.commits[repository.names["main"]]) == {".gitattributes"}
    assert WEIGHTS in repository.commits[repository.names["dev"]]
    assert pushed(hub, folder, "--revision", "dev", "--message", "again")[0] == 0

    # 3. A branch that was made for a push that fails goes, the repository that was there stays
    hub.card_errors = ["not this one"]
    assert pushed(hub, folder, "--revision", "other")[0] == 1
    assert set(repository.names) == {"main", "dev"} and hub.repositories[REPO] is repository
    hub.card_errors = []
