"""Contact sheets of every use of `ExemplarInpaintPipeline` (thesis Section 5.4), free to be shown.

    python benchmarks/exemplar_sheets.py --model hub_cards/exemplar-inpaint-starter-256 --output outputs/exemplar-sheets

The photo is scikit-image's astronaut (Eileen Collins, a NASA photo in the public domain); exemplars are faces that
`facekit.sample_faces` makes, of nobody. One PNG for each use, in the thesis's order:
* `layers`: which codes come from the exemplar (phi, Fig. 5.12);
* `transfer`: eyes, mouth and hair after six exemplars (Section 5.4.1);
* `mixing`: two exemplars with every crossover (5.4.2);
* `hairstyle`: strokes drawn into the hair (5.4.3; models with a sketch channel);
* `recovery`: what glasses and a face mask hide, after the mirrored photo, which stands for another photo of the same
  person, and after others (5.4.4);
* `variations`: random codes, truncation and noise (5.4.5).
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from quality import contact_sheet, labelled
from skimage.data import astronaut

from facekit import ExemplarInpaintPipeline, sample_faces
from facekit.faces import align_face, detect_faces
from facekit.pipelines.exemplar.occlusion import draw_occlusion_mask

SIZE = 256
EXEMPLARS = 6
Row = list[np.ndarray]


def ellipse(centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    """bool [S, S], from shares of the side."""
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 <= 1


# Regions of an FFHQ-aligned face, whose eyes are at 47% and whose mouth is at 73% of the side.
EYES = ellipse((0.372, 0.475), (0.115, 0.075)) | ellipse((0.628, 0.475), (0.115, 0.075))
MOUTH = ellipse((0.5, 0.735), (0.17, 0.1))
FACE = ellipse((0.5, 0.6), (0.27, 0.36))
HAIR = ellipse((0.5, 0.44), (0.5, 0.45)) & ~ellipse((0.5, 0.64), (0.26, 0.28))


class Painter:
    """One photo and its exemplars."""

    def __init__(self, pipeline: ExemplarInpaintPipeline, photo: np.ndarray, faces: Row, seed: int) -> None:
        self.pipe, self.photo, self.seed, self.faces = pipeline, photo, seed, faces
        self.codes = pipeline.encode_exemplar(faces, aligned=True)

    def fill(
        self, mask: np.ndarray, exemplar: Any = None, photo: np.ndarray | None = None, **options: Any
    ) -> Row:
        """Fills after one exemplar or several (default: all), which get the same random codes and noise."""
        exemplar = self.codes if exemplar is None else exemplar
        output = self.pipe(
            self.photo if photo is None else photo,
            mask.astype(np.uint8) * 255,
            exemplar,
            aligned=True,
            generator=[torch.Generator().manual_seed(self.seed) for _ in range(len(exemplar))],
            **options,
        )
        return [np.asarray(image) for image in output.images]

    def masked(self, mask: np.ndarray, photo: np.ndarray | None = None) -> np.ndarray:
        return np.where(mask[..., None], 255, self.photo if photo is None else photo).astype(np.uint8)

    def header(self, first: str) -> Row:
        """A line with the photo and all exemplars."""
        named = [labelled(face, f"exemplar {k + 1}") for k, face in enumerate(self.faces)]
        return [labelled(self.photo, first), *named]


def plain(rows: list[Row], names: list[str]) -> list[Row]:
    """Rows with the name on the first picture."""
    return [
        [labelled(picture, name if k == 0 else "") for k, picture in enumerate(row)]
        for row, name in zip(rows, names, strict=True)
    ]


def layers_sheet(painter: Painter) -> list[Row]:
    first, count = painter.pipe.code_range
    first = max(first, painter.pipe.multi_style_generator.config.first_exemplar_style)
    half = (first + count) // 2
    choices = [
        ("none", []),
        (f"{first} to {half - 1}", list(range(first, half))),
        (f"{half} to {count - 1}", list(range(half, count))),
        (f"{first} to {count - 1}", list(range(first, count))),
    ]
    rows = [[painter.masked(FACE), *painter.fill(FACE, exemplar_layers=layers)] for _, layers in choices]
    return [painter.header("photo"), *plain(rows, [f"codes of the exemplar: {name}" for name, _ in choices])]


def transfer_sheet(painter: Painter) -> list[Row]:
    regions = {"eyes": EYES, "mouth": MOUTH, "hair": HAIR, "face": FACE}
    rows = [[painter.masked(mask), *painter.fill(mask)] for mask in regions.values()]
    return [painter.header("photo"), *plain(rows, list(regions))]


def mixing_sheet(painter: Painter) -> list[Row]:
    """Two pairs of exemplars: masked photo, the pair, and every second crossover."""
    first, count = painter.pipe.code_range
    first = max(first, painter.pipe.multi_style_generator.config.first_exemplar_style)
    rows = []
    for one, other in ((0, 1), (2, 3), (4, 5)):
        swept = painter.pipe.sweep(
            painter.photo,
            FACE.astype(np.uint8) * 255,
            painter.faces[one],
            painter.faces[other],
            crossovers=list(range(first, count + 1, 2)),
            aligned=True,
            generator=torch.Generator().manual_seed(painter.seed),
        )
        names = ["photo", "first exemplar", "second exemplar"]
        names += [f"second from code {crossover} on" for crossover in swept.crossovers]
        pair = (painter.faces[one], painter.faces[other])
        pictures = [painter.masked(FACE), *pair, *map(np.asarray, swept.images)]
        rows.append([labelled(picture, name) for picture, name in zip(pictures, names, strict=True)])
    return rows


def strokes_of(curves: list[list[tuple[float, float]]]) -> np.ndarray:
    """Smooth strokes through points (shares of the side), and their mirror images: uint8 [S, S], 255 = stroke."""
    drawn = np.zeros((SIZE, SIZE), np.uint8)
    for curve in curves:
        points = np.array(curve)
        places = np.linspace(0, len(points) - 1, 60)
        order = min(3, len(points) - 1)
        line = np.stack(
            [np.polyval(np.polyfit(np.arange(len(points)), points[:, k], order), places) for k in (0, 1)], 1
        )
        for side in (line, line * (-1, 1) + (1, 0)):
            cv2.polylines(drawn, [np.rint(side * SIZE * 16).astype(np.int32)], False, 255, 2, shift=4)
    return drawn


HAIRSTYLES = {
    "no strokes": [],
    "parted in the middle": [
        [(0.5, 0.1), (0.36, 0.16), (0.25, 0.32), (0.2, 0.55), (0.2, 0.75)],
        [(0.5, 0.2), (0.38, 0.26), (0.3, 0.4), (0.26, 0.6)],
        [(0.48, 0.06), (0.3, 0.08), (0.16, 0.25), (0.1, 0.5)],
    ],
    "fringe": [
        [(0.48, 0.1), (0.47, 0.2), (0.46, 0.34)],
        [(0.42, 0.1), (0.39, 0.2), (0.38, 0.34)],
        [(0.36, 0.12), (0.31, 0.22), (0.3, 0.38)],
        [(0.28, 0.14), (0.2, 0.3), (0.18, 0.5), (0.2, 0.7)],
    ],
    "short": [
        [(0.5, 0.12), (0.36, 0.14), (0.26, 0.24), (0.23, 0.4)],
        [(0.5, 0.22), (0.4, 0.22), (0.32, 0.28), (0.28, 0.4)],
    ],
}


def hairstyle_sheet(painter: Painter) -> list[Row]:
    rows = []
    for curves in HAIRSTYLES.values():
        drawn = strokes_of(curves) * HAIR.astype(np.uint8)
        shown = np.where(drawn[..., None] > 0, 0, painter.masked(HAIR)).astype(np.uint8)
        rows.append([shown, *painter.fill(HAIR, sketch=drawn if drawn.any() else None)])
    return [painter.header("photo"), *plain(rows, list(HAIRSTYLES))]


def recovery_sheet(painter: Painter) -> list[Row]:
    """The photo with drawn sunglasses and a drawn face mask; the pipeline proposes the holes."""
    landmarks = detect_faces(cv2.copyMakeBorder(painter.photo, 64, 64, 64, 64, cv2.BORDER_REFLECT_101))
    points = landmarks[0].landmarks - 64 if landmarks else None
    glasses = painter.photo.copy()
    lenses = ellipse((0.38, 0.49), (0.1, 0.075)) | ellipse((0.62, 0.49), (0.1, 0.075))
    glasses[lenses] = (30, 25, 25)
    cv2.line(
        glasses, (int(0.2 * SIZE), int(0.46 * SIZE)), (int(0.8 * SIZE), int(0.46 * SIZE)), (30, 25, 25), 5
    )
    covered = painter.photo.copy()
    cloth = draw_occlusion_mask("lower_face", points, (SIZE, SIZE))
    inner = cv2.erode(cloth.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    covered[inner] = (150, 195, 215)
    for height in (0.62, 0.7, 0.78):
        line = np.zeros((SIZE, SIZE), bool)
        line[int(height * SIZE) : int(height * SIZE) + 2] = True
        covered[line & inner] = (120, 165, 190)
    mirrored = np.ascontiguousarray(painter.photo[:, ::-1])
    own = painter.pipe.encode_exemplar([mirrored], aligned=True)
    rows = []
    for kind, picture in (("glasses", glasses), ("lower_face", covered)):
        hole = painter.pipe.propose_masks(picture, kind, aligned=True)[0]
        pictures = painter.fill(hole, own, picture) + painter.fill(hole, photo=picture)
        rows.append([picture, painter.masked(hole, picture), *pictures])
    header = painter.header("photo")
    header = [
        header[0],
        labelled(np.full_like(painter.photo, 255), "proposed hole"),
        labelled(mirrored, "mirrored"),
        *header[1:],
    ]
    return [header, *plain(rows, ["glasses", "face mask"])]


def variations_sheet(painter: Painter) -> list[Row]:
    rows, names = [], []
    first = painter.pipe.encode_exemplar([painter.faces[0]], aligned=True)
    for psi, noise in ((0.0, "random"), (0.5, "random"), (1.0, "random"), (1.0, "none"), (1.0, "fixed")):
        pictures = painter.fill(FACE, first, num_images=5, truncation_psi=psi, noise=noise)
        rows.append([painter.masked(FACE), painter.faces[0], *pictures])
        names.append(f"psi {psi:g}, noise {noise}")
    return plain(rows, names)


SHEETS: dict[str, Callable[[Painter], list[Row]]] = {
    "layers": layers_sheet,
    "transfer": transfer_sheet,
    "mixing": mixing_sheet,
    "hairstyle": hairstyle_sheet,
    "recovery": recovery_sheet,
    "variations": variations_sheet,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="model folder or Hub id")
    parser.add_argument("--sheet", action="append", choices=tuple(SHEETS), help="default: all")
    parser.add_argument("--output", type=Path, default=Path("outputs/exemplar-sheets"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    pipeline = ExemplarInpaintPipeline.from_pretrained(args.model)
    pipeline.set_progress_bar_config(disable=True)
    photo = astronaut()
    photo = align_face(photo, detect_faces(photo, faces="largest")[0], SIZE).image
    faces = sample_faces(EXEMPLARS, generator=torch.Generator().manual_seed(args.seed))
    painter = Painter(pipeline, photo, [np.asarray(face.resize((SIZE, SIZE))) for face in faces], args.seed)
    for name in args.sheet or SHEETS:
        if name == "hairstyle" and not pipeline.multi_style_generator.config.use_sketch:
            print("hairstyle: this model takes no sketch; left out")
            continue
        contact_sheet(SHEETS[name](painter), args.output / f"{name}.png")
        print(args.output / f"{name}.png")


if __name__ == "__main__":
    main()
