"""Contact sheet of an edit session of `FaceEditPipeline`, one edit after the other; free to be shown.

    python benchmarks/edit_sheets.py --model hub_cards/face-edit-starter-256 --clip FOLDER --output outputs/edit-sheets

The photo is scikit-image's astronaut (Eileen Collins, a NASA photo in the public domain), aligned; the exemplar is a
face that `facekit.sample_faces` makes, of nobody. Each edit starts from the result of the one before (thesis
Fig. 6.23). Above each result what the edit was given: the mask in white, and what was drawn on it. `sequence.md` says
how far pixels outside of all masks are from the photo's; it must be 0. Every mix of the modalities:
`facekit evaluate fig-6.12`.
"""

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from quality import contact_sheet, labelled
from skimage.data import astronaut

from facekit import FaceEditPipeline, sample_faces
from facekit.conditions.semantics import load_parser, paint, parse
from facekit.conditions.text import TextGuide
from facekit.faces import align_face, detect_faces
from facekit.hub.starters import starter

SIZE = 256
BROWS, EYES, LIPS, HAIR = (2, 3), (4, 5), (11, 12, 13), (17,)
Row = list[np.ndarray]


def labels_of(parser: Any, picture: np.ndarray) -> np.ndarray:
    """Label map uint8 [S, S]."""
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    return parse(parser, image)[0].numpy().astype(np.uint8)


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


def sequence_sheet(
    pipe: FaceEditPipeline,
    photo: np.ndarray,
    parser: Any,
    exemplar: np.ndarray,
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
    layer[own == HAIR[0]] = (110, 58, 32, 255)
    edit("colour, detail kept: auburn hair", around(own, HAIR, 3), color=layer, keep_detail=True)
    # 2. Eyes after another face
    edit("exemplar: eyes", around(own, EYES, 9), exemplar=exemplar)
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
    own_lips = around(own, LIPS[1:], 1)
    layer[own_lips] = (170, 25, 60, 255)
    edit("colour, detail kept: lips", own_lips, color=layer, keep_detail=True)
    # 5. Attributes of the face that is there
    if "smile" in pipe.attribute_names:
        edit("attributes: smile -2", around(own, LIPS, 14), exemplar="self", attributes={"smile": -2.0})
    # 6. Hair down to the shoulders
    own = labels()
    beside = ellipse((0.5, 0.5), (0.42, 0.4)) & ~ellipse((0.5, 0.5), (0.22, 0.5))
    beside[: int(0.4 * SIZE)] = False
    longer = np.where(beside & ~np.isin(own, (*range(1, 7), 10, *LIPS)), np.uint8(HAIR[0]), own)
    layer = np.zeros((SIZE, SIZE, 4), np.uint8)
    layer[longer == HAIR[0]] = (110, 58, 32, 255)
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
    parser.add_argument("--output", type=Path, default=Path("outputs/edit-sheets"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    pipe = FaceEditPipeline.from_pretrained(args.model)
    pipe.set_progress_bar_config(disable=True)
    face_parser = pipe.face_parser or load_parser(starter("face-parser"))
    text = (TextGuide.from_pretrained(args.clip), args.prompt, args.steps) if args.clip else None
    picture = astronaut()
    photo = align_face(picture, detect_faces(picture, faces="largest")[0], SIZE).image
    sampled = sample_faces(1, generator=torch.Generator().manual_seed(args.seed))
    exemplar = np.asarray(sampled[0].resize((SIZE, SIZE)))
    rows, facts = sequence_sheet(pipe, photo, face_parser, exemplar, text, args.seed)
    args.output.mkdir(parents=True, exist_ok=True)
    contact_sheet(rows, args.output / "sequence.png")
    (args.output / "sequence.md").write_text(facts)
    print(f"{args.output / 'sequence.png'}\n{facts}")


if __name__ == "__main__":
    main()
