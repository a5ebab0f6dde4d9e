"""The converter of EXE-GAN's files: refusals in a plain run; the whole way, against the goldens, in a slow one."""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from facekit import ExemplarInpaintPipeline
from facekit.convert import exegan
from facekit_cli.main import main
from tests.helpers.parity_data import PARITY, fill, filled
from tests.hub.stand_in import HubStandIn, Repository
from tests.models.style_parity import goldens
from tests.models.test_multi_style import picture

FOLDER = PARITY / "exegan"
NAMES = ("EXE_GAN_model_256.pt", "EXE_GAN_model_512.pt", "psp_ffhq_encode.pt")


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_files_are_found(tmp_path: Path) -> None:
    generator, large, style = NAMES
    both = touch(tmp_path / "both", *NAMES, "Arcface.pth")
    files = exegan.find_files(both, 512)
    assert (files.generator, files.style) == (both / large, both / style)
    assert files.identity == both / "Arcface.pth"
    assert exegan.find_files(both / generator).generator == both / generator
    old = touch(tmp_path / "old", "EXE_GAN_model.pt", style)
    assert exegan.find_files(old) == exegan.Files(old / "EXE_GAN_model.pt", old / style, None)
    bare = touch(tmp_path / "bare", generator)
    assert exegan.find_files(bare, style_encoder=both / style).style == both / style


def test_missing_files_are_named(tmp_path: Path) -> None:
    generator, _, style = NAMES
    both = touch(tmp_path / "both", *NAMES)
    with pytest.raises(ValueError, match=r"EXE_GAN_model_256\.pt and EXE_GAN_model_512\.pt; say which size"):
        exegan.find_files(both)
    with pytest.raises(ValueError, match="256 or 512 pixels, not 1024"):
        exegan.find_files(both, 1024)
    with pytest.raises(FileNotFoundError, match=r"lacks a generator; one of EXE_GAN_model_512\.pt is needed"):
        exegan.find_files(touch(tmp_path / "small", generator, style), 512)
    with pytest.raises(FileNotFoundError, match=r"lacks psp_ffhq_encode\.pt"):
        exegan.find_files(touch(tmp_path / "bare", generator))
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt does not exist"):
        exegan.find_files(tmp_path / "bare", style_encoder=tmp_path / "nowhere.pt")
    with pytest.raises(FileNotFoundError, match=r"neither a folder .* nor a Hub id"):
        exegan.convert(tmp_path / "nothing" / "here", tmp_path / "out")


@pytest.fixture(scope="module")
def generator_state() -> dict[str, torch.Tensor]:
    return fill.fill(FOLDER / "generator_256.json", 0)


def test_the_generator_is_loaded_exactly(tmp_path: Path, generator_state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "EXE_GAN_model_256.pt"
    options = argparse.Namespace(size=256, arcface_path="x")
    raw = {"g": {**generator_state, "to_rgb1.bias": torch.ones(1, 3, 1, 1)}}
    torch.save({"g_ema": generator_state, **raw, "args": options, "iter": 1, "best_fid": 3.0}, path)
    network = exegan.load_generator(path)
    assert network.config.sample_size == 256 and not network.training
    assert torch.equal(network.stem.conv.weight, generator_state["down_from_big.0.weight"])
    assert torch.equal(network.get_buffer("noise_12"), generator_state["noises.noise_12"])
    # The centre of truncation: close to the mean of other random styles.
    other = network.mean_style(4096, torch.Generator().manual_seed(7))
    assert (other - network.latent_avg).norm() < 0.2 * network.latent_avg.norm()
    assert (exegan.load_generator(path, use_ema=False).to_rgb.bias == 1).all()


def test_generators_that_do_not_fit_are_refused(
    tmp_path: Path, generator_state: dict[str, torch.Tensor]
) -> None:
    path, key = tmp_path / "model.pt", "convs.3.conv.weight"
    cases = [
        (
            {"g_ema": {**generator_state, key: torch.zeros(1, 512, 512, 1, 1)}},
            r"levels\.1\.conv.* is \[512, 512, 1",
        ),
        (
            {"g_ema": {k: v for k, v in generator_state.items() if k != key}},
            r"1 missing keys.*levels\.1\.conv",
        ),
        ({"g_ema": {**generator_state, "extra.weight": torch.zeros(1)}}, r"among them 'extra\.weight'"),
        ({"g_ema": {}}, r"no published generator of 256 or 512 pixels \(0 RGB heads\)"),
        ({"g": generator_state}, "no entry 'g_ema'; it has g"),
        ({"g_ema": generator_state, "args": Path("x")}, "could run code"),
    ]
    for content, message in cases:
        torch.save(content, path)
        with pytest.raises(ValueError, match=message):
            exegan.load_generator(path)


def test_style_files_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="no keys that start with"):
        exegan.load_style_encoder({"state_dict": {"decoder.x": torch.zeros(1)}}, 14, "file")
    content = {"state_dict": {"encoder.input_layer.0.weight": torch.zeros(1)}}
    with pytest.raises(ValueError, match="no tensor 'latent_avg'"):
        exegan.load_style_encoder(content, 14, "file")
    content["latent_avg"] = torch.zeros(18, 512)
    with pytest.raises(ValueError, match="0 style heads"):
        exegan.load_style_encoder(content, 14, "file")
    for options in ({"learn_in_w": True}, argparse.Namespace(encoder_type="Encoder4Editing")):
        with pytest.raises(ValueError, match="was made with"):
            exegan.load_style_encoder({**content, "opts": options}, 14, "file")


