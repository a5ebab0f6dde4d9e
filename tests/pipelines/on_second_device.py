"""Offloading, on a device beside the CPU; `test_offload.py` runs this file in a process of its own."""

from typing import Any

import numpy as np
import pytest
import torch

from facekit import ExemplarInpaintPipeline, FaceEditPipeline
from facekit.pipelines.base import FacekitPipeline
from tests.helpers.all_pipelines import HOLE, NAMES, call, faces, tiny_pipeline
from tests.helpers.second_device import DEVICE, second_device
from tests.tiny.networks import tiny_text_guide

MODES = ("enable_model_cpu_offload", "enable_sequential_cpu_offload")


@pytest.fixture(autouse=True)
def device() -> Any:
    with second_device() as there:
        yield there


def offloaded(name: str, mode: str) -> FacekitPipeline:
    pipeline = tiny_pipeline(name)
    getattr(pipeline, mode)(device=DEVICE)
    return pipeline


def places(pipeline: FacekitPipeline) -> set[str]:
    """Where the networks' weights lie."""
    networks = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    return {parameter.device.type for network in networks for parameter in network.parameters()}


def close(found: Any, expected: Any, tolerance: float = 1e-4) -> None:
    """Both are made on devices that compute in another order."""
    torch.testing.assert_close(torch.as_tensor(found), torch.as_tensor(expected), rtol=0, atol=tolerance)


def test_the_device_refuses_what_an_accelerator_would() -> None:
    there, here = torch.ones(2, device=DEVICE), torch.ones(2)
    assert (there + 1).device == DEVICE and (there + 1).tolist() == [2, 2]
    assert (there * torch.tensor(2.0)).cpu().tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="cpu"):
        there + here
    with pytest.raises(RuntimeError, match="meta"):
        there + here.to("meta")
    with pytest.raises((TypeError, RuntimeError)):
        there.numpy()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NAMES)
def test_calls_give_what_they_give_on_the_cpu(name: str, mode: str) -> None:
    expected = call(tiny_pipeline(name), name)
    pipeline, rest = offloaded(name, mode), {"cpu"} if mode == MODES[0] else {"meta"}
    for _ in range(2):
        assert places(pipeline) == rest
        output = call(pipeline, name)
        close(output.images, expected.images)
        if name in ("restore", "exemplar"):
            close(output.similarities, expected.similarities)
    assert places(pipeline) == rest


def test_one_way_follows_another() -> None:
    expected, pipeline = call(tiny_pipeline("exemplar"), "exemplar").images, tiny_pipeline("exemplar")
    for mode in reversed(MODES):
        getattr(pipeline, mode)(device=DEVICE)
        close(call(pipeline, "exemplar").images, expected)
    pipeline.remove_all_hooks()
    assert places(pipeline) == {"cpu"}
    close(call(pipeline, "exemplar").images, expected)


@pytest.mark.parametrize("mode", MODES)
def test_all_of_an_edit(mode: str) -> None:
    plain: FaceEditPipeline = tiny_pipeline("edit")
    pipeline: FaceEditPipeline = offloaded("edit", mode)
    (found,), (expected,) = (p.semantic_maps(faces(), aligned=True) for p in (pipeline, plain))
    assert np.array_equal(found, expected)
    for options in (
        {"noise": "none"},
        {"noise": "fixed", "exemplar": "self", "pose_from": "front"},
        {"num_images": 3, "sketch": HOLE, "color": faces(3)[2:]},
        {"prompt": "a b", "text_guide": tiny_text_guide(), "num_inference_steps": 3},
    ):
        close(call(pipeline, "edit", **options).images, call(plain, "edit", **options).images, 1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_exemplars_and_photos_that_are_encoded_first(mode: str) -> None:
    def filled(pipeline: ExemplarInpaintPipeline) -> torch.Tensor:
        photo = pipeline.encode_photo(faces(), HOLE, aligned=True)
        first, second = (pipeline.encode_exemplar(faces(3)[k : k + 1], aligned=True) for k in (1, 2))
        source = torch.Generator().manual_seed(0)
        options = {"noise": "none", "truncation_psi": 0.5, "generator": source, "output_type": "pt"}
        return pipeline(photo, exemplar=first, second_exemplar=second, **options).images

    close(filled(offloaded("exemplar", mode)), filled(tiny_pipeline("exemplar")))
