"""How well is drawn damage found, by the network and by the classical detector, and what is marked where there is none?

    python benchmarks/damage_finding.py FOLDER_OF_PHOTOS --json damage.json --sheet masks.png

Each photo is scaled to each of the sides, every second one is aged (faded, grain, JPEG), then damage is drawn on it,
all kinds together and each alone, and what is found is compared with the truth at 2 pixels tolerance. Pixels that the
damage changed less than can be seen count neither way; pixels of all photos are counted together. `--sheet` writes a
picture of the photos' damage beside what both found.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

import facekit
from facekit.damage.ageing import age
from facekit.damage.classical import find_damage_classically
from facekit.damage.score import Agreement, compare
from facekit.damage.wear import HIDDEN, KINDS, draw_wear, is_seen, wear
from facekit.images.photo import as_uint8, load_image, scale_photo
from facekit.models.damage_finder import DamageFinder
from facekit.pipelines.mend.find import find_chances

PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
ALL = "all"
SHOWN = 384  # pixels of a picture in the sheet
Find = Callable[[np.ndarray], np.ndarray]


def build_network(finder: DamageFinder, threshold: float) -> Find:
    """What marks a photo uint8 `[H, W, 3]` by the network, bool `[H, W]`."""

    def find(photo: np.ndarray) -> np.ndarray:
        return find_chances(finder, photo) > threshold

    return find


def measure(photos: list[np.ndarray], finders: dict[str, Find], side: int) -> dict[str, dict[str, float]]:
    """Each finder's scores at a side: F1 of all kinds and each, precision, recall, marked share of undamaged photos."""
    counts = {name: {kind: Agreement() for kind in (ALL, *KINDS)} for name in finders}
    false = {name: [0, 0] for name in finders}
    for number, photo in enumerate(tqdm(photos, desc=f"{side} pixels")):
        clean = scale_photo(photo, side)
        if number % 2:
            clean = age(clean, number)
        for kind in (ALL, *KINDS):
            rng = np.random.default_rng(1000 + number)
            worn, labels = draw_wear(clean, rng, KINDS if kind == ALL else (kind,))
            for name, find in finders.items():
                counts[name][kind] += compare(find(worn), is_seen(labels), ignored=labels == HIDDEN)
        for name, find in finders.items():
            false[name][0] += int(find(clean).sum())
            false[name][1] += clean[..., 0].size
    return {
        name: {kind: agreement.f1 for kind, agreement in by_kind.items()}
        | {"precision": by_kind[ALL].precision, "recall": by_kind[ALL].recall}
        | {"undamaged": false[name][0] / false[name][1]}
        for name, by_kind in counts.items()
    }


def write_sheet(photos: list[np.ndarray], finders: dict[str, Find], path: Path) -> None:
    """Write rows of a photo with damage, the truth, and what each finder marks, in red; the last row is undamaged."""
    rows = []
    for seed in range(1, len(photos) + 2):
        photo = scale_photo(photos[(seed - 1) % len(photos)], SHOWN)[:, :SHOWN]
        worn, truth = wear(photo, seed, amount=1.0 if seed <= len(photos) else 0.0)
        pictures = [worn]
        for mask in (truth, *(find(worn) for find in finders.values())):
            marked = worn // 2 + 64
            marked[mask] = (230, 20, 20)
            pictures.append(marked)
        rows.append(np.hstack(pictures)[:SHOWN])
    Image.fromarray(np.vstack(rows)).save(path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path, help="folder of undamaged photos")
    parser.add_argument("--finder", help="folder of the network; the bundled one without it")
    parser.add_argument("--threshold", type=float, help="in place of the network's own")
    parser.add_argument(
        "--sides", type=int, nargs="+", default=[256, 512, 1024], help="pixels of the shorter side"
    )
    parser.add_argument("--json", type=Path, help="also write the scores there")
    parser.add_argument("--sheet", type=Path, help="write a picture of masks there, PNG")
    args = parser.parse_args(argv)
    files = sorted(path for path in args.photos.iterdir() if path.suffix.lower() in PICTURES)
    if not files:
        parser.error(f"there is no picture in {args.photos}")
    source = args.finder or str(Path(facekit.starter("photo-mend")) / "damage_finder")
    network = DamageFinder.from_pretrained(source).eval()
    threshold = args.threshold or network.config.threshold
    finders: dict[str, Find] = {
        "network": build_network(network, threshold),
        "classical": find_damage_classically,
    }
    photos = [as_uint8(load_image(path).rgb) for path in files]
    if args.sheet:
        write_sheet(photos, finders, args.sheet)
    scores = {side: measure(photos, finders, side) for side in args.sides}
    columns = (ALL, *KINDS, "precision", "recall")
    print(f"| side | finder | {' | '.join(columns)} | undamaged marked |")
    print("|---|---|" + "---|" * (len(columns) + 1))
    for side, by_finder in scores.items():
        for name, found in by_finder.items():
            values = " | ".join(f"{found[column]:.3f}" for column in columns)
            print(f"| {side} | {name} | {values} | {100 * found['undamaged']:.2f}% |")
    if args.json:
        args.json.write_text(json.dumps({"threshold": threshold, "scores": scores}, indent=1) + "\n")


if __name__ == "__main__":
    main()
