"""Networks that lie elsewhere between their calls."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module

from tests.helpers.all_pipelines import NAMES, call, tiny_pipeline

CHECKS = Path(__file__).with_name("on_second_device.py")
ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_used_by_calling_it(name: str) -> None:
    expected, pipeline = call(tiny_pipeline(name), name).images, tiny_pipeline(name)
    for network in pipeline.components.values():
        if isinstance(network, torch.nn.Module):
            # Its weights are there for the time of a call, and have no numbers otherwise.
            hook = AlignDevicesHook(execution_device=CPU, offload=True, place_submodules=True)
            add_hook_to_module(network, hook)
            assert all(parameter.is_meta for parameter in network.parameters())
    torch.testing.assert_close(call(pipeline, name).images, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_offloading_to_a_second_device() -> None:
    if not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this PyTorch knows no devices made in Python")
    # A device stays registered for as long as a process lives.
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", str(CHECKS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=850)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.fixture
def forgetful_memory() -> Iterator[None]:
    """Memory that was not written yet holds NaN."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("forgetful_memory")
@pytest.mark.parametrize("kind", ["leaf_level", "block_level"])
def test_groups_of_the_inpainting_network_lie_on_the_disk(tmp_path: Path, kind: str) -> None:
    expected, pipeline = call(tiny_pipeline("inpaint"), "inpaint").images, tiny_pipeline("inpaint")
    options = {"num_blocks_per_group": 1, "offload_to_disk_path": str(tmp_path)}
    pipeline.enable_group_offload(CPU, CPU, kind, **options)
    assert any(parameter.isnan().any() for parameter in pipeline.residual_inpainter.parameters())
    for _ in range(2):
        found = call(pipeline, "inpaint").images
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["leaf_level", "block_level"])
@pytest.mark.parametrize("name", ["restore", "exemplar", "edit"])
def test_groups_are_refused_where_layers_need_their_parts_weights(name: str, kind: str) -> None:
    pipeline = tiny_pipeline(name)
    with pytest.raises(ValueError, match=r"style_encoder.* Call enable_model_cpu_offload\(\) instead"):
        pipeline.enable_group_offload(CPU, offload_type=kind, num_blocks_per_group=1)
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    assert not any(hasattr(layer, "_diffusers_hook") for part in parts for layer in part.modules())


@pytest.mark.usefixtures("forgetful_memory")
def test_the_other_networks_of_a_pipeline_may_lie_in_groups(tmp_path: Path) -> None:
    expected, pipeline = call(tiny_pipeline("exemplar"), "exemplar"), tiny_pipeline("exemplar")
    whole = ["style_encoder", "multi_style_generator"]
    options = {"offload_to_disk_path": str(tmp_path), "exclude_modules": whole}
    pipeline.enable_group_offload(CPU, CPU, "leaf_level", **options)
    found = call(pipeline, "exemplar")
    torch.testing.assert_close(found.images, expected.images, rtol=0, atol=1e-4)
    torch.testing.assert_close(
        torch.tensor(found.similarities), torch.tensor(expected.similarities), rtol=0, atol=1e-4
    )
