"""Contact sheets of `FaceEditPipeline`: every mix of the modalities, and one edit after the other; free to be shown.

    python benchmarks/edit_sheets.py --model hub_cards/face-edit-starter-256 --clip FOLDER --output outputs/edit-sheets

The photo is scikit-image's astronaut (Eileen Collins, a NASA photo in the public domain), aligned; guidance comes from
faces that `facekit.sample_faces` makes, of nobody.
* `subsets`: every subset of sketch, semantic map, colour, exemplar and text (thesis Fig. 6.12), with the same noise.
  Sketch (outlines) and map are of one face, the colours are the mean ones of another on that map, the exemplar is a
  third. Texts need a CLIP model (`--clip`, folder or Hub id); without one there are 16 subsets. Written to
  `subsets.md`: how much each modality changes the fill, in levels of 255 inside the mask, over all subsets that have
  it, against the same subset without it.
* `sequence`: an edit session (Fig. 6.23): each edit starts from the result of the one before. Above each result what
  the edit was given: the mask in white, and what was drawn on it. `sequence.md` says how far pixels outside of all
  masks are from the photo's; it must be 0.
"""

import argparse
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from quality import contact_sheet, labelled, markdown_table
from skimage.data import astronaut

from facekit import FaceEditPipeline, sample_faces
from facekit.conditions.color import region_means
from facekit.conditions.semantics import load_parser, paint, parse
from facekit.conditions.sketch import pencil_sketch, sketch_strokes
from facekit.conditions.text import TextGuide
from facekit.faces import align_face, detect_faces
from facekit.hub.starters import starter

SIZE = 256
DRAWN = ("sketch", "semantics", "color")
EXEMPLARS = 3
BROWS, EYES, LIPS, HAIR = (2, 3), (4, 5), (11, 12, 13), (17,)
Row = list[np.ndarray]


def labels_of(parser: Any, picture: np.ndarray) -> np.ndarray:
    """Label map uint8 [S, S]."""
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    return parse(parser, image)[0].numpy().astype(np.uint8)


def line_drawing(labels: np.ndarray) -> np.ndarray:
    """Outlines of face, brows, eyes and lips of a label map: uint8 [S, S], 255 = stroke."""
    drawn = np.zeros(labels.shape, np.uint8)
    for classes in ((*range(1, 7), 10, *LIPS), (2,), (3,), (4,), (5,), LIPS, LIPS[:1]):
        shape = cv2.medianBlur(np.isin(labels, classes).astype(np.uint8) * np.uint8(255), 5)
        outlines, _ = cv2.findContours(shape, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, [line for line in outlines if len(line) > 12], -1, 255, 2)
    return drawn


def painted(labels: np.ndarray, face: np.ndarray, own: np.ndarray) -> np.ndarray:
    """A face's mean colours on a map, as an RGBA layer; clear where the face, of the map `own`, lacks the class."""
    layer, means = np.zeros((*labels.shape, 4), np.uint8), region_means(face, own)
    for label in np.intersect1d(labels, own):
        layer[labels == label] = (*means[own == label][0], 255)
    return layer


def ellipse(centre: tuple[float, float], radii: tuple[float, float]) -> np.ndarray:
    """bool [S, S], from shares of the side."""
    y, x = (np.mgrid[:SIZE, :SIZE] + 0.5) / SIZE
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 <= 1


def around(labels: np.ndarray, classes: tuple[int, ...], wider: int) -> np.ndarray:
    """Mask bool [S, S] of classes, so many pixels wider."""
    found = np.isin(labels, classes).astype(np.uint8)
    return cv2.dilate(found, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * wider + 1,) * 2)) > 0


def shown(photo: np.ndarray, mask: np.ndarray, given: dict[str, Any]) -> np.ndarray:
    """The masked photo with what is drawn on it."""
    picture = np.where(mask[..., None], 255, photo).astype(np.uint8)
    if "semantics" in given:
        said = mask & (given["semantics"] < 255)
        picture[said] = paint(given["semantics"])[said]
    if "color" in given:
        said = mask & (given["color"][..., 3] > 0)
        picture[said] = given["color"][said][:, :3]
    if "sketch" in given:
        picture[mask & (given["sketch"] > 0)] = 0
    return picture


