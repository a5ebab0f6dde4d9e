"""Attribute directions of a prior (thesis Eq. 6.3): from its weights, from codes, or from labelled pictures.

    python train/directions.py --config train/configs/directions-starter.yaml --data FOLDER --labels labels.jsonl \
        --output_dir runs/directions
    python train/directions.py --method factorise --prior PRIOR --output_dir runs/factorised
    python train/directions.py --method pca --prior PRIOR --output_dir runs/components

Ends with `OUTPUT_DIR/directions`, for `StyleDirections.from_pretrained`, and beside it `report.json`,
`codes.safetensors` (for `--codes` of later runs) and `sheet.png`, each direction from -3 to 3.
"""

# ruff: noqa: I001
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import facekit  # noqa: F401  first: it mends torchvision, which diffusers imports
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from facekit.models.style_directions import StyleDirections
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.pipelines.sample import load_style_codes
from train.config import read_config
from train.data import fit_square, is_mixture, to_tensor
from train.direction_checks import measure_in_pictures, preview_prior, write_sheet
from train.direction_fits import (
    GEOMETRIES,
    CodeSpace,
    boundary_step,
    factorised_directions,
    fit_boundary,
    ranking_quality,
)
from train.loop import work_in
from train.stage import load_component

METHODS = ("boundary", "factorise", "pca")
MIRRORS = ("same", "negate", "leave out")


@dataclass(kw_only=True)
class Attribute:
    """One attribute of `method: boundary`.

    Attributes:
        column: its column in the labels; default: its name.
        low, high: values up to `low` are one side of the boundary, from `high` on the other; what lies between is
            left out. Columns of true and false need neither.
        share: instead of both, so large a part of the values at either end.
        mirror: what a mirrored picture's value is: "same", "negate", or "leave out" to use none.
        hold: attributes that shall not move along.
        scale: times this; 1 is a standard deviation of the attribute's score.
        output: false for one that is only there to be held by others.
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

    def sides(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Values [M], NaN where unknown -> which are positive, and which are on either side at all; bool [M]."""
        low, high = self.low, self.high
        if self.share is not None:
            known = values[values.isfinite()]
            low, high = (float(known.quantile(q)) for q in (self.share, 1 - self.share))
        low, high = (0.0, 1.0) if low is None else (low, high)
        positive = values >= high
        return positive, positive | (values <= low)


@dataclass(kw_only=True)
class DirectionsConfig:
    """Options.

    Attributes:
        output_dir: folder of the results.
        method: "boundary" (between labelled codes), "factorise" (eigenvectors of the prior's style weights) or "pca"
            (principal components of codes).
        prior: folder or Hub id of the generator. Needed to factorise; for the rest it draws `sheet.png` and, with an
            encoder, measures what the directions do in pictures.
        encoder: folder or Hub id of the style encoder that reads `data`.
        data: folder of pictures; the labels' `file_name` counts from there.
        labels: JSON lines with `file_name` (where there is `data`), columns of numbers or truth values, null where
            unknown, and `held_out`: true for rows that only judge.
        codes: .safetensors with `w_plus` [M, n, D] instead of pictures, in the order of the labels; with
            `w_plus_mirrored`, mirrored pictures count too. For pca, default: the prior's known codes, else `samples`
            codes of its mapping network.
        attributes: name -> options, see `Attribute`.
        mirror: encode mirrored pictures too.
        components: principal components that a boundary may use; fewer are steadier with few labels.
        penalty: of the boundary's weights.
        geometry: "population" or "plain", see `train.direction_fits.boundary_step`.
        code_range: [first, end): other codes are left alone.
        layers: codes to factorise.
        count: directions of factorise and pca, named factor_1... and component_1...
        scale: norm of a factorised direction in each code, and standard deviations of a principal component.
        samples: random codes for pca.
        add_to: folder or Hub id of directions to which the new ones are added; equal names are replaced.
        seed: of random codes.
        batch_size: pictures encoded at once.
        measured_faces, sheet_faces: held-out (else first) faces for the measurement in pictures and for `sheet.png`.
        preview_size: side of the pictures for both.
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


def read_labels(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file. ValueError for a line that is no JSON object, and for an empty file."""
    rows = []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}, line {number}: no JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(f"{path}, line {number}: a JSON object with columns is expected")
            rows.append(row)
    if not rows:
        raise ValueError(f"{path} has no rows")
    return rows


