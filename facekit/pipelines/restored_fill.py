"""A restorer goes over what was filled: the "restore faces" of programs that generate pictures.

Networks that fill holes know where eyes belong before they can draw lashes. To a restorer such a fill is one more soft
face: it draws the detail, and a share of it that grows from the rim inwards takes the fill's place. The methods of the
thesis do without.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from facekit.notes import Argument, Refusal
from facekit.pipelines.restore import FaceRestorePipeline

FEATHER = 6  # pixels of the square over which the restored face fades in from the rim
# The fill's own coarse structure stays: what guided it did so for a reason.
FIDELITY = 1.0


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
) -> Tensor:
    """Restore filled faces inside their holes.

    Args:
        restorer: sees each square as an aligned face. Its size may be another one.
        fill: completed squares [N, 3, S, S] in [-1, 1].
        holes: [N, 1, S, S], 1 = hole.
        generators: sources of the restorer's randomness, one for each square.
        max_batch_size: largest number of squares it sees at once.
        are_faces: which squares show an aligned face; the others stay as they are. None: all.

    Returns:
        [N, 3, S, S], unchanged outside the holes.
    """
    chosen = [index for index in range(len(fill)) if are_faces is None or are_faces[index]]
    if not chosen:
        return fill
    squares = fill[chosen]
    sources = [generators[index] for index in chosen]
    restored = restorer.restore_batch(squares, sources, FIDELITY, max_batch_size)
    result = fill.clone()
    result[chosen] = torch.lerp(squares, restored, _fade_in(holes[chosen]))
    return result


def _fade_in(holes: Tensor) -> Tensor:
    """0 outside the holes [N, 1, S, S], growing inside from their rims to 1 at `FEATHER` pixels."""
    shares, inside = torch.zeros_like(holes), holes
    for _ in range(FEATHER):
        shares = shares + inside / FEATHER
        inside = 1 - F.max_pool2d(1 - inside, 3, 1, 1)
    return shares
