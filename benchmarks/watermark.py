"""How well is the invisible mark found again, and how often is one seen where there is none?

    python benchmarks/watermark.py FOLDER_OF_ALIGNED_FACES --json watermark.json

Every picture of the folder takes the place of a result that is as sharp as a photo (those of a small model are softer,
and easier to mark): the region of an edit is marked, the picture treated, and the mark sought. Regions: the whole
restored face, half of the face, and a hole over the mouth (80 x 46 of 256 pixels). Unmarked trials: the same pictures,
eight crops of each, enlarged and shrunk, as they are and as JPEG. With `--library` also `invisible-watermark`
(dwtDctSvd, 32 bits) on the whole picture, where that package is installed; it counts as found when at most two bits
are wrong.
"""

import argparse
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from facekit.provenance import watermark

Treatment = Callable[[np.ndarray], np.ndarray]


def jpeg(image: np.ndarray, quality: int = 75) -> np.ndarray:
    """Saved as JPEG (chroma at half resolution, as Pillow does) and opened again."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


TREATMENTS: dict[str, Treatment] = {
    "as saved": lambda image: image,
    "JPEG 75": jpeg,
    "20% smaller": lambda image: resized(image, 0.8),
    "20% larger": lambda image: resized(image, 1.2),
    "20% smaller, JPEG 75": lambda image: jpeg(resized(image, 0.8)),
}


def regions(side: int) -> dict[str, np.ndarray]:
    """Masks bool `[side, side]` of edits of typical size."""
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    u, v = (x + 0.5) / side, (y + 0.5) / side
    return {
        "whole face": (2 * u - 1) ** 4 + (2 * v - 1) ** 4 < 1,
        "half face": u > 0.5,
        "mouth": ((u - 0.5) * 6.4) ** 2 + ((v - 0.727) * 11.1) ** 2 < 1,
    }


def unmarked(image: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The picture and crops of it, enlarged and shrunk, each also as JPEG."""
    pictures = [image, resized(image, 0.8), resized(image, 1.2)]
    for factor in (0.6, 0.75, 1.0, 1.0, 1.3, 1.3, 1.8, 2.2):
        side = int(rng.integers(image.shape[0] // 2, image.shape[0]))
        left, top = (int(rng.integers(0, image.shape[0] - side + 1)) for _ in range(2))
        pictures.append(resized(image[top : top + side, left : left + side], factor))
    for picture in pictures:
        yield picture
        yield jpeg(picture, int(rng.integers(60, 96)))


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    error = np.square(first.astype(np.float64) - second).mean()
    return float(10 * np.log10(255**2 / error))


def library_found(image: np.ndarray, results: dict[str, list[bool]], noise: list[float]) -> None:
    """One picture through `invisible-watermark`."""
    from imwatermark import WatermarkDecoder, WatermarkEncoder

    bits = np.unpackbits(np.frombuffer(b"fkit", np.uint8))
    encoder, decoder = WatermarkEncoder(), WatermarkDecoder("bits", 32)
    encoder.set_watermark("bits", bits.tolist())
    marked = encoder.encode(image[..., ::-1].copy(), "dwtDctSvd")[..., ::-1]
    noise.append(psnr(image, marked))
    for name, treat in TREATMENTS.items():
        try:
            read = decoder.decode(
                np.ascontiguousarray(treat(np.ascontiguousarray(marked))[..., ::-1]), "dwtDct"
            )
        except RuntimeError:  # it refuses pictures below 256 x 256
            read = 1 - bits
        results.setdefault(name, []).append(int((np.asarray(read) != bits).sum()) <= 2)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=None, help="only the first so many pictures")
    parser.add_argument("--marked-only", action="store_true", help="leave the unmarked trials out")
    parser.add_argument("--library", action="store_true", help="also measure invisible-watermark")
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()

    files = sorted(f for f in args.folder.rglob("*") if f.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not files:
        raise SystemExit(f"{args.folder} holds no JPEG or PNG")
    found: dict[str, dict[str, list[bool]]] = {}
    scores: dict[str, dict[str, list[float]]] = {}
    noise: dict[str, list[tuple[float, float]]] = {}
    alarms: list[float] = []
    library: dict[str, list[bool]] = {}
    library_noise: list[float] = []
    for number, file in enumerate(tqdm(files[: args.count], desc="pictures", mininterval=30)):
        image = np.asarray(Image.open(file).convert("RGB"))
        for name, where in regions(image.shape[0]).items():
            marked = watermark.mark(image, where)
            noise.setdefault(name, []).append((psnr(image, marked), psnr(image[where], marked[where])))
            for treatment, treat in TREATMENTS.items():
                answer = watermark.detect(treat(marked))
                found.setdefault(name, {}).setdefault(treatment, []).append(answer.found)
                scores.setdefault(name, {}).setdefault(treatment, []).append(answer.score)
        for picture in () if args.marked_only else unmarked(image, np.random.default_rng([0, number])):
            answer = watermark.detect(picture)
            alarms.append(answer.score - answer.threshold)
        if args.library:
            library_found(image, library, library_noise)

    count = len(next(iter(noise.values())))
    print(f"\n{count} pictures; found again in percent (median score)\n")
    print("| edited | PSNR picture | PSNR region | " + " | ".join(TREATMENTS) + " |")
    print("|---|---|---|" + "---|" * len(TREATMENTS))
    table = {}
    for name in found:
        whole, region = np.mean(noise[name], axis=0)
        cells = [
            f"{100 * np.mean(found[name][t]):.0f}% ({np.median(scores[name][t]):.1f})" for t in TREATMENTS
        ]
        print(f"| {name} | {whole:.1f} dB | {region:.1f} dB | " + " | ".join(cells) + " |")
        table[name] = {
            "psnr_db": whole,
            "psnr_region_db": region,
            "lowest_psnr_db": float(np.min(noise[name], axis=0)[0]),
            "found_percent": {t: 100 * float(np.mean(found[name][t])) for t in TREATMENTS},
        }
    if alarms:
        false = int(sum(value >= 0 for value in alarms))
        print(
            f"\nunmarked: {false} of {len(alarms)} seen as marked; nearest: {max(alarms):+.2f} from the threshold"
        )
        table["unmarked"] = {"trials": len(alarms), "false_alarms": false, "nearest": max(alarms)}
    if library:
        rates = {name: 100 * float(np.mean(values)) for name, values in library.items()}
        print(f"invisible-watermark, whole picture, {np.mean(library_noise):.1f} dB: {rates}")
        table["invisible-watermark"] = {"psnr_db": float(np.mean(library_noise)), "found_percent": rates}
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
