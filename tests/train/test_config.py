"""Options of a training run: YAML first, command line over it, mistakes named."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from train.engine.config import read_config, read_yaml
from train.inpaint.config import InpaintConfig

CONFIGS = Path(__file__).resolve().parents[2] / "train" / "configs"


@dataclass(kw_only=True)
class Options:
    size: int
    rate: float = 0.1
    masks: dict[str, str] = field(default_factory=dict)


def test_command_line_wins_over_yaml(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("size: 8\nrate: 5e-4\n")
    (tmp_path / "run.yaml").write_text("base: base.yaml\nsize: 16\n")
    options = read_config(Options, ["--config", str(tmp_path / "run.yaml"), "--masks", "{kind: centre}"])
    assert options == Options(size=16, rate=5e-4, masks={"kind": "centre"})
    assert read_config(Options, ["--size", "4", "--rate", "1e-3"]) == Options(size=4, rate=1e-3)


def test_no_mixed_precision_may_be_said_as_no() -> None:
    argv = ["--data", "folder", "--output_dir", "runs/x", "--max_steps", "1", "--mixed_precision", "no"]
    assert read_config(InpaintConfig, argv).mixed_precision == "no"


def test_unknown_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("size: 8\nspeed: 3\n")
    with pytest.raises(ValueError, match="speed"):
        read_config(Options, ["--config", str(tmp_path / "run.yaml")])
    with pytest.raises(SystemExit):
        read_config(Options, ["--size", "8", "--speed", "3"])


def test_missing_value_is_named() -> None:
    with pytest.raises(ValueError, match="--size"):
        read_config(Options, [])


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("inpaint/*.yaml")), ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(path: Path) -> None:
    config = InpaintConfig(data="folder", output_dir="runs/x", **read_yaml(path))
    assert config.max_steps > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ablation", "F"),
        ("update_order", "random"),
        ("reasoning_steps", 0),
        ("augment", "blur"),
        ("batch_size", 0),
    ],
)
def test_wrong_values_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=str(value)):
        InpaintConfig(data="folder", output_dir="runs/x", max_steps=1, **{name: value})
