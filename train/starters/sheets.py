"""Pictures for the cards of a family's models: curves, and contact sheets without any picture of the data.

The sheets show scikit-image's astronaut (Eileen Collins, a NASA photo in the public domain) and faces that the family's
own prior makes.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from facekit import degrade, sample_faces
from facekit.conditions.semantics import parse
from facekit.conditions.sketch import pencil_sketch, sketch_strokes
from facekit.damage.holes import centre_mask, ratio_mask
from facekit.faces import align_face, detect_faces
from train.starters.history import MEASURES, History

Picture = np.ndarray  # uint8 [S, S, 3]
Row = list[Picture]
LABEL_HEIGHT = 22
LEAST_SIDE = 128  # smaller pictures are shown enlarged
EXEMPLARS = 5
# Candidates for the training curve, of which the first that was written is drawn: pixels say most of a small network.
TRAINING_CURVES = ("generator_pixel", "generator_l1", "restorer_l1", "encoder_l1", "encoder_teacher",
                   "diffuser_codes", "warper_attribute", "loss_encoder", "loss_restorer", "loss_generator")  # fmt: skip
VALIDATION_CURVES = ("imagenet", "psnr", "attribute")


@functools.cache
def load_astronaut(size: int) -> Picture:
    """The astronaut's face, aligned, uint8 [S, S, 3]."""
    from skimage.data import astronaut

    photo = astronaut()
    (face,) = detect_faces(photo, faces="largest")
    return align_face(photo, face, size).image


def sample(count: int, prior: Path | None, seed: int = 1) -> Row:
    """Sample faces of a prior, by its folder; without one all of them are the mirrored astronaut."""
    if prior is None:
        return [np.ascontiguousarray(load_astronaut(256)[:, ::-1])] * count
    faces = sample_faces(count, prior, generator=torch.Generator().manual_seed(seed))
    return [np.array(face) for face in faces]


# Sheets


