"""The shipped configurations of all stages over `train.engine.stage`: valid, and of one measure."""

from pathlib import Path

import pytest
import torch

from facekit.models.code_diffuser import CodeDiffuser
from facekit.models.latent_warper import LatentWarper
from facekit.models.multi_style import MultiStyleGenerator
from facekit.models.multimodal import MultimodalAggregation
from facekit.models.refiner import RefinementAutoEncoder
from facekit.models.restorer import RestoreAutoEncoder
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from train.code_diffuser.config import CodeDiffuserConfig
from train.damage.config import DamageConfig
from train.engine.config import read_yaml
from train.engine.groups import merge, nest
from train.engine.stage import StageConfig
from train.exemplar.config import ExemplarConfig
from train.latent_warper.config import LatentWarperConfig
from train.multimodal.config import MultimodalConfig
from train.parser.config import ParserConfig
from train.prior.config import PriorConfig
from train.restorer.config import RestorerConfig
from train.style_encoder.config import StyleEncoderConfig

CONFIGS = Path(__file__).resolve().parents[2] / "train" / "configs"
IDENTITY = {"pictures.identity_encoder": "x"}
FROZEN = {"prior": "x", "style_encoder": "x"} | IDENTITY
PARSER = {"guidance.face_parser": "x"}
STAGES: dict[str, tuple[type[StageConfig], dict[str, str]]] = {
    "prior": (PriorConfig, {}),
    "style_encoder": (StyleEncoderConfig, {"prior": "x"} | IDENTITY | PARSER),
    "code_diffuser": (CodeDiffuserConfig, FROZEN),
    "restorer": (RestorerConfig, FROZEN | {"code_diffuser": "x"}),
    "parser": (ParserConfig, {}),
    "damage": (DamageConfig, {}),
    "exemplar": (ExemplarConfig, {"style_encoder": "x"} | IDENTITY),
    "latent_warper": (LatentWarperConfig, FROZEN),
    "multimodal": (MultimodalConfig, FROZEN | PARSER),
}
CASES = [(path, name) for name in STAGES for path in sorted(CONFIGS.glob(f"{name}/*.yaml"))]


@pytest.mark.parametrize(("path", "name"), CASES, ids=[f"{name}-{path.stem}" for path, name in CASES])
def test_shipped_configurations_are_valid(path: Path, name: str) -> None:
    config_class, needed = STAGES[name]
    options = read_yaml(path)
    needed = needed if options.get("prompts", True) else {}
    config = config_class(data="folder", output_dir="runs/x", **merge(nest(needed), options))
    assert config.max_steps > 0


def test_every_stage_has_both_presets() -> None:
    names = {f"{name}/{path.stem}" for path, name in CASES}
    for stage in ("prior", "style_encoder", "code_diffuser", "restorer"):
        assert {f"{stage}/paper", f"{stage}/starter"} <= names
    presets = ("thesis", "published-256", "published-large-mask", "starter", "sketch")
    assert {f"exemplar/{preset}" for preset in presets} <= names
    for stage in ("style_encoder/multimodal-", "latent_warper/", "multimodal/"):
        assert {f"{stage}thesis", f"{stage}starter"} <= names


def test_starter_networks_fit_each_other() -> None:
    """The whole starter pipeline has one measure and stays below 25 MB in the half precision that it is shipped in."""
    with torch.device("meta"):
        first = read_yaml(CONFIGS / "style_encoder/autoencoder-starter.yaml")
        prior = StyleGAN2Generator(**first["prior"])
        assert read_yaml(CONFIGS / "prior/starter.yaml")["prior"] == first["prior"]
        codes = {"num_styles": prior.num_styles, "style_dim": prior.config.style_dim}
        encoder = StyleEncoder(**(codes | first["encoder"]))
        diffuser = CodeDiffuser(**(codes | read_yaml(CONFIGS / "code_diffuser/starter.yaml")["diffuser"]))
        same = {name: prior.config[name] for name in ("style_dim", "channel_base", "max_channels")}
        restorer = RestoreAutoEncoder(**(same | read_yaml(CONFIGS / "restorer/starter.yaml")["restorer"]))
    assert restorer.num_levels <= prior.num_levels
    counts = [
        sum(p.numel() for p in network.parameters()) for network in (prior, encoder, diffuser, restorer)
    ]
    assert 2 * sum(counts) < 25e6, counts


def test_exemplar_starter_reads_the_starter_encoder() -> None:
    """Encoder and generator have codes of one measure and stay below 25 MB in half precision, with sketches too."""
    with torch.device("meta"):
        first = read_yaml(CONFIGS / "style_encoder/autoencoder-starter.yaml")
        codes = {"num_styles": 14, "style_dim": first["prior"]["style_dim"]}
        encoder = StyleEncoder(**(codes | first["encoder"]))
        options = read_yaml(CONFIGS / "exemplar/starter.yaml")["multi_style_generator"]
        generator = MultiStyleGenerator(**(options | {"style_dim": codes["style_dim"], "use_sketch": True}))
    assert generator.num_styles <= encoder.config.num_styles
    assert 2 * sum(p.numel() for network in (encoder, generator) for p in network.parameters()) < 25e6


def test_edit_starter_networks_fit_each_other() -> None:
    """All stages of the edit starter grow one refiner, as wide as the prior; in half precision below 40 MB."""
    with torch.device("meta"):
        first = read_yaml(CONFIGS / "style_encoder/autoencoder-starter.yaml")
        prior = StyleGAN2Generator(**first["prior"])
        codes = {"num_styles": prior.num_styles, "style_dim": prior.config.style_dim}
        encoder = StyleEncoder(**(codes | first["encoder"] | {"in_channels": 26}))
        warper = LatentWarper(**codes)
        stages = [read_yaml(CONFIGS / f"multimodal/starter{name}.yaml") for name in ("-128", "")]
        shapes = [stage["refiner"] | {"sample_size": 0} for stage in stages]
        assert all(shape == shapes[0] for shape in shapes) and shapes[0]["skips"]
        assert [stage["refiner"]["sample_size"] for stage in stages] == [128, 256]
        aggregation = MultimodalAggregation(**stages[0]["aggregation"])
        same = {name: prior.config[name] for name in ("style_dim", "channel_base", "max_channels")}
        width = {"in_channels": aggregation.config.channels}
        refiner = RefinementAutoEncoder(**(same | width | stages[-1]["refiner"]))
    assert refiner.num_styles <= prior.num_styles
    networks = (prior, encoder, warper, aggregation, refiner)
    assert 2 * sum(p.numel() for network in networks for p in network.parameters()) < 40e6
