"""What `import facekit` promises: public names, registration with diffusers, a command that answers fast."""

import json
import subprocess
import sys
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import DiffusionPipeline, ModelMixin

import facekit
from facekit.methods import OWN
from facekit.models.base import VerifiedModelMixin
from tests.tiny.pipelines import tiny_inpaint_pipeline


def exported(base: type) -> list[type]:
    """The public classes derived from a base of diffusers."""
    values = [getattr(facekit, name) for name in facekit.public.__all__]
    return [v for v in values if isinstance(v, type) and issubclass(v, base) and v is not base]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny pipeline on disk."""
    tiny_inpaint_pipeline().save_pretrained(tmp_path)
    return tmp_path


def test_model_index_names_the_library(folder: Path) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    assert index["residual_inpainter"] == ["facekit", "ResidualInpainter"]
    assert (folder / "residual_inpainter" / "diffusion_pytorch_model.safetensors").is_file()


def test_bare_loader_finds_pipeline_and_network(folder: Path) -> None:
    pipeline = DiffusionPipeline.from_pretrained(folder, dtype=torch.bfloat16)
    assert type(pipeline) is facekit.FaceInpaintPipeline
    assert pipeline.dtype == torch.bfloat16


class ScheduleOnly(DiffusionPipeline):
    """The smallest pipeline with a scheduler."""

    def __init__(self, scheduler: facekit.CodeDiffusionScheduler) -> None:
        super().__init__()
        self.register_modules(scheduler=scheduler)


def test_base_classes_are_needed_to_load(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("schedule")
    ScheduleOnly(facekit.CodeDiffusionScheduler(num_train_timesteps=3)).save_pretrained(other)
    assert json.loads((other / "model_index.json").read_text())["scheduler"][0] == "facekit"
    assert ScheduleOnly.from_pretrained(other).scheduler.config.num_train_timesteps == 3
    for name, loader, path in (
        ("SchedulerMixin", ScheduleOnly, other),
        ("ModelMixin", facekit.FaceInpaintPipeline, folder),
    ):
        with monkeypatch.context() as without:
            without.delattr(facekit.public, name)
            without.delattr(facekit, name, raising=False)
            with pytest.raises((ValueError, TypeError, AttributeError)):
                loader.from_pretrained(path)


def test_every_pipeline_is_registered() -> None:
    names = {method.class_name for method in OWN}
    assert {pipeline.__name__ for pipeline in exported(DiffusionPipeline)} == names
    for name in names:
        assert getattr(diffusers, name) is getattr(facekit, name)


def test_every_network_checks_its_downloads() -> None:
    networks = exported(ModelMixin)
    assert facekit.ResidualInpainter in networks
    assert [n for n in networks if not issubclass(n, VerifiedModelMixin)] == []


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize("arguments", [["--help"], ["inpaint", "--help"]])
def test_command_help_does_not_import_torch(arguments: list[str]) -> None:
    result = run_python("-X", "importtime", "-m", "facekit", *arguments)
    assert result.returncode == 0 and result.stdout.startswith("usage: facekit")
    imported = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()}
    assert "facekit_cli.main" in imported
    assert not imported & {"torch", "diffusers", "torchvision", "transformers"}


@pytest.mark.parametrize(
    "module", ["facekit", "facekit.images.photo", "facekit.images.masks", "facekit_cli.main"]
)
def test_what_only_reads_pictures_does_not_import_torch(module: str) -> None:
    result = run_python(
        "-c", f"import sys, {module}; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    )
    assert result.returncode == 0, result.stderr


ORDERS = {
    "facekit first": "import facekit\nimport diffusers",
    "diffusers first": "import diffusers\nimport facekit",
    "a part of facekit first": "from facekit.pipelines.inpaint import FaceInpaintPipeline\nimport diffusers, facekit",
    "a command's process": "import sys\nsys.argv = ['/usr/bin/facekit', 'inpaint']\nimport facekit, diffusers",
}


@pytest.mark.slow
@pytest.mark.parametrize("imports", ORDERS.values(), ids=ORDERS.keys())
def test_diffusers_knows_facekit_in_every_order_of_imports(imports: str, folder: Path) -> None:
    result = run_python(
        "-c",
        f"""
{imports}
loaded = diffusers.DiffusionPipeline.from_pretrained({str(folder)!r})
assert type(loaded) is facekit.FaceInpaintPipeline is diffusers.FaceInpaintPipeline
from diffusers.pipelines.pipeline_loading_utils import LOADABLE_CLASSES
assert "facekit" in LOADABLE_CLASSES
assert hasattr(diffusers, "StableDiffusionPipeline") and not hasattr(diffusers, "NoSuchPipeline")
""",
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.slow
def test_public_names_come_at_the_first_request() -> None:
    result = run_python(
        "-c",
        """
import facekit
assert "starter" in dir(facekit)
try:
    facekit.NoSuchName
except AttributeError as error:
    assert "NoSuchName" in str(error)
else:
    raise SystemExit("an unknown name was found")
from facekit import *
assert FaceRestorePipeline is facekit.FaceRestorePipeline
""",
    )
    assert result.returncode == 0, result.stderr
