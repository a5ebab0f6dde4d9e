"""The IR-SE50 identity network: e4e's crop, its file's layout, and an identity loss that reads it."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.convert.arcface import load_arcface
from facekit.convert.encoders import arcface_state
from facekit.losses.identity import IdentityLoss
from facekit.models.arcface import ArcFaceEncoder
from facekit.models.identity_encoder import IdentityEncoder
from facekit.models.identity_networks import load_face_identity
from facekit.pipelines.exemplar.pipeline import ExemplarInpaintPipeline
from facekit_cli.main import main
from tests.tiny.networks import tiny_arcface_encoder, tiny_identity_encoder
from tests.tiny.pipelines import tiny_exemplar_pipeline
from train.engine.picture_losses import load_identity

WIDTHS = [64] * 3 + [128] * 4 + [256] * 14 + [512] * 3
HALVES = (0, 3, 7, 21)  # blocks whose second convolution has stride 2


def norm_entries(name: str, width: int) -> dict[str, Tensor]:
    entries = {"weight": torch.rand(width) + 0.5, "bias": torch.randn(width) / 10}
    entries |= {"running_mean": torch.randn(width) / 10, "running_var": torch.rand(width) + 0.5}
    entries["num_batches_tracked"] = torch.tensor(1)
    return {f"{name}.{key}": value for key, value in entries.items()}


def conv_entry(name: str, out: int, read: int, side: int) -> dict[str, Tensor]:
    return {f"{name}.weight": torch.randn(out, read, side, side) / (read * side * side) ** 0.5}


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """A state dict with the names and shapes of model_ir_se50.pth."""
    torch.manual_seed(0)
    state = conv_entry("input_layer.0", 64, 3, 3) | norm_entries("input_layer.1", 64)
    state["input_layer.2.weight"] = torch.rand(64)
    before = 64
    for i, width in enumerate(WIDTHS):
        unit, short = f"body.{i}.res_layer", f"body.{i}.shortcut_layer"
        state |= norm_entries(f"{unit}.0", before) | conv_entry(f"{unit}.1", width, before, 3)
        state[f"{unit}.2.weight"] = torch.rand(width)
        state |= conv_entry(f"{unit}.3", width, width, 3) | norm_entries(f"{unit}.4", width)
        state |= conv_entry(f"{unit}.5.fc1", width // 16, width, 1)
        state |= conv_entry(f"{unit}.5.fc2", width, width // 16, 1)
        if width != before:
            state |= conv_entry(f"{short}.0", width, before, 1) | norm_entries(f"{short}.1", width)
        before = width
    state |= norm_entries("output_layer.0", 512) | norm_entries("output_layer.4", 512)
    state["output_layer.3.weight"] = torch.randn(512, 512 * 49) / 160
    state["output_layer.3.bias"] = torch.randn(512)
    return state


def embed(state: dict[str, Tensor], picture: Tensor) -> Tensor:
    """A picture of 256 pixels by the published layers one after another."""

    def normalise(name: str, x: Tensor) -> Tensor:
        names = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{key}"] for key in names))

    x = F.adaptive_avg_pool2d(picture[:, :, 35:223, 32:220], 112)
    x = normalise("input_layer.1", F.conv2d(x, state["input_layer.0.weight"], padding=1))
    x = F.prelu(x, state["input_layer.2.weight"])
    for i in range(24):
        stride, unit, short = 2 if i in HALVES else 1, f"body.{i}.res_layer", f"body.{i}.shortcut_layer"
        y = F.conv2d(normalise(f"{unit}.0", x), state[f"{unit}.1.weight"], padding=1)
        y = F.prelu(y, state[f"{unit}.2.weight"])
        y = normalise(f"{unit}.4", F.conv2d(y, state[f"{unit}.3.weight"], stride=stride, padding=1))
        gate = F.relu(F.conv2d(y.mean((2, 3), keepdim=True), state[f"{unit}.5.fc1.weight"]))
        y = y * torch.sigmoid(F.conv2d(gate, state[f"{unit}.5.fc2.weight"]))
        if f"{short}.0.weight" in state:
            x = normalise(f"{short}.1", F.conv2d(x, state[f"{short}.0.weight"], stride=stride))
        else:
            x = F.max_pool2d(x, 1, stride)
        x = x + y
    flat = normalise("output_layer.0", x).flatten(1)
    x = normalise(
        "output_layer.4", F.linear(flat, state["output_layer.3.weight"], state["output_layer.3.bias"])
    )
    return x / x.norm(dim=1, keepdim=True)


def test_the_published_file_gives_the_published_vectors(tmp_path: Path, published: dict[str, Tensor]) -> None:
    torch.save(published, tmp_path / "model_ir_se50.pth")
    network = load_identity(str(tmp_path / "model_ir_se50.pth"))
    assert isinstance(network, ArcFaceEncoder)
    picture = torch.rand(2, 3, 256, 256) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(network(picture), embed(published, picture), rtol=1e-3, atol=1e-5)
        large = picture.repeat_interleave(2, 2).repeat_interleave(2, 3)  # averaged down to 256 again
        torch.testing.assert_close(network(large), network(picture), rtol=1e-3, atol=1e-5)


def test_the_published_file_becomes_a_folder(tmp_path: Path, published: dict[str, Tensor]) -> None:
    file, output = tmp_path / "model_ir_se50.pth", tmp_path / "identity"
    torch.save(published, file)
    assert main(["convert", "arcface", str(file), "--output", str(output)]) == 0
    folder, network = load_face_identity(output), load_arcface(file)
    assert isinstance(folder, ArcFaceEncoder) and folder.state_dict().keys() == network.state_dict().keys()
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in folder.state_dict().items())


def test_what_does_not_fit_is_named(tmp_path: Path, published: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"body\.24\.res_layer"):
        arcface_state({"body.24.res_layer.0.weight": torch.zeros(1)})
    torch.save({"output_layer.3.bias": torch.zeros(512)}, tmp_path / "part.pth")
    with pytest.raises(ValueError, match=r"part\.pth does not fit ArcFaceEncoder"):
        load_arcface(tmp_path / "part.pth")
    with pytest.raises(OSError, match=r"part\.pth does not fit.*--without identity"):
        load_identity(str(tmp_path / "part.pth"))


def test_only_the_face_counts() -> None:
    torch.manual_seed(0)
    network = tiny_arcface_encoder().eval()
    image = torch.rand(1, 3, 64, 64)
    outside, inside = image.clone(), image.clone()
    outside[..., :8, :] = outside[..., 56:, :] = outside[..., :8] = outside[..., 56:] = 0
    inside[..., 8:16, 8:16] = 0
    with torch.no_grad():
        assert torch.equal(network(outside), network(image))
        assert not torch.allclose(network(inside), network(image))
        torch.testing.assert_close(network(image).norm(dim=1), torch.ones(1))
        torch.testing.assert_close(network.similarity(image, image), torch.ones(1))
        torch.testing.assert_close(IdentityLoss(network)(image, image), torch.zeros(1), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\]"):
        network(torch.zeros(1, 1, 64, 64))


@pytest.mark.parametrize("below", ["", "identity_encoder"])
def test_a_folder_says_which_network_it_holds(tmp_path: Path, below: str) -> None:
    for make, kind in ((tiny_arcface_encoder, ArcFaceEncoder), (tiny_identity_encoder, IdentityEncoder)):
        network = make().eval()
        network.save_pretrained(tmp_path / kind.__name__ / below)
        loaded = load_identity(str(tmp_path / kind.__name__))
        assert type(loaded) is kind
        image = torch.rand(1, 3, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(loaded.eval()(image), network(image))


def test_a_folder_without_it_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="--without identity trains without the identity loss"):
        load_identity(str(tmp_path))


def test_a_pipeline_that_trained_with_it_keeps_it(tmp_path: Path) -> None:
    """`train.exemplar` writes its identity network with the pipeline, which measures results by it."""
    tiny = tiny_exemplar_pipeline()
    network = tiny_arcface_encoder().eval()
    ExemplarInpaintPipeline(tiny.style_encoder, tiny.multi_style_generator, network).save_pretrained(tmp_path)
    kept = ExemplarInpaintPipeline.from_pretrained(tmp_path).identity_encoder
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(kept.similarity(image, image), torch.ones(2))
        assert torch.equal(kept(image), network(image))
