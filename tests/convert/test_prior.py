"""`facekit convert stylegan2`: the file's generator is the folder's, of whatever size; what is refused."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from facekit import StyleGAN2Generator
from facekit.convert import prior
from facekit_cli.main import main
from tests.helpers.published_layouts import publish_generator
from tests.tiny.networks import tiny_prior, wake
from train.engine.stage import load_component


@pytest.fixture
def network() -> StyleGAN2Generator:
    torch.manual_seed(0)
    network = tiny_prior().eval()
    wake(network, heads=0.5)
    network.latent_avg.copy_(torch.randn(16).expand(10, 16))
    return network


@pytest.fixture
def state(network: StyleGAN2Generator) -> dict[str, Tensor]:
    return publish_generator(network)


def picture(network: StyleGAN2Generator) -> Tensor:
    with torch.no_grad():
        z = torch.randn(2, 16, generator=torch.Generator().manual_seed(1))
        return network(z=z, noise="fixed", truncation_psi=0.7).image


def test_a_file_gives_the_same_pictures_again(
    network: StyleGAN2Generator, state: dict[str, Tensor], tmp_path: Path
) -> None:
    file, output = tmp_path / "stylegan2.pt", tmp_path / "prior"
    torch.save({"g_ema": state, "latent_avg": network.latent_avg[0], "iter": 1}, file)
    assert main(["convert", "stylegan2", str(file), "--output", str(output)]) == 0
    again = load_component(StyleGAN2Generator, str(output), "prior")  # as training takes `--prior`
    assert again.config.sample_size == 64 and again.config.num_mapping_layers == 2
    assert torch.equal(picture(again), picture(network))
    assert publish_generator(again).keys() == state.keys() | {"convs.0.conv.blur.kernel"}
    assert all(torch.equal(value, state[key]) for key, value in publish_generator(again).items())


def test_the_decoder_of_an_encoders_file_and_a_bare_state_dict(
    network: StyleGAN2Generator, state: dict[str, Tensor], tmp_path: Path
) -> None:
    decoder = {f"decoder.{key}": value for key, value in state.items()} | {"encoder.x": torch.zeros(1)}
    torch.save({"state_dict": decoder, "latent_avg": network.latent_avg}, tmp_path / "e4e.pt")
    torch.save(state | {"latent_avg": network.latent_avg[:1]}, tmp_path / "bare.pt")
    for name in ("e4e.pt", "bare.pt"):
        assert torch.equal(picture(prior.load_generator(tmp_path / name)), picture(network)), name


def test_the_mean_style_is_measured_where_the_file_has_none(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"g_ema": state}, tmp_path / "file.pt")
    found = prior.load_generator(tmp_path / "file.pt")
    other = found.mean_style(4096, torch.Generator().manual_seed(7))
    assert (found.latent_avg - other).norm() < 0.3 * other.norm() and found.latent_avg.any()


def test_other_sizes_are_read_from_the_file(tmp_path: Path) -> None:
    for size, base, widest in ((8, 32, 4), (16, 4096, 8), (128, 512, 16)):
        made = StyleGAN2Generator(size, 8, base, widest, num_mapping_layers=3)
        torch.save({"g_ema": publish_generator(made)}, tmp_path / "file.pt")
        assert prior.load_generator(tmp_path / "file.pt").config.sample_size == size


def test_what_is_refused(
    state: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = [
        ({"G_ema": state}, r"no entry 'g_ema'; it has G_ema"),
        ({"g_ema": {"mapping.fc0.weight": torch.zeros(2)}}, r"no 'input\.input'"),
        ({"g_ema": state | {"input.input": torch.zeros(3)}}, "other dimensions"),
        ({"g_ema": {k: v for k, v in state.items() if k != "convs.1.conv.weight"}}, "1 missing keys"),
        ({"g_ema": state | {"convs.1.conv.weight": torch.zeros(1, 3, 3, 3, 3)}}, "of a wrong shape"),
        ({"g_ema": state | {"b4.conv1.weight": torch.zeros(1)}}, r"among them 'b4\.conv1\.weight'"),
        ({"state_dict": state}, r"no keys that start with 'decoder\.'"),
        ({"g_ema": state, "args": Path("x")}, "could run code"),
    ]
    for content, message in cases:
        torch.save(content, tmp_path / "file.pt")
        with pytest.raises(ValueError, match=message):
            prior.load_generator(tmp_path / "file.pt")
    (tmp_path / "stylegan2-ffhq.pkl").write_bytes(b"\x80\x04.")
    command = [
        "convert",
        "stylegan2",
        str(tmp_path / "stylegan2-ffhq.pkl"),
        "--output",
        str(tmp_path / "out"),
    ]
    assert main(command) == 1
    assert "pickle as NVIDIA publishes" in capsys.readouterr().err
    assert main([*command[:2], str(tmp_path / "none.pt"), *command[3:]]) == 2
    assert not (tmp_path / "out").exists()
