"""The authors' weights in one step: fetched from the Hub or an address, converted once, loaded; and what goes wrong."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from facekit import FaceEditPipeline, FaceInpaintPipeline, FaceRestorePipeline
from facekit.hub import shelf
from facekit.hub.memory import check_memory, needed_memory
from facekit.hub.published import find_published, published_named
from facekit.hub.record import read_record
from facekit.provenance import describe
from facekit_cli.main import main
from tests.conftest import ROOT
from tests.convert.test_grig import BUFFERS, composites
from tests.helpers.parity_data import PARITY, fill
from tests.hub.stand_in import HubStandIn, Repository
from tests.tiny.pipelines import tiny_inpaint_pipeline

FILE = "fid_best_model.pth"


class Broken(SimpleHTTPRequestHandler):
    """Serves a folder; the connection breaks after `cut` bytes of a file where that is set."""

    cut: int | None = None

    def do_GET(self) -> None:
        if Broken.cut is None:
            super().do_GET()
            return
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: Broken.cut])
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with GRIG's file as its authors write it, of deterministic weights."""
    averaged = fill.fill(PARITY / "grig" / "generator.json", 0)
    parameters = [averaged[key] for key in averaged if not key.endswith(BUFFERS)]
    folder = tmp_path_factory.mktemp("published")
    torch.save({"g": averaged, "g_ema": parameters}, folder / FILE)
    return folder


@pytest.fixture(scope="module")
def mirror(files: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Broken, directory=str(files))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Broken.cut = None
    return tmp_path / "cache"


