"""Options in groups: the shipped configurations mean what they meant when flat; old names are refused by the new."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import pytest

from tests.train.tiny_stages import run, write_config
from train.code_diffuser.config import CodeDiffuserConfig
from train.engine.config import read_config, read_yaml
from train.engine.groups import GROUPS, fill_groups, find_groups, merge, nest
from train.engine.options import Critic
from train.engine.renamed import RENAMED, find_new_name
from train.engine.stage import StageConfig
from train.exemplar.config import ExemplarConfig
from train.inpaint.config import InpaintConfig
from train.latent_warper.config import LatentWarperConfig
from train.multimodal.config import MultimodalConfig
from train.parser.config import ParserConfig
from train.prior.config import PriorConfig
from train.prior.trainer import PriorTrainer
from train.restorer.config import RestorerConfig
from train.style_encoder.config import StyleEncoderConfig

CONFIGS = Path(__file__).resolve().parents[2] / "train" / "configs"
# The values of every option when all were flat, by stage: the usual ones, and what differs in each preset.
FLAT: dict[str, Any] = json.loads(Path(__file__).with_name("flat_configurations.json").read_text())
IDENTITY = {"pictures.identity_encoder": "x"}
FROZEN = {"prior": "x", "style_encoder": "x"} | IDENTITY
STAGES: dict[str, tuple[type[StageConfig], dict[str, str]]] = {
    "prior": (PriorConfig, {}),
    "style_encoder": (StyleEncoderConfig, {"prior": "x"} | IDENTITY),
    "code_diffuser": (CodeDiffuserConfig, FROZEN),
    "restorer": (RestorerConfig, FROZEN | {"code_diffuser": "x"}),
    "inpaint": (InpaintConfig, {}),
    "exemplar": (ExemplarConfig, {"style_encoder": "x"} | IDENTITY),
    "multimodal": (MultimodalConfig, FROZEN),
    "latent_warper": (LatentWarperConfig, FROZEN),
    "parser": (ParserConfig, {}),
}
# Options that these stages had without use.
GONE = {
    "prior": {"validate_every"},
    "code_diffuser": {"validate_every"},
    "latent_warper": {"critic", "adversarial_weight", "critic_channels", "critic_learning_rate"},
}
PRESETS = [(stage, preset) for stage in FLAT for preset in FLAT[stage]["presets"]]
OLD = [(stage, name) for stage in FLAT for name in FLAT[stage]["usual"]]


def test_every_preset_is_recorded() -> None:
    shipped = {(path.parent.name, path.stem) for path in CONFIGS.rglob("*.yaml")}
    never_flat = {"directions", "damage"}
    assert set(PRESETS) == {(stage, preset) for stage, preset in shipped if stage not in never_flat}


@pytest.mark.parametrize(("stage", "preset"), PRESETS)
def test_presets_mean_what_they_meant_when_flat(stage: str, preset: str) -> None:
    config_class, needed = STAGES[stage]
    options = read_yaml(CONFIGS / stage / f"{preset}.yaml")
    needed = needed if options.get("prompts", True) else {}
    if options.get("guidance", {}).get("semantics") == "parser":
        needed = needed | {"guidance.face_parser": "x"}
    config = config_class(data="folder", output_dir="runs/x", **merge(nest(needed), options))
    found = json.loads(json.dumps(asdict(config)))
    for old, value in (FLAT[stage]["usual"] | FLAT[stage]["presets"][preset]).items():
        if old in GONE.get(stage, ()) or (stage, old) == ("latent_warper", "gradient_clip"):
            continue  # the warper's largest norm had a name of its own, clip_gradients
        group, _, option = (old if old in found else RENAMED[old]).rpartition(".")
        assert (found[group] if group else found)[option] == value, old


@pytest.mark.parametrize(("stage", "old"), OLD)
def test_old_names_are_refused_by_the_new(tmp_path: Path, stage: str, old: str) -> None:
    """On the command line and in a file; what has the name that it had, or none any more, is told apart."""
    config_class, _ = STAGES[stage]
    if old in {field.name for field in fields(config_class)} - GROUPS:
        return
    new = find_new_name(config_class, old)
    assert (new is None) == (old in GONE.get(stage, ()))
    message = f"{old} is now {new}" if new else f"{old} is no option of this stage any more"
    (tmp_path / "old.yaml").write_text(f"{old}: 1\n")
    for argv in ([f"--{old}", "1"], [f"--{old}=1"], ["--config", str(tmp_path / "old.yaml")]):
        with pytest.raises(ValueError, match=message):
            read_config(config_class, argv)


def test_a_checkpoint_of_before_is_refused(tmp_path: Path, pictures: Path) -> None:
    networks = {
        "prior": {"sample_size": 8, "style_dim": 8, "channel_base": 64, "max_channels": 8},
        "discriminator": {"channel_base": 64, "max_channels": 8, "stddev_group": 2},
    }
    config = write_config(tmp_path, pictures, **networks, latent_samples=8)
    run(PriorTrainer, PriorConfig, config, tmp_path / "run", max_steps=1)
    (told,) = (tmp_path / "run" / "checkpoints").glob("step-*/run.json")
    state = json.loads(told.read_text())
    told.write_text(json.dumps(state | {"config": state["config"] | {"r1_every": 16}}))
    with pytest.raises(
        ValueError, match=r"r1_every is now adversarial\.r1_every\. Choose another output_dir"
    ):
        run(PriorTrainer, PriorConfig, config, tmp_path / "run", max_steps=2)


def test_groups_are_those_of_the_stages() -> None:
    found = set().union(*(find_groups(config_class) for config_class, _ in STAGES.values()))
    assert found == GROUPS


@pytest.mark.parametrize("stage", list(STAGES))
def test_a_stage_has_at_most_thirty_options_of_its_own(stage: str) -> None:
    config_class, _ = STAGES[stage]
    assert len(fields(config_class)) - len(fields(StageConfig)) <= 30


@dataclass(kw_only=True)
class Options:
    size: int = 8
    adversarial: Critic = field(default_factory=Critic)

    def __post_init__(self) -> None:
        fill_groups(self)


def test_a_group_is_filled_option_by_option(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("adversarial: {r1_weight: 1e-1, r1_every: 4}\n")
    (tmp_path / "run.yaml").write_text("base: base.yaml\nadversarial: {r1_every: 8}\n")
    argv = ["--config", str(tmp_path / "run.yaml"), "--adversarial.channels", "32"]
    assert read_config(Options, argv).adversarial == Critic(r1_weight=0.1, r1_every=8, channels=32)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"r1": 1}, r"unknown options adversarial\.r1; adversarial has .*r1_every"),
        (0.5, "adversarial is a group of options, a mapping in YAML; got 0.5"),
        ({"critic": "patch"}, "critic must be one of stylegan2, projected; got 'patch'"),
    ],
)
def test_wrong_groups_are_refused(given: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(adversarial=given)  # type: ignore[arg-type]
