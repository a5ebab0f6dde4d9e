"""Tones across the rim of a hole."""

import pytest
import torch

from facekit.pipelines.tones import match_tones


def hole(size: int, first: int, last: int) -> torch.Tensor:
    mask = torch.zeros(1, 1, size, size)
    mask[..., first:last, first:last] = 1
    return mask


def test_constant_offset_disappears() -> None:
    ramp = torch.linspace(-0.2, 0.2, 64).expand(1, 3, 64, 64)
    holes = hole(64, 16, 48)
    matched = match_tones(ramp + 0.3 * holes, ramp, holes)
    assert (matched - ramp).abs().max() < 0.05
    assert torch.equal(matched * (1 - holes), ramp * (1 - holes))


@pytest.mark.parametrize("edge", [12, 13, 19, 20])
def test_an_edge_beside_the_rim_is_no_step_in_tone(edge: int) -> None:
    photo = torch.full((1, 3, 64, 64), 0.6)
    photo[..., :edge] = -0.6
    holes = hole(64, 16, 48)
    matched = match_tones(photo, photo, holes)
    assert (matched - photo).abs()[..., 17:47, :].max() < 0.01, "a fill that is right stays"


def test_detail_inside_stays() -> None:
    known = torch.zeros(1, 3, 64, 64)
    holes = hole(64, 8, 56)
    detail = torch.zeros(1, 3, 64, 64)
    detail[..., 30:34, 30:34] = 0.8
    matched = match_tones(detail - 0.2 * holes, known, holes)
    assert (matched[..., 31, 31] - matched[..., 20, 31]).min() > 0.7
    assert matched[..., 20, 20].abs().max() < 0.05


def test_bright_line_along_the_rim_is_bridged() -> None:
    known = torch.full((1, 3, 64, 64), 0.1)
    holes = hole(64, 16, 48)
    line = holes - hole(64, 17, 47)
    matched = match_tones(known + 0.5 * line, known, holes)
    assert (matched - known).abs().max() < 0.01


def test_narrow_and_full_holes() -> None:
    known = torch.full((1, 3, 32, 32), 0.4)
    stroke = torch.zeros(1, 1, 32, 32)
    stroke[..., 15:17] = 1
    matched = match_tones(known - 0.3 * stroke, known, stroke)
    assert (matched - known).abs().max() < 0.05
    fill = torch.rand(1, 3, 32, 32)
    assert torch.equal(match_tones(fill, known, torch.ones(1, 1, 32, 32)), fill)


def test_a_correction_that_fades_leaves_the_middle_of_a_large_hole_alone() -> None:
    known, holes = torch.zeros(1, 3, 256, 256), hole(256, 64, 192)
    fill = 0.4 * holes.expand(1, 3, 256, 256)
    matched = match_tones(fill, known, holes, fades=True)
    across = matched[0, 0, 128, 64:129]  # from the middle of a side to the middle of the hole
    assert across[0] < 0.02 and across[8] < 0.15, "no step at the rim"
    assert (across[1:] >= across[:-1] - 0.01).all()
    assert (across[52:] == 0.4).all()
    assert torch.equal(matched * (1 - holes), known)
    everywhere = match_tones(fill, known, holes)
    assert everywhere[0, 0, 128, 128].abs() < 0.05


@pytest.mark.parametrize("island", [(120, 124), (120, 136), (118, 119)])
def test_a_fading_correction_is_whole_at_every_rim(island: tuple[int, int]) -> None:
    known = torch.zeros(1, 3, 256, 256)
    holes = hole(256, 40, 216) - hole(256, *island)  # a few known pixels in the middle of a large hole
    fill = 0.4 * holes.expand(1, 3, 256, 256)
    whole, fading = (match_tones(fill, known, holes, fades=fades) for fades in (False, True))
    first, last = island
    near = hole(256, first - 4, last + 4) * holes
    torch.testing.assert_close(fading * near, whole * near)


def test_a_fading_correction_is_whole_in_small_holes() -> None:
    known, holes = torch.zeros(1, 3, 256, 256), hole(256, 120, 136)
    fill = 0.4 * holes.expand(1, 3, 256, 256)
    torch.testing.assert_close(match_tones(fill, known, holes, fades=True), match_tones(fill, known, holes))
