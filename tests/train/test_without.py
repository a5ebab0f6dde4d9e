"""No loss disappears unsaid: a missing network is refused before any work, or left out by `--without`."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.train import tiny_stages
from tests.train.test_stage_configs import CONFIGS, STAGES
from tests.train.tiny_stages import curve, tiny_guides, write_config
from train.code_diffuser.config import CodeDiffuserConfig
from train.code_diffuser.trainer import CodeDiffuserTrainer
from train.engine.config import read_config, read_yaml
from train.engine.groups import merge, nest
from train.inpaint.config import InpaintConfig
from train.prior.config import PriorConfig

KNOWN = STAGES | {"inpaint": (InpaintConfig, {})}
COMPARE = [name for name, (kind, _) in KNOWN.items() if "pictures" in kind.__dataclass_fields__]
PRESETS = [path for path in sorted(CONFIGS.rglob("*.yaml")) if path.parent.name in COMPARE]
LETTER = [path for path in PRESETS if "starter" not in path.stem]


def build(path: Path, **options: Any) -> Any:
    """The configuration of a preset whose frozen networks are named, the identity network is not."""
    config_class, needed = KNOWN[path.parent.name]
    values = read_yaml(path)
    named = {name: value for name, value in needed.items() if name != "pictures.identity_encoder"}
    named = named if values.get("prompts", True) else {}
    return config_class(
        data="folder", output_dir="runs/x", **merge(merge(nest(named), values), nest(options))
    )


@pytest.mark.parametrize("path", LETTER, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_presets_of_the_papers_refuse_to_go_without(path: Path) -> None:
    config_class, _ = KNOWN[path.parent.name]
    weight = getattr(config_class(data="x", output_dir="x", **_named(path)).pictures, "identity_weight", 0)
    if weight == 0:
        build(path)
        return
    with pytest.raises(ValueError, match=r"--pictures\.identity_encoder, or .*--without identity"):
        build(path)
    assert build(path, **{"pictures.identity_encoder": "x"}).pictures.identity_weight == weight
    left = build(path, without="identity")
    assert left.pictures.identity_weight == 0 and left.without == ["identity"]
    assert left.pictures.perceptual == "lpips", "no other loss goes with it"


def _named(path: Path) -> dict[str, Any]:
    _, needed = KNOWN[path.parent.name]
    return merge(nest(needed), read_yaml(path))


@pytest.mark.parametrize(
    "path", [path for path in PRESETS if path not in LETTER], ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_starters_name_what_they_compare_by(path: Path) -> None:
    assert getattr(build(path).pictures, "identity_weight", 0) == 0


def test_names_that_do_not_fit_are_refused() -> None:
    for path, without, message in (
        ("restorer/paper", "identities", r"takes identity, perceptual, lpips; got 'identities'"),
        ("inpaint/thesis", "identity", "this stage has no identity loss"),
        ("inpaint/thesis", ["lpips", "identity"], "this stage has no identity loss"),
    ):
        with pytest.raises(ValueError, match=message):
            build(CONFIGS / f"{path}.yaml", without=without)
    with pytest.raises(ValueError, match="no perceptual loss"):
        PriorConfig(data="x", output_dir="x", max_steps=1, without=["perceptual"])
    assert build(CONFIGS / "inpaint/thesis.yaml", without=["lpips"]).pictures.perceptual == "none"


def test_an_ablation_without_the_identity_loss_needs_no_network() -> None:
    assert build(CONFIGS / "exemplar/thesis.yaml", ablation="f").pictures.identity_weight == 0
    with pytest.raises(ValueError, match=r"--pictures\.identity_encoder"):
        build(CONFIGS / "exemplar/thesis.yaml", ablation="e")


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that never fetched the weights of LPIPS."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("stage", COMPARE)
def test_every_stage_tries_lpips_before_it_loads_networks(tmp_path: Path, pictures: Path, stage: str) -> None:
    """The networks that the preset reads are nowhere, which is not what the message is about."""
    preset = next(path for path in LETTER if path.parent.name == stage and path.stem in ("paper", "thesis"))
    config_class, needed = KNOWN[stage]
    module = importlib.import_module(f"train.{stage}.trainer")
    trainer = next(
        value
        for name, value in vars(module).items()
        if name.endswith("Trainer") and value.__module__ == module.__name__
    )
    argv = ["--config", str(preset), "--data", str(pictures), "--output_dir", str(tmp_path / "run")]
    for name in needed:
        argv += [f"--{name}", str(tmp_path / "nowhere")]
    with pytest.raises(OSError, match=r"LPIPS .*--pictures.perceptual efficientnet.*--without perceptual"):
        trainer(read_config(config_class, [*argv, "--tracker", "none"]))
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.usefixtures("offline")
def test_a_run_without_its_losses_says_so_and_keeps_it(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guides = dict.fromkeys(("prior", "style_encoder"), str(tiny_guides(tmp_path / "guides")))
    config = write_config(tmp_path, pictures, **guides, diffuser={"num_blocks": 1}, max_steps=1)
    run = tiny_stages.run
    run(CodeDiffuserTrainer, CodeDiffuserConfig, config, tmp_path / "run", without=["identity", "lpips"])
    said = capsys.readouterr().out
    for name in ("identity", "perceptual"):
        assert f"--without {name}: this run trains without the {name} loss" in said
        assert not curve(tmp_path / "run", f"diffuser_{name}")
    (state,) = (tmp_path / "run" / "checkpoints").glob("step-*/run.json")
    kept = json.loads(state.read_text())["config"]
    assert kept["without"] == ["identity", "perceptual"]
    assert (kept["pictures"]["identity_weight"], kept["pictures"]["perceptual"]) == (0, "none")
