"""`facekit convert style-encoder`: FACEMUG's encoder file, 26 channels in e4e's layout -> training and editing."""

import argparse
from pathlib import Path

import pytest
import torch
from torch import Tensor

from facekit import FaceEditPipeline, StyleEncoder
from facekit.convert import style_encoder
from facekit_cli.main import main
from tests.helpers.parity_data import PARITY, fill
from tests.helpers.published_layouts import publish_encoder
from tests.tiny import networks
from train.engine.stage import load_component

OPTIONS = {"encoder_type": "Encoder4Editing", "start_from_latent_avg": True, "in_channel": 26}


@pytest.fixture
def network() -> StyleEncoder:
    torch.manual_seed(0)
    made = StyleEncoder(
        sample_size=32,
        in_channels=26,
        num_styles=10,
        stem_channels=6,
        channels=(8, 12, 16, 16),
        se_reduction=4,
        style_dim=16,
    ).eval()
    made.latent_avg.copy_(torch.randn(10, 16))
    return made


@pytest.fixture
def content(network: StyleEncoder) -> dict[str, object]:
    """A file as the trainer writes it: the encoder and its frozen generator, options, what it needs to go on."""
    state = {f"encoder.{key}": value for key, value in publish_encoder(network).items()}
    return {
        "state_dict": state | {"decoder.input.input": torch.zeros(1)},
        "latent_avg": network.latent_avg.clone(),
        "opts": OPTIONS,
        "global_step": 200000,
        "discriminator_state_dict": {"mlp.0.weight": torch.zeros(1)},
    }


def test_the_file_becomes_a_folder_for_training_and_editing(
    network: StyleEncoder, content: dict[str, object], tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "best_model.pt")
    output = tmp_path / "encoder"
    assert main(["convert", "style-encoder", str(tmp_path / "best_model.pt"), "--output", str(output)]) == 0
    again = load_component(StyleEncoder, str(output), "style_encoder").eval()  # as training takes it
    seen = torch.randn(2, 26, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(again(seen), network(seen))
    pipeline = FaceEditPipeline(
        style_encoder=again,
        prior=networks.tiny_prior(),
        latent_warper=networks.tiny_latent_warper(),
        aggregation=networks.tiny_aggregation(),
        refiner=networks.tiny_refiner(),
    )
    assert pipeline.style_encoder.config.in_channels == 26


def test_fewer_codes_are_the_first_ones(
    network: StyleEncoder, content: dict[str, object], tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "file.pt")
    again = style_encoder.load_style_encoder(tmp_path / "file.pt", num_styles=8)
    seen = torch.randn(1, 26, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(again(seen), network(seen)[:, :8])


def test_the_published_layout_has_the_published_shape() -> None:
    """The manifest of the authors' file: every name and shape, no numbers."""
    entries = fill.json.loads((PARITY / "facemug" / "style_encoder.json").read_text())
    state = {e["key"].removeprefix("encoder."): torch.empty(e["shape"], device="meta") for e in entries}
    shape = style_encoder.read_shape(state, None, "the file")
    assert shape == {
        "sample_size": 256,
        "in_channels": 26,
        "num_styles": 18,
        "stem_channels": 64,
        "channels": (64, 128, 256, 512),
        "se_reduction": 16,
        "style_dim": 512,
    }


def test_what_is_refused(
    content: dict[str, object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state: dict[str, Tensor] = content["state_dict"]  # type: ignore[assignment]

    def without(key: str) -> dict[str, Tensor]:
        return {name: value for name, value in state.items() if name != key}

    cases = [
        (content | {"opts": OPTIONS | {"encoder_type": "GradualStyleEncoder"}}, "made with encoder_type"),
        (content | {"opts": argparse.Namespace(start_from_latent_avg=False)}, "start_from_latent_avg=False"),
        (content | {"latent_avg": None}, "no tensor 'latent_avg'"),
        (content | {"state_dict": without("encoder.body.7.res_layer.1.weight")}, r"lacks 'body\.7\."),
        (content | {"state_dict": without("encoder.body.8.res_layer.1.weight")}, "1 missing keys"),
        (content | {"state_dict": {"decoder.x": torch.zeros(1)}}, r"start with 'encoder\.'"),
        ({"g_ema": {}}, "no entry 'state_dict'; it has g_ema"),
    ]
    for wrong, message in cases:
        torch.save(wrong, tmp_path / "file.pt")
        with pytest.raises(ValueError, match=message):
            style_encoder.load_style_encoder(tmp_path / "file.pt")
    torch.save(content, tmp_path / "file.pt")
    command = ["convert", "style-encoder", str(tmp_path / "file.pt"), "--output", str(tmp_path / "out")]
    assert main([*command, "--codes", "14"]) == 1
    assert "has 10 codes; 14 are asked for" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