def column(rows: list[dict[str, Any]], name: str) -> Tensor:
    """Values [M] of a column, NaN where a row has none. ValueError when no row has one, or for text."""
    values = [row.get(name) for row in rows]
    if all(value is None for value in values):
        known = sorted({key for row in rows for key in row})
        raise ValueError(f"no row has a value in the column {name!r}; columns: {', '.join(known)}")
    wrong = next((v for v in values if v is not None and not isinstance(v, (bool, int, float))), None)
    if wrong is not None:
        raise ValueError(f"the column {name!r} holds {wrong!r}; numbers, true, false and null are expected")
    return torch.tensor([float("nan") if value is None else float(value) for value in values])


@torch.inference_mode()
def encode_pictures(
    encoder: StyleEncoder, files: list[Path], batch_size: int, mirror: bool
) -> dict[str, Tensor]:
    """Codes of pictures: `w_plus` [M, n, D], and `w_plus_mirrored` of their mirror images."""
    found: dict[str, list[Tensor]] = {"w_plus": []} | ({"w_plus_mirrored": []} if mirror else {})
    size = encoder.config.sample_size
    for start in range(0, len(files), batch_size):
        images = []
        for file in files[start : start + batch_size]:
            images.append(to_tensor(fit_square(file, max(size, 256), None)))
        batch = torch.stack(images)
        found["w_plus"].append(encoder(batch).float())
        if mirror:
            found["w_plus_mirrored"].append(encoder(batch.flip(3)).float())
    return {name: torch.cat(parts) for name, parts in found.items()}


class Boundaries:
    """Boundaries between labelled codes, and the directions across them.

    Args:
        rows: M labels.
        codes: `w_plus` [M, n, D], and where there are mirrored pictures `w_plus_mirrored`.

    ValueError for labels and codes that do not belong together, and for attributes with too few examples.
    """

    def __init__(
        self, config: DirectionsConfig, rows: list[dict[str, Any]], codes: dict[str, Tensor]
    ) -> None:
        if len(rows) != len(codes["w_plus"]):
            raise ValueError(f"there are {len(codes['w_plus'])} codes for {len(rows)} rows of labels")
        self.config = config
        held = torch.tensor([bool(row.get("held_out")) for row in rows])
        mirrored = codes.get("w_plus_mirrored") if config.mirror else None
        every = codes["w_plus"] if mirrored is None else torch.cat([codes["w_plus"], mirrored])
        twice = 1 if mirrored is None else 2
        learns = (~held).repeat(twice)
        space = CodeSpace.fit(self._ranged(every[learns]), config.components)
        self.space, spots = space, space.coordinates(self._ranged(every))
        self.weights: dict[str, Tensor] = {}
        self.report: dict[str, dict[str, Any]] = {}
        for name, attribute in config.attributes.items():
            values = column(rows, attribute.column or name)
            if mirrored is not None:
                other = {"same": values, "negate": -values}.get(attribute.mirror, values * float("nan"))
                values = torch.cat([values, other])
            positive, used = attribute.sides(values)
            fitted, judged = used & learns, used & ~learns
            try:
                self.weights[name] = fit_boundary(spots[fitted], positive[fitted], config.penalty)
            except ValueError as error:
                raise ValueError(f"attribute {name!r}: {error}") from error
            scores = spots @ self.weights[name]
            self.report[name] = {
                "positive": int((positive & fitted).sum()),
                "negative": int((~positive & fitted).sum()),
                "held_out": int(judged.sum()),
                "auc_fitted": ranking_quality(scores[fitted], positive[fitted]),
                "auc_held_out": ranking_quality(scores[judged], positive[judged]),
            }

    def _ranged(self, codes: Tensor) -> Tensor:
        return codes if self.config.code_range is None else codes[:, slice(*self.config.code_range)]

    def directions(self, num_styles: int) -> dict[str, Tensor]:
        """[n, D] for each attribute that is wanted as a direction."""
        found = {}
        for name, attribute in self.config.attributes.items():
            if not attribute.output:
                continue
            others = [self.weights[other] for other in attribute.hold]
            try:
                step = boundary_step(self.space, self.weights[name], others, self.config.geometry)
            except ValueError as error:
                raise ValueError(f"attribute {name!r}: {error}") from error
            direction = step.new_zeros(num_styles, step.shape[1])
            direction[slice(*(self.config.code_range or (0, num_styles)))] = attribute.scale * step
            found[name] = direction
        return found

    def scores(self, codes: Tensor) -> dict[str, Tensor]:
        """Score of each attribute in standard deviations, [M]."""
        spots = self.space.coordinates(self._ranged(codes))
        return {name: spots @ (weights / weights.norm()) for name, weights in self.weights.items()}


