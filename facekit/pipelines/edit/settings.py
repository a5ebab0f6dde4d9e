"""Settings of an edit, checked before anything is loaded, and what the edit pipeline returns."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from diffusers.utils import BaseOutput

from facekit.faces.detect import Face
from facekit.images.tensors import Pictures
from facekit.notes import Argument, Note, Refusal

SELF, FRONT = "self", "front"  # words in place of an exemplar and of a pose reference
MODALITIES = ("sketch", "semantics", "color", "exemplar", "pose", "attributes", "prompt")
CANDIDATE_VARIETY = 0.5


@dataclass
class FaceEditOutput(BaseOutput):
    """What `FaceEditPipeline` returns.

    Attributes:
        images: the edited photos, one for each pair of photo and exemplar and each candidate (all candidates of
            the first pair come first). "pil": Pillow images of the photos' own mode, size, alpha and depth.
            "np": float32 `[B, H, W, C]` in [0, 1]. "pt": float32 `[B, C, H, W]` in [0, 1]. C is that of the
            photo (1 gray, 2 gray + alpha, 3 RGB, 4 RGB + alpha); a list where sizes differ. "photo": the
            `facekit.images.photo.Photo` that a next edit can start from, at its own depth.
        faces: for each pair the faces that were edited, left to right; empty with `aligned=True`.
        inversions: with `return_inversions`, what the prior makes of the codes (thesis Fig. 6.13): for each entry of
            `images` the pictures `[S, S]` of its faces, under the names "projected" (w^p, of the masked face and
            what is drawn on it), "exemplar" (w^e), "warped" (w_hat, turned to the pose; with an exemplar, random
            codes or a pose reference) and "edited" (w*, after attributes and words). Else None.
        notes: remarks for the user, for example that a part of the guidance lies outside the mask.
    """

    images: Pictures
    faces: list[list[Face]] = field(default_factory=list)
    inversions: dict[str, list[Pictures]] | None = None
    notes: list[Note] = field(default_factory=list)


@dataclass(frozen=True)
class EditSettings:
    """The settings of an edit, checked.

    Attributes:
        strengths: how much each of `MODALITIES` counts, 0 to 1.
        attributes: attribute -> how far to go along its direction, epsilon of Eq. 6.3.
        variety: share of random codes, 0 to 1; None means 0 for the first candidate and 0.5 for the others.
        truncation_psi: 1 leaves random codes as they are, 0 makes them the average code.
        noise: "random", "fixed" or "none".
        align_pose: whether exemplar and random codes are turned to the photo's pose.
    """

    strengths: dict[str, float]
    attributes: dict[str, float]
    variety: float | None
    truncation_psi: float
    noise: Literal["random", "fixed", "none"]
    align_pose: bool

    @classmethod
    def check(
        cls,
        strengths: Mapping[str, float] | None,
        attributes: Mapping[str, float] | None,
        known_attributes: Sequence[str],
        variety: float | None,
        truncation_psi: float,
        noise: Any,
        align_pose: bool,
    ) -> "EditSettings":
        """Check the settings of a call and put them together.

        Raises:
            ValueError: one cannot work; the message has the value and what would do.
        """
        if noise not in ("random", "fixed", "none"):
            what = "{argument} is {value!r}; choose one of 'random', 'fixed', 'none'."
            raise Refusal("setting", what, argument=Argument("noise"), value=noise)
        if variety is not None and not (_is_number(variety) and 0 <= variety <= 1):
            raise Refusal(
                "setting",
                "{argument} is {value!r}; it must lie between 0 (no random codes) and 1 (random codes alone).",
                argument=Argument("variety"),
                value=variety,
            )
        if not (_is_number(truncation_psi) and 0 <= truncation_psi < math.inf):
            raise Refusal(
                "setting",
                "{argument} is {value!r}; it must be 0 (the average) or more, 1 is no truncation.",
                argument=Argument("truncation_psi"),
                value=truncation_psi,
            )
        return cls(
            check_strengths(strengths),
            check_attributes(attributes, known_attributes),
            None if variety is None else float(variety),
            float(truncation_psi),
            noise,
            bool(align_pose),
        )

    def varieties(self, candidates: Sequence[int]) -> list[float]:
        """The share of random codes (0 to 1) of each sample, given which candidate it is (from 0)."""
        if self.variety is not None:
            return [self.variety] * len(candidates)
        return [CANDIDATE_VARIETY if candidate else 0.0 for candidate in candidates]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_strengths(strengths: Mapping[str, float] | None) -> dict[str, float]:
    """How much each modality counts, from 0 to 1; 1 for those that are not named.

    Raises:
        ValueError: an unknown modality, or a number outside [0, 1].
    """
    given = {} if strengths is None else dict(strengths)
    unknown = [name for name in given if name not in MODALITIES]
    if unknown:
        raise ValueError(f"strengths has {unknown[0]!r}; known are {', '.join(MODALITIES)}.")
    for name, value in given.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ValueError(
                f"the strength of {name} is {value!r}; it must lie between 0 (ignored) and 1 (as trained)."
            )
    return dict.fromkeys(MODALITIES, 1.0) | {name: float(value) for name, value in given.items()}


def check_attributes(attributes: Mapping[str, float] | None, known: Sequence[str]) -> dict[str, float]:
    """Check the attributes of an edit: names that the model knows, and finite numbers.

    Raises:
        ValueError: no directions in the model, an unknown name (the message lists the known), or no number.
    """
    given = {} if attributes is None else dict(attributes)
    if given and not known:
        raise Refusal(
            "no-directions",
            "this model has no attribute directions",
            "Load one that has, or pass {directions}= to from_pretrained",
            directions=Argument("directions"),
        )
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"there is no attribute {name!r}; known are {', '.join(sorted(known))}.")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise ValueError(f"attribute {name} is {value!r}; pass a number, for example 2.0 or -1.5.")
    return {name: float(value) for name, value in given.items()}
