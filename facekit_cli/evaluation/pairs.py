"""Who is whose exemplar: another picture by chance, or pairs of similar pose used both ways (thesis 5.3.2)."""

from collections.abc import Mapping

import numpy as np

from facekit_cli.evaluation.data import Pictures
from facekit_cli.evaluation.tables import Pairing

Partners = Mapping[int, int]


def pair_pictures(pictures: Pictures, pairing: Pairing | None, seed: int) -> Partners | None:
    """For each picture its exemplar's index; pictures that have none are left out of the table.

    Raises:
        ValueError: a single picture, or poses of fewer than two.
    """
    if pairing is None:
        return None
    if len(pictures) < 2:
        raise ValueError(f"exemplars come from the other pictures, and {pictures.folder} holds only one")
    if pairing == "random":
        order = np.random.default_rng([seed, len(pictures)]).permutation(len(pictures))
        return dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))
    return pair_by_pose(pictures)


def pair_by_pose(pictures: Pictures) -> Partners:
    """Nearest pose first: the two most alike become a pair, then the next two of those that are left."""
    poses = {}
    for index in range(len(pictures)):
        points = pictures.said(index).get("landmarks5")
        points = _detected(pictures.read(index)) if points is None else np.asarray(points, np.float64)
        if points is not None and points.shape == (5, 2):
            poses[index] = pose_of(points)
    if len(poses) < 2:
        raise ValueError(
            f"pairs of similar pose need landmarks, and a face was found in {len(poses)} of {len(pictures)} "
            f"pictures of {pictures.folder}"
        )
    indices = np.array(list(poses))
    table = np.stack([poses[index] for index in indices])
    first, second = np.triu_indices(len(indices), 1)
    order = np.argsort(np.linalg.norm(table[first] - table[second], axis=1), kind="stable")
    partners: dict[int, int] = {}
    for place in order:
        one, other = int(indices[first[place]]), int(indices[second[place]])
        if one not in partners and other not in partners:
            partners |= {one: other, other: one}
    return partners


def pose_of(points: np.ndarray) -> np.ndarray:
    """Yaw, pitch and roll, each as a number that grows with the angle, from five landmarks [5, 2]."""
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    across, down = points[1] - points[0], mouth - eyes
    width, height = max(float(np.linalg.norm(across)), 1e-6), max(float(np.linalg.norm(down)), 1e-6)
    nose = points[2] - eyes
    return np.array([nose @ across / width**2, nose @ down / height**2, np.arctan2(across[1], across[0])])


def _detected(picture: np.ndarray) -> np.ndarray | None:
    from facekit.faces import detect_faces

    found = detect_faces(picture, faces="largest", turned=False)
    return found[0].landmarks if found else None