def subsets_sheet(
    pipe: FaceEditPipeline,
    photo: np.ndarray,
    faces: Row,
    maps: Row,
    text: tuple[TextGuide, str, int] | None,
    seed: int,
) -> tuple[list[Row], str]:
    """The sheet, and how much each modality changes."""
    mask = ellipse((0.5, 0.58), (0.32, 0.38))
    given = {
        "sketch": line_drawing(maps[0]),
        "semantics": maps[0],
        "color": painted(maps[0], faces[1], maps[1]),
        "exemplar": faces[2],
    }
    if text is not None:
        given |= {"prompt": text[1]}
    options = {} if text is None else {"text_guide": text[0], "num_inference_steps": text[2]}
    made = {}
    for count in range(len(given) + 1):
        for names in combinations(given, count):
            chosen = {name: given[name] for name in names}
            output = pipe(
                photo,
                mask,
                **chosen,
                **(options if "prompt" in chosen else {}),
                aligned=True,
                generator=torch.Generator().manual_seed(seed),
            )
            made[names] = np.asarray(output.images[0])

    header = [labelled(photo, "photo"), *(labelled(shown(photo, mask, {n: given[n]}), n) for n in DRAWN)]
    header += [labelled(faces[2], "exemplar")]
    header += [labelled(np.full_like(photo, 255), given.get("prompt", "no CLIP model: no texts"))]
    rows = [header]
    drawn = [names for count in range(4) for names in combinations(DRAWN, count)]
    others = [name for name in given if name not in DRAWN]
    for count in range(len(others) + 1):
        for more in combinations(others, count):
            line = [(*names, *more) for names in drawn]
            rows.append([labelled(made[names], " + ".join(names) or "nothing") for names in line])
    blank = np.full_like(rows[0][0], 255)
    rows[0] += [blank] * (len(rows[1]) - len(rows[0]))

    def change(names: tuple[str, ...], name: str) -> float:
        less = made[tuple(other for other in names if other != name)]
        return float(np.abs(made[names].astype(np.float32) - less)[mask].mean())

    lines = []
    for name in given:
        changes = [change(names, name) for names in made if name in names]
        lines.append((name, f"{min(changes):.1f}", f"{np.mean(changes):.1f}", f"{max(changes):.1f}"))
    table = markdown_table(("modality", "least change", "mean", "most"), lines)
    note = "" if text else "\nNo CLIP model was named: 16 subsets, without texts.\n"
    return rows, f"{len(made)} subsets; change in levels of 255 inside the mask.\n\n{table}{note}"


