"""The converter of VSPBFR's files: refusals in a plain run; the whole way, against the goldens, in a slow one."""

import argparse
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from facekit import FaceRestorePipeline
from facekit.convert import vspbfr
from facekit.convert.common import check_options
from facekit.weights.checkpoints import read_checkpoint
from facekit_cli.main import main
from tests.helpers.parity_data import PARITY, fill, filled


class Hostile:
    """Pickles to a call that leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def diffuser_state() -> dict[str, torch.Tensor]:
    return filled(PARITY / "vspbfr" / "code_diffuser.json")


def test_options_in_a_namespace_are_read(tmp_path: Path, diffuser_state: dict[str, torch.Tensor]) -> None:
    """The published files hold one, which plain weights_only loading refuses."""
    path = tmp_path / "code_diffuser.pt"
    options = argparse.Namespace(lr=0.0016, name="run")
    torch.save({"att_mapper": diffuser_state, "args": options, "iter": 5, "best_fid": None}, path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    assert read_checkpoint(path)["args"].name == "run"
    network = vspbfr.load_code_diffuser(path)
    golden = load_file(PARITY / "vspbfr" / "encoders.seed0.safetensors")
    with torch.no_grad():
        output = network(golden["diffuser.x"], 3, golden["diffuser.c"])
    torch.testing.assert_close(output, golden["diffuser.out.t3"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("inside", [False, True], ids=["beside", "inside a namespace"])
def test_a_file_that_would_run_code_is_refused(tmp_path: Path, legacy: bool, inside: bool) -> None:
    proof, path = tmp_path / "was run", tmp_path / "code_diffuser.pt"
    hostile = argparse.Namespace(value=Hostile(proof)) if inside else Hostile(proof)
    content = {"att_mapper": {}, "args": hostile}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ValueError, match="could run code"):
        read_checkpoint(path)
    assert not proof.exists()
    # The proof works: an unsafe reader is caught by it.
    torch.load(path, weights_only=False)
    assert proof.exists()


def test_missing_files_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "Arcface.pth").touch()
    (tmp_path / "code_diffuser.pt").touch()
    with pytest.raises(FileNotFoundError, match=r"lacks restoration_net\.pt, style_encoder_decoder\.pt"):
        vspbfr.convert(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(FileNotFoundError, match=r"neither a folder .* nor a Hub id"):
        vspbfr.convert(tmp_path / "nothing" / "here", tmp_path / "out")


def test_a_diffuser_that_does_not_fit_is_refused(
    tmp_path: Path, diffuser_state: dict[str, torch.Tensor]
) -> None:
    path = tmp_path / "code_diffuser.pt"
    key = "att_mapper.1.k_matrix.weight"
    cases = [
        ({**diffuser_state, key: torch.zeros(512, 100)}, r"blocks\.1\.position_key\.weight is \[512, 100\]"),
        ({k: v for k, v in diffuser_state.items() if k != key}, r"1 missing keys.*blocks\.1\.position_key"),
        ({**diffuser_state, "att_mapper.0.extra.weight": torch.zeros(1)}, r"att_mapper\.0\.extra\.weight"),
        ({**diffuser_state, "att_mapper.4.k_matrix.weight": torch.zeros(1)}, r"1 unknown keys.*blocks\.4"),
    ]
    for state, message in cases:
        torch.save({"att_mapper": state}, path)
        with pytest.raises(ValueError, match=message):
            vspbfr.load_code_diffuser(path)
    torch.save({"mapper": diffuser_state}, path)
    with pytest.raises(ValueError, match="no entry 'att_mapper'; it has mapper"):
        vspbfr.load_code_diffuser(path)


def test_nothing_is_left_of_a_conversion_that_fails(
    tmp_path: Path, diffuser_state: dict[str, torch.Tensor]
) -> None:
    source, output = tmp_path / "files", tmp_path / "out"
    source.mkdir()
    torch.save({"att_mapper": diffuser_state}, source / "code_diffuser.pt")
    torch.save({"fc.weight": torch.zeros(256, 2048)}, source / "Arcface.pth")
    for name in ("restoration_net.pt", "style_encoder_decoder.pt"):
        torch.save({"g_ema": {}}, source / name)
    with pytest.raises(ValueError, match=r"Arcface\.pth does not fit IdentityEncoder.*missing keys.*conv1"):
        vspbfr.convert(source, output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files"]


def test_style_files_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="no keys that start with"):
        vspbfr.load_style_encoder({"state_dict": {"decoder.x": torch.zeros(1)}}, "file")
    content = {"state_dict": {"encoder.input_layer.0.weight": torch.zeros(1)}}
    with pytest.raises(ValueError, match="no tensor 'latent_avg'"):
        vspbfr.load_style_encoder(content, "file")
    content["latent_avg"] = torch.zeros(18, 512)
    with pytest.raises(ValueError, match="0 style heads"):
        vspbfr.load_style_encoder(content, "file")
    with pytest.raises(ValueError, match="the decoder of file"):
        vspbfr.load_prior({**content, "state_dict": {"decoder.conv1.conv.weight": torch.zeros(1)}}, "file")
    for options in ({"encoder_type": "Other"}, argparse.Namespace(stylegan_size=256)):
        with pytest.raises(ValueError, match="was made with"):
            check_options({"opts": options}, vspbfr.STYLE_OPTIONS, "file")
    check_options(
        {"opts": {"encoder_type": "Encoder4Editing", "device": "cuda"}}, vspbfr.STYLE_OPTIONS, "file"
    )


def test_the_command_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "Arcface.pth").touch()
    command = ["convert", "vspbfr", str(tmp_path), "--output", str(tmp_path / "out")]
    assert main(command) == 1
    assert "lacks code_diffuser.pt, restoration_net.pt, style_encoder_decoder.pt" in capsys.readouterr().err


@pytest.fixture(scope="module")
def published(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the four files as the authors write them, of deterministic weights."""
    folder, manifests = tmp_path_factory.mktemp("published"), shared_dir / "parity" / "vspbfr"
    options = argparse.Namespace(batch=4)
    torch.save(
        {"att_mapper": fill.fill(manifests / "code_diffuser.json", 0), "args": options},
        folder / "code_diffuser.pt",
    )
    torch.save(fill.fill(manifests / "arcface.json", 0), folder / "Arcface.pth")
    restorer = fill.fill(manifests / "restorenet.json", 0)
    torch.save(
        {"g_ema": restorer, "args": options, "iter": 1, "ada_aug_p": 0.0}, folder / "restoration_net.pt"
    )
    torch.save(
        {
            "state_dict": fill.fill(manifests / "style_encoder_decoder.json", 0),
            "latent_avg": fill.fill(manifests / "latent_avg.json", 0)["latent_avg"],
            "opts": {"stylegan_size": 1024, "encoder_type": "Encoder4Editing", "start_from_latent_avg": True},
        },
        folder / "style_encoder_decoder.pt",
    )
    return folder


