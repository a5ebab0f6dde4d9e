"""Do fills follow their exemplars? Style codes, detector, seam, PSNR and variety of `ExemplarInpaintPipeline`.

    python benchmarks/exemplar_quality.py FOLDER_OF_ALIGNED_FACES --model hub_cards/exemplar-inpaint-starter-256 \
        --output outputs/exemplar-quality

The folder holds aligned faces with a `metadata.jsonl` whose `landmarks5` are the true points. Pictures are taken in
groups of six. Each is filled after the six pictures of the next group (the last group takes the first one's) with the
same random codes and noise, once with the centred 25% hole and once with a free-form hole of 20 to 50%. What is
written: `quality.md`, `quality.json`, and for each kind of hole a sheet of the first group, six pictures by six
exemplars. The sheets show pictures of the folder.

Codes: style codes of the composite are compared with those of the six exemplars, over the layers that come from
exemplars; distance = mean norm of the layers' differences (thesis Eq. 5.7). "whole": as the pictures are. "hole": each
exemplar is first pasted into the hole of the same photo, so that both differ in the hole alone.
* pairwise: how often a fill is nearer to its own exemplar than to another one (chance 50%);
* nearest: how often its own exemplar is the nearest of the six (chance 1/6);
* fills: how often an exemplar is nearer to the fill that was made after it than to one made after another exemplar
  (chance 50%); this ignores that some faces are near to all others.
"Pasted" is what the exemplars themselves reach when they are pasted into the hole: the photo around it has codes too.
Seam: mean absolute difference of neighbouring pixels on the two sides of the hole's rim, divided by the mean of what
it is one and two pixels farther out and farther in, in the same direction. 1 means no seam; "photo" is the undamaged
picture. A blurred fill raises it too, as little changes farther in; the gradients are given beside it.
Detector: as in `quality.py`. PSNR is over the hole. Differences are mean absolute ones in the hole, in levels of 255:
between the fills of one photo after different exemplars, between the exemplars themselves, and between fills after one
exemplar with different random codes and noise.
"""

import time
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from quality import (
    add_restorer_option,
    base_parser,
    finish,
    found_summary,
    hole_psnr,
    holes,
    labelled,
    landmark_error,
    load_restorer,
    markdown_table,
    read_entries,
    read_picture,
)
from tqdm import tqdm

from facekit import ExemplarInpaintPipeline

GROUP = 6
REACH = 2  # pixels on each side of the rim that the seam is compared with


def code_distances(fills: torch.Tensor, exemplars: torch.Tensor) -> np.ndarray:
    """Mean norm over the layers (Eq. 5.7): [A, m, D] and [B, m, D] -> [A, B]."""
    return (fills[:, None] - exemplars[None]).norm(dim=3).mean(2).numpy()


def match_shares(distances: np.ndarray) -> tuple[float, float, float]:
    """(pairwise, nearest, fills) of fills [6] against exemplars [6], as shares; own ones are on the diagonal."""
    own, others = np.diag(distances), ~np.eye(len(distances), dtype=bool)
    pairwise = (own[:, None] < distances)[others].mean()
    nearest = (distances.argmin(1) == np.arange(len(distances))).mean()
    return float(pairwise), float(nearest), float((own[None] < distances)[others].mean())


