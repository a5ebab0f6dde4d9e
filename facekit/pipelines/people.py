"""What all pipelines do with the faces that were found in a photo."""

from collections.abc import Sequence

import numpy as np

from facekit.faces import Detector, Face


def known_faces(faces: Sequence[Face]) -> Detector:
    """A detector for a photo whose faces were found before."""

    def find(_picture: np.ndarray) -> Sequence[Face]:
        return faces

    return find


def turn_notes(faces: Sequence[Face], name: str = "the photo") -> list[str]:
    """What is to be said of faces that lie on their side or stand on their head."""
    turns = {90: "90 degrees clockwise", 180: "180 degrees", 270: "90 degrees counterclockwise"}
    return [
        f"{name} is not upright: its faces were found in a copy turned by {turns[turn]}"
        for turn in sorted({face.turn for face in faces} - {0})
    ]