def write_table(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (folder / "table.toml").write_text(text)
    monkeypatch.setenv("FACEKIT_PUBLISHED", str(folder / "table.toml"))


def check_golden(pipeline: FaceInpaintPipeline) -> None:
    golden = load_file(PARITY / "grig" / "golden.compact.safetensors")
    for step, filled in composites(pipeline, golden).items():
        torch.testing.assert_close(filled, golden[f"g.t{step}.composite"], rtol=1e-3, atol=1e-4)


def test_from_an_address_to_the_golden_pictures(
    mirror: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write_table(
        tmp_path, monkeypatch, f'[grig]\nfiles = {{ "{FILE}" = "{mirror}/{FILE}" }}\nterms = "ask us"'
    )
    pipeline = FaceInpaintPipeline.from_pretrained("published")
    check_golden(pipeline)
    origin = describe(pipeline)
    assert (origin.model, origin.terms) == ("grig", "ask us") and origin.revision.startswith("sha256:")
    record = read_record(cache / "grig" / "model")
    assert record is not None and json.loads((cache / "digests.json").read_text())["grig"] == record.digests
    # From now on without the server.
    write_table(tmp_path, monkeypatch, f'[grig]\nfiles = {{ "{FILE}" = "http://127.0.0.1:1/" }}')
    assert FaceInpaintPipeline.from_pretrained("grig").name_or_path == str(cache / "grig" / "model")
    assert main(["cache"]) == 0
    assert "terms: ask us" in capsys.readouterr().out
    assert main(["cache", "--clear", "all"]) == 0
    assert not (cache / "grig" / "model").exists() and (cache / "digests.json").exists()


@pytest.mark.slow
def test_a_cut_download_leaves_no_model_and_the_next_call_succeeds(
    mirror: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facekit.hub.fetching.RETRIES", 0)
    write_table(tmp_path, monkeypatch, f'[grig]\nfiles = {{ "{FILE}" = "{mirror}/{FILE}" }}')
    Broken.cut = 1_000_000
    with pytest.raises(OSError, match=f"download of {FILE} from 127.0.0.1 broke off.*--from FOLDER"):
        FaceInpaintPipeline.from_pretrained("published")
    assert not (cache / "grig" / "model").exists() and not (cache / "grig" / "files" / FILE).exists()
    Broken.cut = None
    # This server cannot go on in the middle: once that is seen, the file is fetched from its beginning.
    with pytest.raises(OSError, match="is not possible"):
        FaceInpaintPipeline.from_pretrained("published")
    check_golden(FaceInpaintPipeline.from_pretrained("published"))


@pytest.mark.slow
def test_a_killed_conversion_leaves_nothing_that_counts(files: Path, cache: Path) -> None:
    code = (
        "import os, sys, facekit.convert.grig as grig\n"
        "from facekit.hub import shelf\nfrom facekit.hub.published import find_published, published_named\n"
        "real = grig.store\n"
        "def store(network, dtype, save):\n    real(network, dtype, save)\n    os.kill(os.getpid(), 9)\n"
        "grig.store = store\n"
        f"shelf.provide(published_named('grig'), files={str(files)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=100)
    assert done.returncode == -9
    left = [path.name for path in (cache / "grig").iterdir()]
    assert any(name.endswith(".part") for name in left) and "model" not in left
    folder = shelf.provide(published_named("grig"), files=files)
    assert sorted(p.name for p in (cache / "grig").iterdir()) == ["lock", "model"]
    assert read_record(folder) is not None


@pytest.mark.slow
def test_two_processes_convert_once(files: Path, cache: Path, tmp_path: Path) -> None:
    (cache / "grig" / "files").mkdir(parents=True)
    (cache / "grig" / "files" / FILE).symlink_to(files / FILE)
    (tmp_path / "table.toml").write_text(f'[grig]\nfiles = {{ "{FILE}" = "http://127.0.0.1:1/" }}')
    code = (
        "from facekit.hub import shelf\nfrom facekit.hub.published import find_published, published_named\n"
        "shelf.provide(published_named('grig'))"
    )
    environment = os.environ | {"FACEKIT_PUBLISHED": str(tmp_path / "table.toml")}
    both = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environment, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=100)[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sum(text.count("Converting grig") for text in said) == 1


@pytest.mark.slow
def test_from_the_hub_by_id(files: Path, tmp_path: Path) -> None:
    with HubStandIn() as hub:
        hub.repositories["authors/GRIG"] = Repository()
        commit = hub.repositories["authors/GRIG"].commit({FILE: (files / FILE).read_bytes()}, "main")
        (tmp_path / "table.toml").write_text('[grig]\nrepo = "authors/GRIG"')
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")} | {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path / "home"),
            "FACEKIT_PUBLISHED": str(tmp_path / "table.toml"),
        }
        code = (
            "import facekit, sys\nfrom facekit.provenance import describe\n"
            "pipeline = facekit.FaceInpaintPipeline.from_pretrained('authors/GRIG')\n"
            "print(describe(pipeline).model, describe(pipeline).revision, pipeline.name_or_path)"
        )
        command = [sys.executable, "-c", code]
        for offline in ({}, {"HF_HUB_OFFLINE": "1"}):  # the second call needs no Hub
            done = subprocess.run(
                command, cwd=ROOT, env=environment | offline, capture_output=True, text=True, timeout=100
            )
            assert done.returncode == 0, done.stderr
            model, revision, folder = done.stdout.split()
            assert (model, revision) == ("authors/GRIG", commit)
            assert ("Terms:" in done.stderr) == (not offline)
    check_golden(FaceInpaintPipeline.from_pretrained(folder))


def test_another_file_than_the_first_is_refused(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["fetch", "grig", "--from", str(files)]) == 0
    state = torch.load(files / FILE, weights_only=True)
    torch.save(state | {"iter": 1}, tmp_path / FILE)
    command = ["fetch", "grig", "--from", str(tmp_path)]
    assert main(command) == 1
    said = capsys.readouterr().err
    assert f"{FILE} of grig is another file than the one that was fetched first" in said
    assert "--accept-changed" in said
    assert main([*command, "--accept-changed"]) == 0


def test_a_file_that_is_not_what_it_says_is_refused(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / FILE).write_text("<html>Too many users have viewed this file</html>")
    assert main(["fetch", "grig", "--from", str(tmp_path)]) == 1
    assert f"{tmp_path / FILE} is truncated or no PyTorch checkpoint" in capsys.readouterr().err
    assert [path.name for path in (cache / "grig").iterdir()] == ["lock"]
    assert not (cache / "digests.json").exists()


def test_what_is_not_there_says_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match=r"fid_best_model\.pth .* is not known here.*fetch grig --from FOLDER"):
        FaceInpaintPipeline.from_pretrained("published")
    with pytest.raises(ValueError, match="of FACEMUG the authors published the style encoder alone"):
        FaceEditPipeline.from_pretrained("published")
    with pytest.raises(ValueError, match=r"is VSPBFR, restores faces.*no model of FaceInpaintPipeline"):
        FaceInpaintPipeline.from_pretrained("Wanglong2/VSPBFR")
    with pytest.raises(ValueError, match=r"converted once.*facekit convert vspbfr .* --revision v2"):
        FaceRestorePipeline.from_pretrained("Wanglong2/VSPBFR", revision="v2")
    for text, message in (
        ("[grigg]", "entry 'grigg'; known are"),
        ("[grig]\nurl = 'x'", "grig has url; known are files, page, repo, revision, sha256, terms"),
        ("[grig]\nfiles = { other = 'x' }", "files has other; the files are fid_best_model.pth"),
        ("[grig]\nsha256 = { 'fid_best_model.pth' = 'x' }", "must be 64 digits"),
    ):
        write_table(tmp_path, monkeypatch, text)
        with pytest.raises(ValueError, match=message):
            FaceInpaintPipeline.from_pretrained("published")


def test_a_method_with_two_published_models_has_both_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    names = ("published", "exegan", "exegan-512")
    found = [find_published(name, "ExemplarInpaintPipeline") for name in names]
    assert [entry and (entry.name, entry.options["size"]) for entry in found] == [
        ("exegan", 256),
        ("exegan", 256),
        ("exegan-512", 512),
    ]
    (tmp_path / "psp_ffhq_encode.pt").touch()
    assert main(["fetch", "exegan-512", "--from", str(tmp_path)]) == 1
    assert "EXE_GAN_model_512.pt" in capsys.readouterr().err


def test_a_model_larger_than_memory_is_refused_before_loading(tmp_path: Path) -> None:
    tiny_inpaint_pipeline().save_pretrained(tmp_path / "model")
    file = tmp_path / "model" / "residual_inpainter" / "diffusion_pytorch_model.safetensors"
    count = sum(tensor.numel() for tensor in load_file(file).values())
    assert 4 * count <= needed_memory(tmp_path / "model") < 4.1 * count
    check_memory(tmp_path / "model", "tiny")
    head = json.dumps({"w": {"dtype": "F32", "shape": [10**13], "data_offsets": [0, 4 * 10**13]}}).encode()
    file.write_bytes(len(head).to_bytes(8, "little") + head)
    with pytest.raises(ValueError, match=r"needs about 40000\.2 GB, and .* are free\. Close other programs"):
        FaceInpaintPipeline.from_pretrained(tmp_path / "model")
