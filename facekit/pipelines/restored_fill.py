"""A restorer goes over what was filled: the "restore faces" of programs that generate pictures.

Networks that fill holes know where eyes belong before they can draw lashes. A restorer that is shown such a fill as
one more damaged face draws the detail, and a share of it that grows from the rim inwards takes the fill's place. The
methods of the thesis do without.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.damage.degrade import degrade
from facekit.notes import Argument, Refusal
from facekit.pipelines.restore import FaceRestorePipeline, keep_coarse_structure, scale_faces

FEATHER = 6  # pixels of the square over which the restored face fades in from the rim
# The fill's own coarse structure stays: what guided it did so for a reason.
FIDELITY = 1.0
# A fill is soft, but not as damaged photos are, and a restorer leaves what it does not know as damage. So it is shown
# the whole square damaged by the thesis's preset, as the bundled one learnt. More makes a fill sharper, but takes it
# from the photo: with 34 inpainted free-form holes ImageNet distances are 2.90 unrestored, 2.83 at 0.2 and 0.3, 2.84 at
# 0.35, 2.87 at 0.4, 2.90 at 0.5 and 2.98 at 0.6. From 0.3 to 0.35 centres gain most: sharpness 44 -> 48%.
SEVERITY = 0.35


def check_restorer(restore_with: object) -> None:
    """Raise ValueError unless it is a restoration pipeline or None."""
    if restore_with is not None and not isinstance(restore_with, FaceRestorePipeline):
        raise Refusal(
            "setting",
            "{argument} is a {given}; it must be a FaceRestorePipeline.",
            argument=Argument("restore_with"),
            given=type(restore_with).__name__,
        )


def restore_fill(
    restorer: FaceRestorePipeline,
    fill: Tensor,
    holes: Tensor,
    generators: list[torch.Generator],
    max_batch_size: int,
    are_faces: Sequence[bool] | None = None,
    strokes: Sequence[np.ndarray | None] | None = None,
) -> Tensor:
    """Restore filled faces inside their holes, after damaging them as the restorer knows damage (`damage_fill`).

    Args:
        restorer: sees each square as an aligned face. Its size may be another one.
        fill: completed squares [N, 3, S, S] in [-1, 1].
        holes: [N, 1, S, S], 1 = hole.
        generators: sources of the restorer's randomness, one for each square.
        max_batch_size: largest number of squares it sees at once.
        are_faces: which squares show an aligned face; the others stay as they are. None: all.
        strokes: what was drawn for each square, bool [S, S] or None. Squares with any are restored undamaged: a fill
            after strokes is sharp, and damage would take them (an F-score of 0.51 in place of 0.75 when it was tried).

    Returns:
        [N, 3, S, S], unchanged outside the holes.
    """
    chosen = [index for index in range(len(fill)) if are_faces is None or are_faces[index]]
    if not chosen:
        return fill
    squares = fill[chosen]
    sources = [generators[index] for index in chosen]
    # Damage is a matter of pixels: those that the restorer sees.
    shown = scale_faces(squares, restorer.restorer.config.sample_size).clone()
    for place, index in enumerate(chosen):
        lines = None if strokes is None else strokes[index]
        if lines is None or not lines.any():
            shown[place] = _damage_square(shown[place])
    # All of a fill is made up, and the mean of what differs is blurred: with mirror images 34 inpainted
    # centres lose a quarter of their sharpness (48 -> 34%) for 0.03 of ImageNet distance.
    restored = restorer.restore_batch(shown, sources, 0.0, max_batch_size, self_ensemble=False)
    restored = scale_faces(restored, squares.shape[-1])
    restored = keep_coarse_structure(restored, squares, FIDELITY).clamp(-1, 1)
    result = fill.clone()
    result[chosen] = torch.lerp(squares, restored, _fade_in(holes[chosen]))
    return result


def damage_fill(pixels: np.ndarray, severity: float = SEVERITY) -> np.ndarray:
    """A filled face RGB [H, W, 3] as a restorer is to see it; uint8 or floats in [0, 1], as it comes back.

    The noise is the same for all faces of a size.
    """
    return degrade(pixels, rng=0, severity=severity)


def _damage_square(square: Tensor) -> Tensor:
    """A square [3, S, S] in [-1, 1], damaged."""
    pixels = square.permute(1, 2, 0).float().add(1).div(2).clamp(0, 1).cpu().numpy()
    return torch.from_numpy(damage_fill(pixels)).permute(2, 0, 1).mul(2).sub(1).to(square)


def _fade_in(holes: Tensor) -> Tensor:
    """0 outside the holes [N, 1, S, S], growing inside from their rims to 1 at `FEATHER` pixels."""
    shares, inside = torch.zeros_like(holes), holes
    for _ in range(FEATHER):
        shares = shares + inside / FEATHER
        inside = 1 - F.max_pool2d(1 - inside, 3, 1, 1)
    return shares
