"""Who is whose exemplar: a reversed batch, another picture by chance, or pairs of similar pose (thesis 5.3.2)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from facekit_cli.evaluation.data import Pictures
from facekit_cli.evaluation.poses import pose_key
from facekit_cli.evaluation.tables import Pairing

Partners = Mapping[int, int]
BATCH = 8  # pictures of the batch that is reversed: the batch size of thesis section 5.3.1
PAIRS = 550  # of similar pose, thesis sections 5.3.2 and 6.5.3


@dataclass(frozen=True, eq=False)
class Poses:
    """How pictures of similar pose are found.

    Attributes:
        angles: yaw, pitch and roll in degrees [3] by `pose_key`; None: the pose is estimated from five landmarks.
        source: name of the file of the angles.
        pairs: so many of the most similar pairs are taken, all where there are fewer.
    """

    angles: Mapping[str, np.ndarray] | None = None
    source: str = ""
    pairs: int = PAIRS


def pair_pictures(
    pictures: Pictures, pairing: Pairing | None, seed: int, poses: Poses | None = None
) -> Partners | None:
    """For each picture its exemplar's index; pictures that have none are left out of the table.

    Raises:
        ValueError: a single picture, or poses of fewer than two.
    """
    if pairing is None:
        return None
    if len(pictures) < 2:
        raise ValueError(f"exemplars come from the other pictures, and {pictures.folder} holds only one")
    if pairing == "reversed":
        return reverse_batches(len(pictures))
    if pairing == "random":
        order = np.random.default_rng([seed, len(pictures)]).permutation(len(pictures))
        return dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
    return pair_by_pose(pictures, poses or Poses())


def reverse_batches(count: int) -> Partners:
    """Each batch of `BATCH` pictures, as they lie in the folder, is guided by itself in reversed order (thesis 5.3.2).

    The middle picture of an odd last batch would be its own exemplar, and takes the picture before it.
    """
    partners = {}
    for first in range(0, count, BATCH):
        last = min(first + BATCH, count) - 1
        for index in range(first, last + 1):
            other = first + last - index
            partners[index] = other if other != index else index - 1
    return partners


def pair_by_pose(pictures: Pictures, poses: Poses) -> Partners:
    """Nearest pose first: the two most alike become a pair, then the next two of those that are left.

    The distance is that of the three angles together. Raises ValueError where fewer than two pictures have a pose.
    """
    found = _angles(pictures, poses.angles) if poses.angles is not None else _estimates(pictures)
    if len(found) < 2:
        where = (
            f"angles in {poses.source} are there"
            if poses.angles is not None
            else "a face was found, whose landmarks say the pose,"
        )
        raise ValueError(
            f"pairs of similar pose need two pictures, and {where} for {len(found)} of {len(pictures)} pictures of "
            f"{pictures.folder}"
        )
    indices = np.array(list(found))
    table = np.stack([found[index] for index in indices])
    first, second = np.triu_indices(len(indices), 1)
    order = np.argsort(np.linalg.norm(table[first] - table[second], axis=1), kind="stable")
    partners: dict[int, int] = {}
    for place in order:
        one, other = int(indices[first[place]]), int(indices[second[place]])
        if one not in partners and other not in partners:
            partners |= {one: other, other: one}
            if len(partners) == 2 * poses.pairs:
                break
    return partners


def describe_pairing(
    pictures: Pictures, pairing: Pairing, partners: Partners, poses: Poses | None = None
) -> str:
    """A sentence for the table's notes about how exemplars were chosen."""
    if pairing == "reversed":
        return (
            f"Exemplars: each batch of {BATCH} pictures, by file name, is guided by itself in reversed order."
        )
    if pairing == "random":
        return "Exemplars: another picture for each, by seed."
    poses = poses or Poses()
    how = (
        f"by the angles in {poses.source}"
        if poses.angles is not None
        else "estimated from five landmarks (--poses takes a file of real angles)"
    )
    return (
        f"Exemplars: the {len(partners) // 2} pairs of {pictures.name} that are nearest in pose, {how}, each used both "
        "ways."
    )


def pose_of(points: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll, each as a number that grows with the angle, from five landmarks [5, 2]."""
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    across, down = points[1] - points[0], mouth - eyes
    width, height = max(float(np.linalg.norm(across)), 1e-6), max(float(np.linalg.norm(down)), 1e-6)
    nose = points[2] - eyes
    return np.array([nose @ across / width**2, nose @ down / height**2, np.arctan2(across[1], across[0])])


def _angles(pictures: Pictures, angles: Mapping[str, np.ndarray]) -> dict[int, np.ndarray]:
    keys = (pose_key(file.name) for file in pictures.files)
    return {index: angles[key] for index, key in enumerate(keys) if key in angles}


def _estimates(pictures: Pictures) -> dict[int, np.ndarray]:
    poses = {}
    for index in range(len(pictures)):
        points = pictures.said(index).get("landmarks5")
        points = _detected(pictures.read(index)) if points is None else np.asarray(points, np.float64)
        if points is not None and points.shape == (5, 2):
            poses[index] = pose_of(points)
    return poses


def _detected(picture: np.ndarray) -> np.ndarray | None:
    from facekit.faces import detect_faces

    found = detect_faces(picture, faces="largest", turned=False)
    return found[0].landmarks if found else None
