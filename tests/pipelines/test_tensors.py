"""Tensors go into a pipeline and come out of it in one range."""

import pytest
import torch

from tests.helpers.all_pipelines import HOLE, NAMES, call, faces, tiny_pipeline


@pytest.mark.parametrize("name", NAMES)
def test_a_result_is_given_in_the_range_in_which_a_photo_is_taken(name: str) -> None:
    pipeline, photo = tiny_pipeline(name), faces()
    result = call(pipeline, name, photo).images
    assert result.shape == photo.shape and 0 <= result.min() and result.max() <= 1
    if name in ("restore", "mend"):  # they change the whole face
        array = photo[0].permute(1, 2, 0).numpy()
        assert torch.equal(result, call(pipeline, name, array).images)
    else:
        known = ~torch.from_numpy(HOLE)
        assert torch.equal(result[..., known], photo[..., known])
    again = call(pipeline, name, result).images
    assert again.shape == result.shape


@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_of_the_networks_range_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"image 0 has numbers from -.*expected \[0, 1\].*\(x \+ 1\) / 2"):
        call(tiny_pipeline(name), name, 2 * faces() - 1)


@pytest.mark.parametrize(
    ("name", "argument"),
    [("exemplar", "exemplar"), ("exemplar", "second_exemplar"), ("edit", "exemplar"), ("edit", "color")],
)
def test_so_is_a_guide(name: str, argument: str) -> None:
    with pytest.raises(ValueError, match=r"has numbers from -.*expected \[0, 1\].*\(x \+ 1\) / 2"):
        call(tiny_pipeline(name), name, **{argument: 2 * faces() - 1})


def test_a_pose_reference_too() -> None:
    with pytest.raises(ValueError, match=r"pose_from 0 has numbers from -.*expected \[0, 1\]"):
        call(tiny_pipeline("edit"), "edit", pose_from=2 * faces() - 1)


def test_colours_given_as_a_tensor_mean_what_they_mean_as_a_picture() -> None:
    pipeline = tiny_pipeline("edit")
    colors = (faces(3)[2:] * 255).round() / 255
    picture = (colors[0].permute(1, 2, 0) * 255).round().byte().numpy()
    results = [call(pipeline, "edit", color=given).images for given in (colors, picture)]
    assert torch.equal(*results)
