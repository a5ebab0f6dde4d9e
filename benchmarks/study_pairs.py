"""Results of two families of models on the same pictures, for people to choose from without knowing whose they are.

    python benchmarks/study_pairs.py FOLDER_OF_ALIGNED_FACES --before OLD_HUB_CARDS --output outputs/pairs
    facekit study before=outputs/pairs/edit/before after=outputs/pairs/edit/after --kind 2afc \\
        --inputs input=outputs/pairs/edit/input --answers answers

A family is a folder with the models of the four methods under the names of the starters. What a newer family fills is
restored by its own restorer, as on the page; the older one's fills stay as they are, unless `--before-restores`. The
folder is as for the other quality tables; whole photos come with `--photos`, and are shown by a square round the face.

Faces are damaged by the thesis's preset, or get holes in turn: eyes, mouth, the face, and in every fourth aligned face
a free-form one. Exemplars are other faces of the folder; edits have in turn the mask alone, another face, and a smile.
`--sheets` lays the pairs out four to a picture, A and B in random order, with the key beside them, and the newer
results alone, twenty of them.
"""

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from quality import contact_sheet, labelled, load_restorer, read_entries, read_picture
from skimage import data
from tqdm import tqdm

import facekit
from facekit.damage.degrade import degrade
from facekit.damage.holes import ratio_mask
from facekit.faces import detect_faces
from facekit.images.photo import load_image
from facekit.methods import method_named
from facekit_cli.photos import find_photos

ROOT = Path(__file__).resolve().parents[1]
TASKS = ("restore", "inpaint", "exemplar", "edit")
# What fills are guided by, in turn; "" is the mask alone.
GUIDES = {"inpaint": ("",), "exemplar": ("another face",), "edit": ("", "another face", "smile")}
SIDE = 256  # of the pictures that are shown
SEVERITIES = {
    True: (0.3, 1.0),
    False: (0.2, 0.6),
}  # of aligned faces and of whole photos, whose faces are larger


@dataclass
class Case:
    """A picture RGB [H, W, 3] with the five points of its face; whether it is one aligned face."""

    image: np.ndarray
    points: np.ndarray
    aligned: bool

    def show(self, picture: np.ndarray) -> np.ndarray:
        """The face of a picture of the same size, [SIDE, SIDE, 3]."""
        if self.aligned:
            return picture
        reach = 2.2 * np.linalg.norm(self.points[1] - self.points[0])
        x, y = self.points.mean(axis=0) - (0, 0.1 * reach)
        square = Image.fromarray(picture).crop((x - reach, y - reach, x + reach, y + reach))
        return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS))

    def hole(self, number: int) -> np.ndarray:
        """The hole of the case `number`, uint8 [H, W], 1 = hole."""
        if self.aligned and number % 4 == 3:
            return np.asarray(
                ratio_mask(len(self.image), 0.2, 0.5, np.random.default_rng([0, number])), np.uint8
            )
        left, right, _, *mouth = self.points
        apart = float(np.linalg.norm(right - left))
        middle, width, height = (
            ((left + right) / 2, 1.05, 0.45),
            (np.mean(mouth, axis=0), 0.75, 0.5),
            (self.points.mean(axis=0), 1.0, 1.1),
        )[number % 3]
        centre, axes = middle.round().astype(int).tolist(), (int(width * apart), int(height * apart))
        return cv2.ellipse(np.zeros(self.image.shape[:2], np.uint8), centre, axes, 0, 0, 360, 1, -1)


@dataclass
class Question:
    """What both families are given: arguments of a call, and what is shown of them."""

    given: dict[str, Any]
    shown: list[np.ndarray]
    words: str = ""


def read_cases(folder: Path, photos: Path | None, count: int) -> Iterator[Case]:
    """Aligned faces spread over the folder, then whole photos with a face, last the astronaut."""
    entries = read_entries(folder)
    for index in np.linspace(0, len(entries) - 1, count).astype(int):
        yield Case(read_picture(folder, entries[index]), np.array(entries[index]["landmarks5"]), aligned=True)
    found = [] if photos is None else find_photos([photos]).photos
    for image in [*(load_image(path).rgb for path in found), data.astronaut()]:
        faces = detect_faces(image)
        if faces:
            yield Case(image, np.array(faces[0].landmarks), aligned=False)


