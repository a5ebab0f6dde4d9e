"""What does a restorer draw into fills? Inpainting, exemplar and edit by the bundled models, without one and with one.

    python benchmarks/fill_quality.py FOLDER_OF_ALIGNED_FACES --step 3 --output outputs/fill-quality

The folder holds aligned faces with a `metadata.jsonl` whose `landmarks5` are the true points; every `--step`-th is
taken. Each gets the centred 25% hole and a free-form hole of 20 to 50%. The exemplar is the face itself, edits have the
mask alone. What is written: `quality.md`, `quality.json`, and with `--sheet N` a sheet of each task: the first N faces,
and their fills without and with the restorer in the centre, then in the free-form hole. Sheets show pictures of the
folder.

Sharpness is the energy of the Laplacian in the hole in percent of the original's, median; ImageNet the distance in the
features of EfficientNet-Lite0 in and next to the hole, mean, and "nearer" how many fills the restorer brought nearer to
the photo. Landmark error and detector as in `quality.py`, PSNR over the hole.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from quality import (
    ImageNetScore,
    fill_summary,
    finish,
    holes,
    load_restorer,
    markdown_table,
    measure_fill,
    read_entries,
    read_picture,
)
from tqdm import tqdm

import facekit
from facekit import FaceRestorePipeline, starter
from facekit.methods import method_named

Fill = Callable[[np.ndarray, np.ndarray, FaceRestorePipeline | None], np.ndarray]
TASKS = ("inpaint", "exemplar", "edit")


def load_fill(task: str, model: str) -> Fill:
    """The fill of an aligned face by a method, with a restorer or None; every call draws the same random numbers."""
    pipe = getattr(facekit, method_named(task).class_name).from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)

    def fill(image: np.ndarray, mask: np.ndarray, restorer: FaceRestorePipeline | None) -> np.ndarray:
        result = pipe(
            image,
            mask * 255,
            *((image,) if task == "exemplar" else ()),
            aligned=True,
            restore_with=restorer,
            generator=torch.Generator().manual_seed(0),
        )
        return np.asarray(result.images[0])

    return fill


def cells(values: dict[str, float]) -> list[str]:
    """A line of the table."""
    nearer = values.get("nearer")
    return [
        f"{values['sharpness_percent']:.0f}%",
        f"{values['imagenet_distance']:.2f}",
        "" if nearer is None else f"{nearer:.0f}",
        f"{values['hole_psnr_db']:.1f} dB",
        f"{values['landmark_error_percent']:.1f}%",
        f"{values['found_percent']:.0f}%",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    for task in TASKS:
        bundled = starter(method_named(task).model)
        parser.add_argument(f"--{task}", default=bundled, metavar="MODEL", help="folder or Hub id")
    parser.add_argument("--restorer", default=starter("face-restore"), metavar="MODEL", help="the same")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--step", type=int, default=1, help="take every so many pictures")
    parser.add_argument("--output", type=Path, default=Path("outputs/fill-quality"))
    parser.add_argument("--sheet", type=int, default=0, help="show so many faces")
    args = parser.parse_args()

    entries, score = read_entries(args.folder)[:: args.step], ImageNetScore()
    restorer = load_restorer(args.restorer)
    content: dict[str, dict[str, dict[str, float]]] = {}
    sheets: dict[Path, list[list[np.ndarray]]] = {}
    for task in args.tasks:
        fill, rows = load_fill(task, getattr(args, task)), {}
        for number, entry in enumerate(tqdm(entries, desc=task)):
            image, truth = read_picture(args.folder, entry), np.array(entry["landmarks5"])
            line = [image]
            for hole, mask in holes(image.shape[0], number).items():
                for behind in (None, restorer):
                    line.append(fill(image, mask, behind))
                    row = measure_fill(line[-1], image, mask, truth, score)
                    rows.setdefault((hole, behind is not None), []).append(row)
            if number < args.sheet:
                sheets.setdefault(args.output / f"{task}.png", []).append(line)
        for (hole, restored), measured in rows.items():
            name = f"{task}, restored" if restored else task
            content.setdefault(hole, {})[name] = fill_summary(measured)
            if restored:
                pairs = zip(rows[hole, False], measured, strict=True)
                nearer = sum(after["imagenet"] < before["imagenet"] for before, after in pairs)
                content[hole][name]["nearer"] = nearer

    header = ["sharpness", "ImageNet", "nearer", "PSNR", "landmark error", "found"]
    text = "\n".join(
        markdown_table(
            [f"{hole}, {len(entries)} faces", *header],
            [[name, *cells(values)] for name, values in methods.items()],
        )
        for hole, methods in content.items()
    )
    finish(text, content, args.output / "quality.json", sheets, args.output / "quality.md")


if __name__ == "__main__":
    main()
