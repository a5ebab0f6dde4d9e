"""Options of the search for directions."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from train.data.images import is_mixture
from train.directions.fits import GEOMETRIES

METHODS = ("boundary", "factorise", "pca")
MIRRORS = ("same", "negate", "leave out")


@dataclass(kw_only=True)
class Attribute:
    """One attribute of `method: boundary`.

    Attributes:
        column: its column in the labels; None: its name.
        low, high: values up to `low` lie on one side of the boundary, those of at least `high` on the other; what is in
            between is left out. Columns of true and false need neither.
        share: in place of both: the sides are this share of the values at either end, above 0 and up to 0.5.
        mirror: the value of a mirrored picture: the "same", "negate", or "leave out" to use none.
        hold: attributes that are not to change with it.
        scale: length of the direction; 1 changes the attribute's score by one standard deviation.
        output: false for an attribute that only serves to be held by others.

    Raises:
        ValueError: wrong values.
    """

    column: str | None = None
    low: float | None = None
    high: float | None = None
    share: float | None = None
    mirror: str = "same"
    hold: list[str] = field(default_factory=list)
    scale: float = 1.0
    output: bool = True

    def __post_init__(self) -> None:
        if self.mirror not in MIRRORS:
            raise ValueError(f"mirror must be one of {', '.join(MIRRORS)}, not {self.mirror!r}")
        if (self.low is None) != (self.high is None) or (self.share is not None and self.low is not None):
            raise ValueError("an attribute takes low and high, or share, or none of them")
        if self.share is not None and not 0 < self.share <= 0.5:
            raise ValueError(f"share must lie in 0..0.5, not {self.share}")

    def split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Split values [M], NaN where unknown -> which are positive, and which are on either side; bool [M] each."""
        low, high = self.low, self.high
        if self.share is not None:
            known = values[values.isfinite()]
            low, high = (float(known.quantile(q)) for q in (self.share, 1 - self.share))
        low, high = (0.0, 1.0) if low is None else (low, high)
        positive = values >= high
        return positive, positive | (values <= low)


@dataclass(kw_only=True)
class DirectionsConfig:
    """Options of the search for directions.

    Attributes:
        output_dir: folder of the results.
        method: "boundary" (between labelled codes), "factorise" (eigenvectors of the prior's style weights) or "pca"
            (principal components of codes).
        prior: folder or Hub id of the generator. It is needed to factorise; else it paints `sheet.png` and, with an
            encoder, serves to measure what the directions change in pictures.
        encoder: folder or Hub id of the style encoder that reads `data`.
        data: folder of pictures; the labels' `file_name` counts from there.
        labels: file of JSON lines with `file_name` (where there is `data`), columns of numbers or truth values, null
            where unknown, and `held_out`, true for rows that boundaries are not fitted to but judged by.
        codes: .safetensors with `w_plus` [M, n, D] in place of pictures, in the order of the labels; with
            `w_plus_mirrored`, mirrored pictures count too. None for pca: the codes that lie beside the prior's weights,
            else `samples` codes of its mapping network.
        attributes: name -> options, see `Attribute`.
        mirror: encode mirrored pictures, too.
        components: number of principal components that a boundary may use; with few labels, few are steadier.
        penalty: on the boundary's weights, see `train.directions.fits.fit_boundary`.
        geometry: "population" or "plain", see `train.directions.fits.find_boundary_step`.
        code_range: [first, end) of the codes that directions may change; None: all.
        layers: indices of the codes to factorise.
        count: directions of factorise and pca, named factor_1... and component_1...
        scale: norm of a factorised direction in each code, and standard deviations of a principal component.
        samples: random codes for pca.
        add_to: folder or Hub id of directions to which the new ones are added; equal names are replaced.
        seed: of random codes.
        batch_size: pictures encoded at once.
        measured_faces, sheet_faces: held-out (else first) faces for the measurement in pictures and for `sheet.png`.
        preview_size: side of the pictures for both.

    Raises:
        ValueError: wrong values, or something is missing that the method needs.
    """

    output_dir: str
    method: str = "boundary"
    prior: str | None = None
    encoder: str | None = None
    data: str | None = None
    labels: str | None = None
    codes: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    mirror: bool = True
    components: int = 100
    penalty: float = 0.03
    geometry: str = "population"
    code_range: tuple[int, int] | None = None
    layers: tuple[int, ...] = (2, 3, 4, 5)
    count: int = 10
    scale: float = 1.0
    samples: int = 10_000
    add_to: str | None = None
    seed: int = 0
    batch_size: int = 16
    measured_faces: int = 8
    sheet_faces: int = 3
    preview_size: int = 128

    def __post_init__(self) -> None:
        for name, known in (("method", METHODS), ("geometry", GEOMETRIES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, not {getattr(self, name)!r}")
        if is_mixture(self.data):
            raise ValueError("labels name files of one folder: data cannot be a mixture")
        self.attributes = {name: Attribute(**(options or {})) for name, options in self.attributes.items()}
        if self.method == "factorise" and self.prior is None:
            raise ValueError("factorising needs prior, whose weights it reads")
        if self.method == "pca" and self.codes is None and self.prior is None:
            raise ValueError("pca needs codes, or a prior that makes some")
        if self.method == "boundary":
            if not self.attributes or self.labels is None:
                raise ValueError("a boundary needs labels, and attributes that say which columns to use")
            if (self.codes is None) == (self.data is None or self.encoder is None):
                raise ValueError("a boundary needs codes, or both data and encoder")
            for name, attribute in self.attributes.items():
                unknown = sorted(set(attribute.hold) - set(self.attributes) | {name} & set(attribute.hold))
                if unknown:
                    raise ValueError(
                        f"{name} cannot hold {unknown}; attributes: {', '.join(self.attributes)}"
                    )