def ask(task: str, case: Case, number: int, other: np.ndarray) -> Question:
    """The question of a task about a case; `other` is another aligned face."""
    if task == "restore":
        low, high = SEVERITIES[case.aligned]
        rng = np.random.default_rng([1, number])
        damaged = degrade(case.image, rng=rng, severity=float(rng.uniform(low, high)))
        return Question({"image": damaged}, [case.show(damaged)])
    hole = case.hole(number)
    question = Question(
        {"image": case.image, "mask": hole * 255}, [case.show(case.image * (1 - hole[..., None]))]
    )
    guide = GUIDES[task][number // 4 % len(GUIDES[task])]
    if guide == "smile":
        question.given["attributes"] = {"smile": 2.0}
    elif guide:
        question.given |= {"exemplar": other, "exemplar_aligned": True}
        question.shown.append(other)
    question.words = guide
    return question


def load_family(family: Path, task: str, restores: bool) -> Callable[[dict[str, Any], bool], np.ndarray]:
    """What a family makes of the arguments of a call."""
    method = method_named(task)
    pipe = getattr(facekit, method.class_name).from_pretrained(family / method.starter)
    pipe.set_progress_bar_config(disable=True)
    restorer = family / method_named("restore").starter
    behind = {"restore_with": load_restorer(str(restorer))} if restores and task != "restore" else {}

    def answer(given: dict[str, Any], aligned: bool) -> np.ndarray:
        result = pipe(**given, **behind, aligned=aligned, generator=torch.Generator().manual_seed(0))
        return np.asarray(result.images[0])

    return answer


def lay_out(rows: list[tuple[Question, np.ndarray, np.ndarray]], folder: Path) -> None:
    """Write the sheets of a task and their key."""
    rng = np.random.default_rng(0)
    width = 2 + max(len(question.shown) for question, *_ in rows)
    blank = np.full((SIDE, SIDE, 3), 255, np.uint8)
    lines, key = [], {}
    for number, (question, before, after) in enumerate(rows, 1):
        swapped = bool(rng.integers(2))
        key[number] = "A" if swapped else "B"
        shown = [*question.shown, *[blank] * (width - 2 - len(question.shown))]
        pair = (after, before) if swapped else (before, after)
        words = [f"{number} {question.words}", *[""] * (width - 3), "A", "B"]
        lines.append([labelled(image, text) for image, text in zip((*shown, *pair), words, strict=True)])
    for first in range(0, len(lines), 4):
        contact_sheet(lines[first : first + 4], folder / f"pairs-{first // 4 + 1:02}.png")
    chosen = rng.permutation(len(rows))[:20]
    alone = [labelled(rows[index][2], str(place)) for place, index in enumerate(chosen, 1)]
    alone += [labelled(blank, "")] * (-len(alone) % 5)
    lines = [alone[first : first + 5] for first in range(0, len(alone), 5)]
    for first in range(0, len(lines), 2):
        contact_sheet(lines[first : first + 2], folder / f"alone-{first // 2 + 1}.png")
    content = {"after": key, "alone": {place: int(index) + 1 for place, index in enumerate(chosen, 1)}}
    (folder / "key.json").write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--before", type=Path, required=True, metavar="FAMILY")
    parser.add_argument("--after", type=Path, default=ROOT / "hub_cards", metavar="FAMILY")
    parser.add_argument("--before-restores", action="store_true")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--count", type=int, default=31, help="aligned faces")
    parser.add_argument("--photos", type=Path, help="folder of whole photos")
    parser.add_argument("--sheets", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("outputs/pairs"))
    args = parser.parse_args()
    if args.output.exists():
        parser.error(f"{args.output} exists; name another --output folder")

    cases = list(read_cases(args.folder, args.photos, args.count))
    faces = [case.image for case in cases if case.aligned]
    for task in args.tasks:
        before = load_family(args.before, task, args.before_restores)
        after = load_family(args.after, task, restores=True)
        rows: list[tuple[Question, np.ndarray, np.ndarray]] = []
        for number, case in enumerate(tqdm(cases, desc=task)):
            question = ask(task, case, number, faces[(number + 1) % len(faces)])
            older, newer = (case.show(answer(question.given, case.aligned)) for answer in (before, after))
            pictures = {"before": older, "after": newer}
            pictures |= zip(("input", "example"), question.shown, strict=False)
            for name, picture in pictures.items():
                path = args.output / task / name / f"{number:03}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(path)
            rows.append((question, older, newer))
        if args.sheets:
            lay_out(rows, args.output / task)


if __name__ == "__main__":
    main()
