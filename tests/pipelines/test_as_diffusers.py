"""What users of diffusers take for granted of a pipeline and its calls."""

from typing import Any

import pytest
import torch

from facekit import FaceEditPipeline, FaceInpaintPipeline, FaceRestorePipeline
from tests.helpers.all_pipelines import NAMES, call, faces, tiny_pipeline
from tests.tiny.networks import tiny_text_guide

WORDS = ("interrupt", "_interrupt")


def ender(word: str, last: int, seen: list[int]) -> Any:
    """A callback that ends the call after the step `last`, and notes the steps."""

    def end(pipeline: Any, step: int, _timestep: int, _tensors: dict[str, torch.Tensor]) -> None:
        seen.append(step)
        if step == last:
            setattr(pipeline, word, True)

    return end


@pytest.mark.parametrize("word", WORDS)
def test_a_callback_ends_the_reasoning(word: str) -> None:
    pipeline: FaceInpaintPipeline = tiny_pipeline("inpaint")
    seen: list[int] = []
    options = {"return_steps": True, "num_inference_steps": 5}
    ended = call(pipeline, "inpaint", callback_on_step_end=ender(word, 1, seen), **options)
    short = call(pipeline, "inpaint", **options | {"num_inference_steps": 2})
    assert seen == [0, 1]
    assert torch.equal(ended.images, short.images)
    assert [len(steps) for steps in (ended.steps[0], ended.residuals[0])] == [2, 2]
    whole = call(pipeline, "inpaint", **options)
    assert len(whole.steps[0]) == 5 and not pipeline.interrupt


def test_ended_reasoning_shows_as_many_steps_of_a_photo_without_a_hole() -> None:
    pipeline = tiny_pipeline("inpaint")
    hole = torch.zeros(2, 1, 64, 64)
    hole[1, :, 20:40, 20:40] = 1
    given = {"mask": hole, "return_steps": True, "num_inference_steps": 5}
    ended = call(pipeline, "inpaint", faces(2), callback_on_step_end=ender("interrupt", 1, []), **given)
    assert [len(steps) for steps in ended.steps] == [len(maps) for maps in ended.residuals] == [2, 2]


@pytest.mark.parametrize("word", WORDS)
def test_a_callback_ends_the_denoising(word: str) -> None:
    pipeline: FaceRestorePipeline = tiny_pipeline("restore")
    seen: list[int] = []
    ended = call(pipeline, "restore", callback_on_step_end=ender(word, 1, seen))
    whole = call(pipeline, "restore")
    assert seen == [0, 1] and not pipeline.interrupt
    (shown,), (known,) = ended.style_prompts[0], whole.style_prompts[0]
    assert len(known) == 4 and torch.equal(shown, known[:2])
    assert not torch.equal(ended.images, whole.images)


@pytest.mark.parametrize("word", WORDS)
def test_a_callback_ends_the_search_for_a_text(word: str) -> None:
    pipeline: FaceEditPipeline = tiny_pipeline("edit")
    seen: list[int] = []
    given = {"prompt": "a b", "text_guide": tiny_text_guide(), "num_inference_steps": 6}
    call(pipeline, "edit", callback_on_step_end=ender(word, 2, seen), **given)
    assert seen == [1, 2]


@pytest.mark.parametrize("name", NAMES)
def test_generators_come_in_a_list_or_a_tuple(name: str) -> None:
    pipeline = tiny_pipeline(name)

    def results(kind: type) -> torch.Tensor:
        generators = kind(torch.Generator().manual_seed(seed) for seed in (1, 2))
        guide = {"exemplar": faces(3)[2:]} if name in ("exemplar", "edit") else {}
        return call(pipeline, name, faces(2), generator=generators, **guide).images

    assert torch.equal(results(tuple), results(list))
    with pytest.raises(ValueError, match="3 generators for 1"):
        call(pipeline, name, generator=(torch.Generator(),) * 3)
    with pytest.raises(TypeError, match=r"generator is a int\. Pass torch\.Generator\(\)\.manual_seed"):
        call(pipeline, name, generator=7)


def test_a_sweep_takes_a_tuple_too() -> None:
    pipeline = tiny_pipeline("exemplar")

    def swept(generator: Any) -> bytes:
        guides = faces(3)[1:]
        given = {"exemplar": guides[:1], "second_exemplar": guides[1:], "crossovers": [5], "aligned": True}
        output = pipeline.sweep(faces(), torch.ones(1, 1, 64, 64), generator=generator, **given)
        return output.images[0].tobytes()

    assert swept((torch.Generator().manual_seed(3),)) == swept(torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", NAMES)
def test_components_make_a_pipeline_of_the_same_settings(name: str) -> None:
    pipeline = tiny_pipeline(name)
    if "match_tones" in pipeline.config:
        pipeline.register_to_config(match_tones=True)
    for other in (type(pipeline)(**pipeline.components), type(pipeline).from_pipe(pipeline)):
        settings = [{k: v for k, v in p.config.items() if not k.startswith("_")} for p in (pipeline, other)]
        assert settings[0] == settings[1]
        other.set_progress_bar_config(disable=True)
        assert torch.equal(call(other, name).images, call(pipeline, name).images)