def rim_gradients(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Sums and counts [3, 2] of absolute differences of neighbours: across the rim, outside and inside of it.

    For every pair of neighbours of which one lies in the hole; outside and inside are the pairs up to two pixels on
    in the same direction that lie wholly on one side.
    """
    sums = np.zeros((3, 2))
    for picture, hole in ((image, mask), (image.transpose(1, 0, 2), mask.T)):
        steps = np.abs(np.diff(picture.astype(np.float32), axis=1)).mean(2)
        sides = hole[:, 1:].astype(int) + hole[:, :-1]  # 0 outside, 1 across, 2 inside
        across = sides == 1
        sums[0] += steps[across].sum(), across.sum()
        near = np.zeros_like(across)
        for reach in range(1, REACH + 1):
            near[:, reach:] |= across[:, :-reach]
            near[:, :-reach] |= across[:, reach:]
        for row, side in ((1, 0), (2, 2)):
            chosen = near & (sides == side)
            sums[row] += steps[chosen].sum(), chosen.sum()
    return sums


def mean_difference(pictures: list[np.ndarray], mask: np.ndarray) -> float:
    """Mean absolute difference in the hole over all pairs."""
    inside = [picture[mask > 0].astype(np.float32) for picture in pictures]
    return float(np.mean([np.abs(a - b).mean() for a, b in combinations(inside, 2)]))


@dataclass
class Tally:
    """What is collected of one kind of hole."""

    matches: dict[str, list[tuple[float, float, float]]] = field(default_factory=dict)
    values: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, list[float | None]] = field(default_factory=dict)
    rims: dict[str, np.ndarray] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def look(self, name: str, picture: np.ndarray, mask: np.ndarray, truth: np.ndarray) -> None:
        """Detector and rim of one picture."""
        self.errors.setdefault(name, []).append(landmark_error(picture, truth))
        self.rims[name] = self.rims.get(name, 0) + rim_gradients(picture, mask)

    def summary(self) -> dict[str, Any]:
        """Means over the pictures, shares in percent; gradients as outside / across / inside."""
        table: dict[str, Any] = {}
        for name, shares in self.matches.items():
            for part, share in zip(("pairwise", "nearest", "fills"), np.mean(shares, axis=0), strict=True):
                table[f"{part}_{name}_percent"] = 100 * float(share)
        for name, errors in self.errors.items():
            table |= {f"{name}_{key}": value for key, value in found_summary(errors).items()}
            gradients = self.rims[name][:, 0] / np.maximum(self.rims[name][:, 1], 1)
            table[f"{name}_seam"] = float(gradients[0] / max(gradients[1:].mean(), 1e-6))
            table[f"{name}_gradients"] = " / ".join(f"{gradients[k]:.1f}" for k in (1, 0, 2))
        return table | {name: float(np.mean(values)) for name, values in self.values.items()}


class Fills:
    """The pipeline's fills and codes of aligned faces; the same random codes and noise for every exemplar."""

    def __init__(self, model: str, match_tones: bool | None, restorer: str | None) -> None:
        self.pipe = ExemplarInpaintPipeline.from_pretrained(model)
        self.pipe.set_progress_bar_config(disable=True)
        self.match_tones, self.restorer = match_tones, load_restorer(restorer)
        first, count = self.pipe.code_range
        self.skipped = max(self.pipe.multi_style_generator.config.first_exemplar_style - first, 0)
        self.layers = (first + self.skipped, count - 1)

    def codes(self, pictures: list[np.ndarray]) -> torch.Tensor:
        """The exemplars' layers, [N, m, D]."""
        return self.pipe.encode_exemplar(pictures, aligned=True).codes[:, self.skipped :]

    def encode(self, picture: np.ndarray, mask: np.ndarray) -> Any:
        return self.pipe.encode_photo(picture, mask * 255, aligned=True)

    def fill(self, photo: Any, exemplars: list[np.ndarray], seed: int) -> list[np.ndarray]:
        output = self.pipe(
            photo,
            exemplar=exemplars,
            exemplar_aligned=True,
            match_tones=self.match_tones,
            restore_with=self.restorer,
            generator=[torch.Generator().manual_seed(seed) for _ in exemplars],
        )
        return [np.asarray(image) for image in output.images]


def measure_photo(
    fills: Fills,
    tally: Tally,
    image: np.ndarray,
    mask: np.ndarray,
    exemplars: list[np.ndarray],
    exemplar_codes: torch.Tensor,
    truth: np.ndarray,
    number: int,
) -> list[np.ndarray]:
    """Fill one photo after all exemplars and itself, collect the figures, and give the fills."""
    photo, started = fills.encode(image, mask), time.perf_counter()
    made = fills.fill(photo, exemplars, number)
    tally.add("seconds_per_fill", (time.perf_counter() - started) / len(exemplars))
    itself, again = (
        fills.fill(photo, [image], number)[0],
        fills.fill(photo, exemplars[:1], number + 100_000)[0],
    )
    made_codes = fills.codes(made)
    pasted = [np.where(mask[..., None] > 0, exemplar, image) for exemplar in exemplars]
    pasted_codes = fills.codes(pasted)
    for name, first, second in (
        ("whole", made_codes, exemplar_codes),
        ("hole", made_codes, pasted_codes),
        ("pasted", pasted_codes, exemplar_codes),
    ):
        tally.matches.setdefault(name, []).append(match_shares(code_distances(first, second)))
    for picture in made:
        tally.look("fill", picture, mask, truth)
        tally.add("psnr_other_db", hole_psnr(picture, image, mask))
    tally.look("self", itself, mask, truth)
    tally.look("photo", image, mask, truth)
    tally.add("psnr_self_db", hole_psnr(itself, image, mask))
    tally.add("difference_exemplars", mean_difference(exemplars, mask))
    tally.add("difference_fills", mean_difference(made, mask))
    tally.add("difference_random_codes", mean_difference([made[0], again], mask))
    return made


ROWS = (
    (
        "nearer to its own exemplar, pairwise, whole face",
        "pairwise_whole_percent",
        "{:.0f}%",
        "50% by chance",
    ),
    ("nearer to its own exemplar, pairwise, hole only", "pairwise_hole_percent", "{:.0f}%", "50%"),
    ("own exemplar nearest of six, whole face", "nearest_whole_percent", "{:.0f}%", "17%"),
    ("own exemplar nearest of six, hole only", "nearest_hole_percent", "{:.0f}%", "17%"),
    ("pairwise, whole face, exemplar pasted", "pairwise_pasted_percent", "{:.0f}%", "50%"),
    ("nearest of six, whole face, exemplar pasted", "nearest_pasted_percent", "{:.0f}%", "17%"),
    ("exemplar nearer to its own fill, whole face", "fills_whole_percent", "{:.0f}%", "50%"),
    ("exemplar nearer to its own fill, hole only", "fills_hole_percent", "{:.0f}%", "50%"),
    ("face found, filled after others", "fill_found_percent", "{:.0f}%", ""),
    ("face found, filled after itself", "self_found_percent", "{:.0f}%", ""),
    ("face found, photo", "photo_found_percent", "{:.0f}%", ""),
    ("landmark error, filled after others", "fill_landmark_error_percent", "{:.1f}%", "of the eye distance"),
    ("landmark error, photo", "photo_landmark_error_percent", "{:.1f}%", ""),
    ("seam, filled after others", "fill_seam", "{:.2f}", "1 is none"),
    ("gradient outside / across / inside, filled after others", "fill_gradients", "{}", "levels of 255"),
    ("seam, filled after itself", "self_seam", "{:.2f}", ""),
    ("seam, photo", "photo_seam", "{:.2f}", ""),
    ("gradient outside / across / inside, photo", "photo_gradients", "{}", "levels of 255"),
    ("PSNR, filled after itself", "psnr_self_db", "{:.1f} dB", "hole only"),
    ("PSNR, filled after others", "psnr_other_db", "{:.1f} dB", ""),
    ("difference between fills after six exemplars", "difference_fills", "{:.1f}", "levels of 255"),
    ("the same between the exemplars", "difference_exemplars", "{:.1f}", ""),
    ("the same between random codes", "difference_random_codes", "{:.1f}", ""),
    ("seconds for a fill", "seconds_per_fill", "{:.2f}", "the photo encoded before, the exemplar in it"),
)


def main() -> None:
    parser = base_parser(__doc__, None)
    parser.add_argument("--output", type=Path, default=Path("outputs/exemplar-quality"))
    parser.add_argument(
        "--match-tones",
        choices=("model", "on", "off"),
        default="model",
        help="default: as the model says",
    )
    add_restorer_option(parser)
    args = parser.parse_args()
    entries = read_entries(args.folder, args.count)
    count = len(entries) // GROUP
    if count < 2:
        parser.error(f"{2 * GROUP} pictures are needed at least, there are {len(entries)}")
    fills = Fills(args.model, {"model": None, "on": True, "off": False}[args.match_tones], args.restore_with)
    pictures = [read_picture(args.folder, entry) for entry in entries[: count * GROUP]]
    groups = [pictures[start : start + GROUP] for start in range(0, len(pictures), GROUP)]
    codes = [fills.codes(group) for group in groups]

    tallies: dict[str, Tally] = {}
    sheets: dict[str, list[list[np.ndarray]]] = {}
    for number, image in enumerate(tqdm(pictures, desc="photos")):
        guide = (number // GROUP + 1) % count
        truth = np.array(entries[number]["landmarks5"])
        for name, mask in holes(image.shape[0], number).items():
            tally = tallies.setdefault(name, Tally())
            made = measure_photo(fills, tally, image, mask, groups[guide], codes[guide], truth, number)
            if number < GROUP:
                sheets.setdefault(name, []).append([image * (1 - mask[..., None]), *made])

    results = {name: tally.summary() for name, tally in tallies.items()}
    table = markdown_table(
        ("", *results, ""),
        [
            (title, *(pattern.format(result[key]) for result in results.values()), remark)
            for title, key, pattern, remark in ROWS
        ],
    )
    low, high = fills.layers
    fact = (
        f"{len(pictures)} photos, each after {GROUP} exemplars; codes {low} to {high} come from the exemplar."
    )
    content = {
        "model": args.model,
        "restore_with": args.restore_with,
        "photos": len(pictures),
        "layers": fills.layers,
        "holes": results,
    }
    files = {}
    for name, rows in sheets.items():
        blank = np.full_like(pictures[0], 255)
        header = [
            labelled(blank, name),
            *(labelled(picture, f"exemplar {k + 1}") for k, picture in enumerate(groups[1])),
        ]
        lines = [[labelled(cell, "") for cell in row] for row in rows]
        files[args.output / f"sheet-{name.split()[0]}.png"] = [header, *lines]
    text, json_file = f"{fact}\n\n{table}", args.json or args.output / "quality.json"
    finish(text, content, json_file, files, args.output / "quality.md")


if __name__ == "__main__":
    main()