def sequence_sheet(
    pipe: FaceEditPipeline,
    photo: np.ndarray,
    parser: Any,
    faces: Row,
    text: tuple[TextGuide, str, int] | None,
    seed: int,
) -> tuple[list[Row], str]:
    """The sheet, and the difference outside all masks."""
    session = pipe.edit_session(photo, aligned=True)
    touched = np.zeros((SIZE, SIZE), bool)
    rows = [[labelled(photo, "photo")], [labelled(photo, "")]]

    def edit(name: str, mask: np.ndarray, **given: Any) -> None:
        before = np.asarray(session.image)
        session.edit(mask, seed=seed, **given)
        touched[mask] = True
        rows[0].append(labelled(shown(before, mask, given), name))
        rows[1].append(labelled(np.asarray(session.image), ""))

    def labels() -> np.ndarray:
        return labels_of(parser, np.asarray(session.image))

    # 1. Hair in another colour
    own = labels()
    layer = np.zeros((SIZE, SIZE, 4), np.uint8)
    layer[own == HAIR[0]] = (150, 60, 30, 255)
    strokes = sketch_strokes(pencil_sketch(photo)) * np.uint8(255) * (own == HAIR[0])
    edit("colour and sketch: red hair", around(own, HAIR, 3), color=layer, semantics=own, sketch=strokes)
    # 2. Eyes after another face
    edit("exemplar: eyes", around(own, EYES, 9), exemplar=faces[0])
    # 3. Thicker brows, by map and colour
    own = labels()
    brows = own.copy()
    for brow in BROWS:
        brows[cv2.dilate((own == brow).astype(np.uint8), np.ones((5, 3), np.uint8)) > 0] = brow
    layer = np.zeros((SIZE, SIZE, 4), np.uint8)
    layer[np.isin(brows, BROWS)] = (45, 30, 25, 255)
    edit("semantics and colour: brows", around(own, BROWS, 8), semantics=brows, color=layer)
    # 4. Painted lips
    own = labels()
    layer = np.zeros((SIZE, SIZE, 4), np.uint8)
    layer[np.isin(own, LIPS[1:])] = (170, 25, 60, 255)
    edit("colour: lips", around(own, LIPS, 5), color=layer, semantics=own)
    # 5. Attributes of the face that is there
    if "smile" in pipe.attribute_names:
        edit("attributes: smile -2", around(own, LIPS, 14), exemplar="self", attributes={"smile": -2.0})
    # 6. Hair down to the shoulders
    own = labels()
    beside = ellipse((0.5, 0.5), (0.42, 0.4)) & ~ellipse((0.5, 0.5), (0.22, 0.5))
    beside[: int(0.4 * SIZE)] = False
    longer = np.where(beside & ~np.isin(own, (*range(1, 7), 10, *LIPS)), np.uint8(HAIR[0]), own)
    layer = np.zeros((SIZE, SIZE, 4), np.uint8)
    layer[longer == HAIR[0]] = (150, 60, 30, 255)
    edit("semantics and colour: longer hair", around(beside, (True,), 2), semantics=longer, color=layer)
    if text is not None:
        guide, prompt, steps = text
        face = ellipse((0.5, 0.58), (0.3, 0.36))
        edit(f"text: {prompt}", face, prompt=prompt, text_guide=guide, num_inference_steps=steps)

    last = np.asarray(session.image).astype(int)
    outside = int(np.abs(last - photo)[~touched].max())
    return rows, f"{len(session.history)} edits; largest difference outside all masks: {outside} levels.\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="model folder or Hub id")
    parser.add_argument("--clip", help="CLIP folder or Hub id, for texts")
    parser.add_argument("--prompt", default="a smiling face")
    parser.add_argument("--steps", type=int, default=100, help="of a text's optimisation")
    parser.add_argument("--sheet", action="append", choices=("subsets", "sequence"), help="default: both")
    parser.add_argument("--output", type=Path, default=Path("outputs/edit-sheets"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    pipe = FaceEditPipeline.from_pretrained(args.model)
    pipe.set_progress_bar_config(disable=True)
    face_parser = pipe.face_parser or load_parser(starter("face-parser"))
    text = (TextGuide.from_pretrained(args.clip), args.prompt, args.steps) if args.clip else None
    picture = astronaut()
    photo = align_face(picture, detect_faces(picture, faces="largest")[0], SIZE).image
    sampled = sample_faces(EXEMPLARS, generator=torch.Generator().manual_seed(args.seed))
    faces = [np.asarray(face.resize((SIZE, SIZE))) for face in sampled]
    maps = [labels_of(face_parser, face) for face in faces]
    args.output.mkdir(parents=True, exist_ok=True)
    for name in args.sheet or ("subsets", "sequence"):
        if name == "subsets":
            rows, facts = subsets_sheet(pipe, photo, faces, maps, text, args.seed)
        else:
            rows, facts = sequence_sheet(pipe, photo, face_parser, faces, text, args.seed)
        contact_sheet(rows, args.output / f"{name}.png")
        (args.output / f"{name}.md").write_text(facts)
        print(f"{args.output / f'{name}.png'}\n{facts}")


if __name__ == "__main__":
    main()