def label(picture: Picture, text: str) -> Picture:
    """Put a white strip with a text above a picture, which is enlarged where it is tiny."""
    if picture.shape[0] < LEAST_SIDE:
        picture = cv2.resize(picture, (LEAST_SIDE, LEAST_SIDE), interpolation=cv2.INTER_NEAREST)
    strip = np.full((LABEL_HEIGHT, picture.shape[1], 3), 255, np.uint8)
    scale = 0.45
    while scale > 0.2 and cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0] > picture.shape[1]:
        scale -= 0.02
    cv2.putText(strip, text, (2, 16), cv2.FONT_HERSHEY_SIMPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([strip, picture])


def save_sheet(rows: Sequence[Sequence[tuple[str, Picture]]], path: Path) -> None:
    """Write named pictures, all of one size and equally many in a row, as one PNG."""
    lines = [np.concatenate([label(picture, name) for name, picture in row], axis=1) for row in rows]
    Image.fromarray(np.concatenate(lines)).save(path)


def draw_ellipse(size: int, centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    """Draw a filled ellipse, bool [S, S]; centre (x, y) and radii are shares of the side."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 <= 1


def draw_regions(size: int) -> dict[str, np.ndarray]:
    """Draw parts of an aligned face, with eyes at 47% and mouth at 73% of the height: bool [S, S] each."""
    eyes = [draw_ellipse(size, (x, 0.475), (0.115, 0.075)) for x in (0.372, 0.628)]
    hair = draw_ellipse(size, (0.5, 0.44), (0.5, 0.45)) & ~draw_ellipse(size, (0.5, 0.64), (0.26, 0.28))
    return {
        "eyes": eyes[0] | eyes[1],
        "mouth": draw_ellipse(size, (0.5, 0.735), (0.17, 0.1)),
        "hair": hair,
        "face": draw_ellipse(size, (0.5, 0.6), (0.27, 0.36)),
    }


def cut_hole(photo: Picture, mask: np.ndarray) -> Picture:
    """Paint a photo white where the mask [S, S] is not 0."""
    return np.where(mask.astype(bool)[..., None], 255, photo).astype(np.uint8)


def seed_generators(count: int = 1) -> list[torch.Generator]:
    """Equal random streams for several pictures, so that these differ only by what they were given."""
    return [torch.Generator().manual_seed(0) for _ in range(count)]


def save_prior_sheet(prior: Path, path: Path) -> None:
    """Write 24 faces of a prior, by its folder, not selected."""
    faces = sample(24, prior)
    save_sheet([[("", face) for face in faces[first : first + 8]] for first in (0, 8, 16)], path)


def save_restore_sheet(pipeline: Any, size: int, path: Path) -> None:
    """Write the astronaut, damaged in three degrees, and restored with three values of `fidelity`."""
    photo, rows = load_astronaut(size), []
    for severity in (0.2, 0.4, 0.6):
        damaged = degrade(photo, rng=0, severity=severity)
        row = [(f"damaged, severity {severity}", damaged)]
        for fidelity in (0.0, 0.5, 1.0):
            output = pipeline(damaged, aligned=True, fidelity=fidelity, generator=seed_generators()[0])
            row.append((f"restored, fidelity {fidelity:g}", np.asarray(output.images[0])))
        rows.append([*row, ("original", photo)])
    save_sheet(rows, path)


def save_inpaint_sheet(pipeline: Any, size: int, path: Path) -> None:
    """Write four holes in the astronaut, their fills, the original."""
    photo, parts = load_astronaut(size), draw_regions(size)
    masks = {
        "centre": np.asarray(centre_mask(size)).astype(bool),
        "free-form": np.asarray(ratio_mask(size, 0.2, 0.5, np.random.default_rng(0))).astype(bool),
        "eyes and mouth": parts["eyes"] | parts["mouth"],
        "hair": parts["hair"],
    }
    filled = [
        pipeline(photo, mask.astype(np.uint8) * 255, aligned=True, generator=seed_generators()[0]).images[0]
        for mask in masks.values()
    ]
    rows = [
        [(name, cut_hole(photo, mask)) for name, mask in masks.items()],
        [("filled", np.asarray(image)) for image in filled],
        [("original", photo)] * len(masks),
    ]
    save_sheet(rows, path)


def save_exemplar_sheet(pipeline: Any, size: int, prior: Path | None, path: Path) -> None:
    """Write parts of the astronaut, filled after faces of the family's prior (None: after the mirrored astronaut)."""
    photo, faces = load_astronaut(size), [resize(face, size) for face in sample(EXEMPLARS, prior)]
    rows = [[("photo", photo), *((f"exemplar {k + 1}", face) for k, face in enumerate(faces))]]
    for name, mask in draw_regions(size).items():
        output = pipeline(
            photo,
            mask.astype(np.uint8) * 255,
            faces,
            aligned=True,
            generator=seed_generators(len(faces)),
        )
        rows.append([(name, cut_hole(photo, mask)), *(("", np.asarray(image)) for image in output.images)])
    save_sheet(rows, path)


def save_edit_sheet(pipeline: Any, size: int, prior: Path | None, path: Path) -> None:
    """Write the astronaut, the face painted anew after sketch, map, colours and codes of faces of the family's prior.

    Without a prior (None) these are of the mirrored astronaut.
    """
    photo, mask, rows = load_astronaut(size), draw_regions(size)["face"], []
    for face in (resize(face, size) for face in sample(3, prior)):
        given: dict[str, Any] = {"sketch": sketch_strokes(pencil_sketch(face)).astype(np.uint8) * 255}
        if pipeline.face_parser is not None:
            image = torch.from_numpy(face).permute(2, 0, 1)[None].float() / 127.5 - 1
            given["semantics"] = parse(pipeline.face_parser, image)[0].numpy().astype(np.uint8)
        given |= {"color": cv2.blur(face, (size // 8, size // 8)), "exemplar": face}
        choices = [("nothing given", {}), *((name, {name: value}) for name, value in given.items())]
        choices.append(("all together", given))
        row = [("a face to follow", face), ("hole", cut_hole(photo, mask))]
        for name, chosen in choices:
            output = pipeline(
                photo, mask.astype(np.uint8) * 255, aligned=True, generator=seed_generators()[0], **chosen
            )
            row.append((name, np.asarray(output.images[0])))
        rows.append(row)
    save_sheet(rows, path)


def resize(picture: Picture, size: int) -> Picture:
    """Resize a square picture, uint8 [size, size, 3], contiguous."""
    return np.array(Image.fromarray(picture).resize((size, size), Image.Resampling.LANCZOS))


# Curves


def save_curves(chains: Sequence[Sequence[History]], path: Path) -> bool:
    """Draw a row of plots for each chain of stages, training left and validation right, over the pictures seen.

    Returns:
        Whether anything was drawn. Where matplotlib is missing a line says so.
    """
    lines = [(chain, _name(chain, TRAINING_CURVES, ""), _name(chain, VALIDATION_CURVES, "validation_"))
             for chain in chains]  # fmt: skip
    lines = [line for line in lines if line[1] or line[2]]
    if not lines:
        return False
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        print("no curves.png: matplotlib is missing (pip install 'facekit[train]')")
        return False
    figure = Figure(figsize=(9, 3 * len(lines)), layout="constrained")
    scored = any(validation for _, _, validation in lines)
    axes = figure.subplots(len(lines), 1 + scored, squeeze=False)
    for row, (chain, training, validation) in zip(axes, lines, strict=True):
        _draw(row[0], chain, training, training)
        if not scored:
            continue
        measure = MEASURES[validation.removeprefix("validation_")].label if validation else ""
        _draw(row[1], chain, validation, f"validation: {measure}", marker=".")
    FigureCanvasAgg(figure).print_png(path)
    return True


def _name(chain: Sequence[History], names: Sequence[str], prefix: str) -> str:
    """The first curve that stages of a chain wrote, the last stage asked first; "" where none wrote any."""
    found = (
        prefix + name for history in reversed(chain) for name in names if history.find_curve(prefix + name)
    )
    return next(found, "")


def _draw(axes: Any, chain: Sequence[History], name: str, label: str, marker: str = "") -> None:
    """One curve, a colour for each stage; the pictures of the stages before are counted on."""
    start = 0
    for history in chain:
        points = history.find_curve(name)
        if points:
            axes.plot(
                [start + seen for seen, _ in points],
                [y for _, y in points],
                label=history.stage,
                marker=marker,
                lw=1,
            )
        start += history.pictures
    if not axes.has_data():
        axes.set_axis_off()
        return
    axes.set(xlabel="pictures seen", ylabel=label)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