@pytest.fixture(scope="module")
def converted(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The model that `facekit fetch` makes of the folder; names of the published weights mean it from then on."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACEKIT_CACHE", str(cache))
        assert main(["fetch", "vspbfr", "--from", str(published)]) == 0
        yield cache / "vspbfr" / "model"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_converted_pipeline_gives_the_published_result(converted: Path, shared_dir: Path) -> None:
    golden = load_file(shared_dir / "parity" / "vspbfr" / "golden.seed0.safetensors")
    pipe = FaceRestorePipeline.from_pretrained("Wanglong2/VSPBFR")
    assert pipe.name_or_path == str(converted)
    pipe.set_progress_bar_config(disable=True)
    close = {"rtol": 1e-3, "atol": 1e-3}
    seen = {}

    def record(pipe: FaceRestorePipeline, step: int, timestep: int, tensors: dict) -> None:
        seen.update(tensors)

    output = pipe(
        golden["image"] / 2 + 0.5,
        aligned=True,
        fidelity=0,
        latents=golden["diffuser.x_T"],
        z=golden["z"][:1],
        output_type="pt",
        return_aligned=True,
        callback_on_step_end=record,
        callback_on_step_end_tensor_inputs=("latents", "style_codes"),
    )
    torch.testing.assert_close(seen["style_codes"], golden["e2e.codes"], **close)
    torch.testing.assert_close(seen["latents"], golden["e2e.w0"], **close)
    expected = (golden["e2e.output"] / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(output.images, expected, **close)
    assert len(output.style_prompts[0][0]) == 4
    with torch.no_grad():
        features = pipe.prior(w_plus=golden["e2e.w0"], stop_at=7).features
        sample = pipe.prior(w_plus=golden["e2e.w0"]).image
    for index, feature in enumerate(features):
        stride = [max(1, n // 8) for n in feature.shape[1:]]
        sub = feature[:, :: stride[0], :: stride[1], :: stride[2]]
        torch.testing.assert_close(sub, golden[f"e2e.feat{index}.sub"], **close)
    sample = torch.nn.functional.adaptive_avg_pool2d(sample, 512)[:, :, ::4, ::4]
    torch.testing.assert_close(sample, golden["e2e.style_sample.sub"], **close)
    assert -1 <= output.similarities[0][0] <= 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_half_precision_folder(published: Path, converted: Path, tmp_path: Path) -> None:
    vspbfr.convert(published, tmp_path / "half", dtype=torch.float16)
    sizes = [
        sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
        for folder in (converted, tmp_path / "half")
    ]
    assert 0.5 < sizes[1] / sizes[0] < 0.53
    diffuser = load_file(tmp_path / "half" / "code_diffuser" / "diffusion_pytorch_model.safetensors")
    restorer = load_file(tmp_path / "half" / "restorer" / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in diffuser.values()} == {torch.float32}
    assert {value.dtype for value in restorer.values()} == {torch.float16}
