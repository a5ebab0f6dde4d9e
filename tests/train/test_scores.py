"""What validations measure alike."""

import pytest
import torch
import torch.nn.functional as F

from facekit.losses.imagenet import ImageNetDistance
from train.engine.scores import code_distance, compare_holes, laplacian_energy, sharpness, widen_mask


def test_energy_of_fine_detail() -> None:
    image = torch.zeros(1, 3, 8, 8)
    image[..., 4, 4] = 0.9
    energy = laplacian_energy(image)
    assert energy.shape == (1, 1, 8, 8)
    assert energy[0, 0, 4, 4] == pytest.approx(0.8**2) and energy[0, 0, 3, 3] == pytest.approx(0.1**2)
    assert energy[0, 0, :3].sum() == 0
    assert laplacian_energy(torch.full((1, 3, 8, 8), 0.5)).abs().max() < 1e-12


def test_sharpness_is_a_share_within_the_hole() -> None:
    torch.manual_seed(0)
    target = torch.rand(2, 3, 16, 16) * 2 - 1
    mask = torch.zeros(2, 1, 16, 16)
    mask[..., 4:12, 4:12] = 1
    torch.testing.assert_close(sharpness(target, target, mask), torch.ones(2))
    torch.testing.assert_close(sharpness(target / 2, target, mask), torch.full((2,), 0.25))
    smooth = F.avg_pool2d(target, 3, 1, 1) * mask + target * (1 - mask)
    assert (sharpness(smooth, target, mask) < sharpness(smooth, target)).all()
    # A picture without detail has none to share, and divides nothing by zero.
    assert sharpness(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)).item() == 0


def test_masks_grow_on_every_side() -> None:
    mask = torch.zeros(1, 1, 16, 16)
    mask[..., 8, 8] = 1
    wanted = torch.zeros_like(mask)
    wanted[..., 5:12, 5:12] = 1
    assert torch.equal(widen_mask(mask, 3), wanted)
    assert torch.equal(widen_mask(mask, 0), mask)


def test_distance_of_the_hole_alone() -> None:
    torch.manual_seed(0)
    target = torch.rand(1, 3, 128, 128) * 2 - 1
    mask = torch.zeros(1, 1, 128, 128)
    mask[..., :32, :32] = 1
    near, far = target.clone(), target.clone()
    near[..., :32, :32] = 0
    far[..., 96:, 96:] = 0
    distance = ImageNetDistance()
    inside, outside = (compare_holes(distance, x, target, mask).item() for x in (near, far))
    assert compare_holes(distance, target, target, mask).item() == 0
    assert 0 <= outside < 0.1 * inside


def test_distances_of_codes_number_by_number() -> None:
    """Eq. 5.7 has the mean of the codes' norms, Eq. 6.13 and 6.21 one norm of all codes."""
    torch.manual_seed(0)
    codes, wanted = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    for i in range(2):
        squares = [
            [(float(codes[i, k, d]) - float(wanted[i, k, d])) ** 2 for d in range(4)] for k in range(3)
        ]
        by_kind = {
            "norm": sum(sum(code) ** 0.5 for code in squares) / 3,
            "full_norm": sum(sum(code) for code in squares) ** 0.5,
            "mse": sum(sum(code) for code in squares) / 12,
        }
        for kind, expected in by_kind.items():
            assert code_distance(codes, wanted, kind)[i].item() == pytest.approx(expected, rel=1e-5), kind


def test_the_norm_of_equal_codes_has_a_gradient() -> None:
    codes = torch.zeros(1, 3, 4, requires_grad=True)
    code_distance(codes, torch.zeros(1, 3, 4), "full_norm").sum().backward()
    assert codes.grad is not None and (codes.grad == 0).all()