def test_the_command_refuses_and_leaves_nothing(
    tmp_path: Path, generator_state: dict[str, torch.Tensor], capsys: pytest.CaptureFixture
) -> None:
    source = touch(tmp_path / "files", *NAMES)
    command = ["convert", "exegan", str(source), "--output", str(tmp_path / "out")]
    assert main(command) == 1
    assert "say which size" in capsys.readouterr().err
    torch.save({"g_ema": generator_state}, source / NAMES[0])
    torch.save({"state_dict": {}}, source / NAMES[2])
    assert main([*command, "--size", "256"]) == 1
    assert "no keys that start with 'encoder.'" in capsys.readouterr().err
    wrong = ["convert", "exegan", str(source / NAMES[0]), "--size", "512", "--output", str(tmp_path / "out")]
    assert main(wrong) == 1
    assert "has 256 pixels, not 512" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


@pytest.mark.slow
def test_a_hub_model_is_downloaded_as_far_as_needed(tmp_path: Path) -> None:
    """Over HTTP, with the real huggingface_hub in a process of its own."""
    with HubStandIn() as hub:
        hub.repositories["someone/exegan"] = Repository()
        files = dict.fromkeys((*NAMES, "Arcface.pth", "huge.bin"), b"PK no checkpoint")
        hub.repositories["someone/exegan"].commit(files, "main")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        environment |= {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
        }
        command = [sys.executable, "-m", "facekit", "convert", "exegan", "someone/exegan", "--size", "512"]
        done = subprocess.run(
            [*command, "--output", str(tmp_path / "out")],
            env=environment | {"NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=500,
        )
        asked = " ".join(hub.answers)
    assert done.returncode == 1 and "Arcface.pth is truncated or no PyTorch checkpoint" in done.stderr
    assert "EXE_GAN_model_512.pt" in asked and "psp_ffhq_encode.pt" in asked
    assert "EXE_GAN_model_256.pt" not in asked and "huge.bin" not in asked
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, generator_state: dict[str, torch.Tensor]) -> Path:
    """A folder with the files as the authors write them, of deterministic weights."""
    folder = tmp_path_factory.mktemp("published")
    torch.save({"g_ema": generator_state, "args": argparse.Namespace(size=256)}, folder / NAMES[0])
    psp = {
        "state_dict": {f"encoder.{k}": v for k, v in filled(FOLDER / "psp_encoder.json", "encoder.").items()},
        "latent_avg": filled(FOLDER / "psp_latent_avg.json")["latent_avg"],
        "opts": {"encoder_type": "GradualStyleEncoder", "input_nc": 3, "start_from_latent_avg": True},
    }
    torch.save(psp, folder / NAMES[2])
    torch.save(filled(FOLDER / "arcface_resnet101.json"), folder / "Arcface.pth")
    return folder


@pytest.fixture(scope="module")
def converted(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The model that `facekit fetch` makes of the folder; names of the published weights mean it from then on."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEKIT_CACHE", str(cache))
        assert main(["fetch", "exegan", "--from", str(published)]) == 0
        yield cache / "exegan" / "model"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_converted_pipeline_gives_the_published_result(converted: Path) -> None:
    golden = goldens("exegan")
    pipe = ExemplarInpaintPipeline.from_pretrained("published")
    assert pipe.name_or_path == str(converted)
    mask = Image.open(FOLDER / "mask.png")
    given = {"aligned": True, "z": golden["in.z1"], "output_type": "pt"}
    first, second = (pipe.encode_exemplar(FOLDER / f"exemplar_{n}.png", aligned=True) for n in "ab")
    torch.testing.assert_close(second.codes, golden["psp.codes_b"], rtol=1e-3, atol=1e-4)
    photo = pipe.encode_photo(
        picture("gt") / 2 + 0.5, mask, aligned=True
    )  # a tensor: results are not rounded
    output = pipe(photo, exemplar=first, **given)
    assert -1 <= output.similarities[0][0] <= 1

    def close(image: torch.Tensor, name: str) -> None:
        found = [key for key in golden if key.startswith(f"{name}.sub")]
        assert found
        for key in found:
            step = int(key.rsplit(".sub", 1)[1])
            expected = (golden[key] / 2 + 0.5).clamp(0, 1)
            torch.testing.assert_close(image[..., ::step, ::step], expected, rtol=1e-3, atol=1e-3)

    close(output.images, "e2e.composited")
    for j in (0, 3, 10):
        mixed = pipe(photo, exemplar=first, second_exemplar=second, style_layers=4 + j, **given).images
        close(mixed, f"stylemix.j{j}.composited")
    with pytest.raises(ValueError, match="codes that an exemplar gives here are 4, 5"):
        pipe(photo, exemplar=first, exemplar_layers=[3])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_half_precision_folder(published: Path, converted: Path, tmp_path: Path) -> None:
    exegan.convert(published, tmp_path / "half", dtype=torch.float16)
    sizes = [
        sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
        for folder in (converted, tmp_path / "half")
    ]
    assert 0.49 < sizes[1] / sizes[0] < 0.51
    for name in ("style_encoder", "multi_style_generator", "identity_encoder"):
        weights = load_file(tmp_path / "half" / name / "diffusion_pytorch_model.safetensors")
        for key, value in weights.items():
            statistics = key.endswith(("running_mean", "running_var"))
            wanted = torch.float32 if statistics else torch.float16
            assert value.dtype == wanted or not value.is_floating_point()
    assert not list(converted.rglob("*.pt"))