def main(argv: list[str] | None = None) -> None:
    config = read_config(DirectionsConfig, argv, description=__doc__ or "")
    work_in(config.output_dir, lambda: write_directions(config))


def write_directions(config: DirectionsConfig) -> None:
    """Find directions as the options say; writes them, a sheet and a report to `output_dir`."""
    output = Path(config.output_dir)
    prior = encoder = boundaries = None
    if config.prior is not None:
        prior = load_component(StyleGAN2Generator, config.prior, "prior").eval()
    if config.encoder is not None:
        encoder = load_component(StyleEncoder, config.encoder, "style_encoder").eval()
    codes: dict[str, Tensor] = {} if config.codes is None else load_file(config.codes)
    if config.codes is not None and "w_plus" not in codes:
        raise ValueError(f"{config.codes} has no tensor 'w_plus'; it has {', '.join(codes)}")
    rows = read_labels(config.labels) if config.labels is not None else []
    if not codes and config.data is not None and encoder is not None:
        files = [Path(config.data, row["file_name"]) for row in rows]
        codes = encode_pictures(encoder, files, config.batch_size, config.mirror)
        output.mkdir(parents=True, exist_ok=True)
        save_file(codes, output / "codes.safetensors")

    report: dict[str, Any] = {}
    if config.method == "boundary":
        boundaries = Boundaries(config, rows, codes)
        directions = boundaries.directions(codes["w_plus"].shape[1])
        report["attributes"] = boundaries.report
    elif config.method == "factorise":
        found = factorised_directions(prior, config.layers, config.count, config.scale)
        directions = {f"factor_{index}": value for index, value in enumerate(found, 1)}
    else:
        space = CodeSpace.fit(codes["w_plus"] if codes else known_codes(config, prior), config.count)
        report["deviations"] = space.deviations.tolist()
        found = config.scale * space.directions()
        directions = {f"component_{index}": value for index, value in enumerate(found, 1)}

    new = directions
    if config.add_to is not None:
        known = load_component(StyleDirections, config.add_to, "directions")
        directions = {name: known.direction(name) for name in known.names} | directions
    output.mkdir(parents=True, exist_ok=True)
    count = next(iter(directions.values())).shape[0]
    StyleDirections.from_tensors(directions, count).save_pretrained(output / "directions")
    faces = show_codes(config, prior, codes, rows)
    if faces is not None:
        prior = preview_prior(prior, config.preview_size)
        if config.sheet_faces > 0:
            write_sheet(output / "sheet.png", prior, faces[: config.sheet_faces], new)
        if boundaries is not None and encoder is not None and config.measured_faces > 0:
            measured = faces[: config.measured_faces]
            report["in_pictures"] = measure_in_pictures(boundaries.scores, new, measured, prior, encoder)
    (output / "report.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))
    print(f"wrote {output / 'directions'}")


def known_codes(config: DirectionsConfig, prior: StyleGAN2Generator) -> Tensor:
    """Codes [M, n, D] that lie beside the prior's weights, else of its mapping network."""
    stored = load_style_codes(config.prior)
    if stored is not None:
        return stored.float()
    generator = torch.Generator().manual_seed(config.seed)
    with torch.inference_mode():
        w = prior.mapping(torch.randn(config.samples, prior.config.style_dim, generator=generator))
    return w[:, None].expand(-1, prior.num_styles, -1)


def show_codes(
    config: DirectionsConfig,
    prior: StyleGAN2Generator | None,
    codes: dict[str, Tensor],
    rows: list[dict[str, Any]],
) -> Tensor | None:
    """Codes to look at: held-out ones, else all; None without a prior."""
    if prior is None:
        return None
    if not codes:
        return known_codes(config, prior)
    held = [index for index, row in enumerate(rows) if row.get("held_out")]
    return codes["w_plus"][held or slice(None)]


if __name__ == "__main__":
    main()
