"""Where a photo is damaged: the finder looks at small copies, in parts, and the mask comes back at the photo's size."""

from collections.abc import Iterator

import cv2
import numpy as np
import torch

from facekit.images.photo import as_float, resize
from facekit.images.tensors import to_batch
from facekit.models.damage_finder import DamageFinder

# Pixels of a copy's longer side that the network sees at once, how many of them twice, and how many in all.
PART, OVERLAP, LONGEST = 1024, 128, 16 * 1024
# A mask ends where damage is no longer plain; its faint rim would be taken for the photo by what fills the rest.
MARGIN = 1.5 / 512  # of the photo's shorter side


def find_damage(
    finder: DamageFinder, photo: np.ndarray, device: torch.device | str | None = None
) -> np.ndarray:
    """Mark what is damaged in a photo, bool `[H, W]`: where `find_chances` is above the finder's threshold."""
    return find_chances(finder, photo, device) > finder.config.threshold


@torch.inference_mode()
def find_chances(
    finder: DamageFinder, photo: np.ndarray, device: torch.device | str | None = None
) -> np.ndarray:
    """How probably each pixel of a whole photo is damaged.

    The finder sees a copy whose shorter side has the `working_side` of its configuration and, of a larger photo, one
    with its `fine_side` (or the photo itself where that is smaller): torn corners and stains are seen in the first,
    thin scratches of a large scan in the second. What either finds counts.

    Args:
        finder: the network.
        photo: uint8 `[H, W, 3]` of any size.
        device: where the network computes; None: where its weights are.

    Returns:
        float32 `[H, W]`, 0..1.
    """
    height, width = photo.shape[:2]
    place = finder.device if device is None else torch.device(device)
    copies = sorted({size_of_copy(width, height, side) for side in list_sides(finder, min(height, width))})
    logits: np.ndarray = _find_logits(finder, resize(photo, copies[0]), place)
    for size in copies[1:]:
        # OpenCV scales bytes faster than floats, and they are exact enough for the network.
        logits = np.maximum(resize(logits, size), _find_logits(finder, resize(photo, size), place))
    return torch.from_numpy(resize(logits, (width, height))).sigmoid().numpy()


def list_sides(finder: DamageFinder, shorter_side: int) -> list[int]:
    """The shorter sides, in pixels, of the copies that the finder looks at, of a photo with this shorter side."""
    coarse, fine = finder.config.working_side, finder.config.fine_side
    return [coarse] if fine is None or shorter_side <= coarse else [coarse, min(fine, shorter_side)]


def _find_logits(finder: DamageFinder, photo: np.ndarray, device: torch.device) -> np.ndarray:
    """The network's logits float32 `[H, W]` of a copy uint8 `[H, W, 3]`; it sees `PART` of the longer side at once."""
    lying = photo.shape[1] > photo.shape[0]
    upright = photo.transpose(1, 0, 2) if lying else photo
    logits = np.zeros(upright.shape[:2], dtype=np.float32)
    weight = np.zeros((len(upright), 1), dtype=np.float32)
    for rows in _parts(len(upright)):
        seen = upright[rows].transpose(1, 0, 2) if lying else upright[rows]
        batch = to_batch([as_float(seen)], device).to(finder.dtype)
        found = finder(batch)[0, 0].float().cpu().numpy()
        share = _ramp(rows, len(upright))
        logits[rows] += (found.T if lying else found) * share
        weight[rows] += share
    logits /= weight
    return np.ascontiguousarray(logits.T if lying else logits)


def size_of_copy(width: int, height: int, working_side: int) -> tuple[int, int]:
    """Width and height of the copy in which a finder looks for damage."""
    scale = min(working_side / min(width, height), LONGEST / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def widen(damage: np.ndarray) -> np.ndarray:
    """The damage bool `[H, W]` with a margin, so that nothing of its rim stays."""
    reach = max(1, round(MARGIN * min(damage.shape)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate(damage.astype(np.uint8), disc) > 0


def _parts(length: int) -> Iterator[slice]:
    """Slices of at most `PART` rows that cover `length` rows and overlap by `OVERLAP` or more."""
    count = 1 if length <= PART else -(-(length - OVERLAP) // (PART - OVERLAP))
    for start in np.linspace(0, max(0, length - PART), count).round().astype(int):
        yield slice(int(start), min(int(start) + PART, length))


def _ramp(rows: slice, length: int) -> np.ndarray:
    """How much each row of a part counts, float32 `[rows, 1]`: less towards ends that another part covers too."""
    place = np.arange(rows.start, rows.stop)
    before = np.full(len(place), np.inf) if rows.start == 0 else place - rows.start + 1
    after = np.full(len(place), np.inf) if rows.stop == length else rows.stop - place
    return (np.minimum(np.minimum(before, after), OVERLAP) / OVERLAP).astype(np.float32)[:, None]
