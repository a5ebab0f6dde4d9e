"""Do fills follow their guidance? Each modality of `FaceEditPipeline` alone, and all together, against fills without.

    python benchmarks/edit_quality.py FOLDER/val --model hub_cards/face-edit-starter-256 --output outputs/edit-quality

The folder holds aligned faces with a `metadata.jsonl` whose `landmarks5` are the true points; label maps lie in
`../semantic/NAME_OF_FOLDER/` (or `--semantics`), one index map of the 19 classes for each picture. `--count` pictures
are taken, spread over the folder.

Every photo is filled under two masks, the centred 25% and a region of its label map (eyes, mouth, nose, face or hair in
turn, 8 pixels wider, so that another shape has room), always with the same noise. Guidance comes from two sources:
* own: what was drawn is the photo's own: its strokes, map, mean colours and face;
* other: another face's strokes and map; another face's mean colours on the photo's own map, class by class, with
  nothing said where the other face lacks a class; six other faces as exemplars. For "all", everything comes from one
  other face, its colours on its own map, so that nothing contradicts. Own guidance fits what is around the mask and
  can partly be guessed from there; another face's cannot.

Measured inside the mask, for each modality:
* sketch: F-score of the strokes that the pencil filter finds in the fill against those drawn, 2 pixels off being a hit.
  "even": with as many strokes taken from the fill as were drawn, so that a soft fill is not judged by its contrast;
* semantics: mean IoU of the parser's map of the fill with the map given, over its classes of at least 30 pixels;
* colour: distance in Lab between mean colour of the fill and colour given, mean over regions of at least 30 pixels;
* exemplar: how often its style codes are the nearest of six to the fill's (Eq. 5.7). "hole": with the exemplars first
  pasted into the mask of the same photo. For own, the photo's face is one of the six.
Columns: "none" is the fill without any guidance, measured against this one; "alone" with this modality; "all" with all
four; "all but it" with the three others (other faces only). "pasted" is the other face itself, or the photo, in the
mask: about the best there is, and the parser's own error. "better" is the share of photos on which the score of alone
beats that of none, and that of all the one of all but it (for own: of none); equal scores count half. For exemplars it
compares distances of codes.
What is written: `quality.md`, `quality.json`, and for each mask a sheet of six photos, which shows pictures of the
folder.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from edit_measures import (
    Face,
    Table,
    color_distance,
    distances,
    edge_agreement,
    guidance,
    region_iou,
    region_mask,
)
from PIL import Image
from quality import (
    add_restorer_option,
    base_parser,
    finish,
    found_summary,
    hole_psnr,
    labelled,
    landmark_error,
    load_restorer,
    markdown_table,
    read_entries,
    read_picture,
)
from tqdm import tqdm

from facekit import FaceEditPipeline
from facekit.conditions.guidance import encoder_input
from facekit.conditions.semantics import paint, parse
from facekit.conditions.sketch import pencil_sketch, sketch_strokes
from facekit.damage.holes import centre_mask
from facekit.hub.starters import starter
from facekit.models.face_parser import FaceParser
from facekit.pipelines.edit.cache import EditCache

EXEMPLARS = 6
DRAWN = ("sketch", "semantics", "color")
MODALITIES = (*DRAWN, "exemplar")
SHEET_ROWS = 6
# What is drawn, by modality, and the exemplar.
Edit = tuple[dict[str, np.ndarray], Face | None]


class Editor:
    """The pipeline on aligned faces, with the same noise for all fills of a photo."""

    def __init__(self, model: str, parser: str | None, restorer: str | None) -> None:
        self.pipe = FaceEditPipeline.from_pretrained(model)
        self.pipe.set_progress_bar_config(disable=True)
        self.parser = FaceParser.from_pretrained(parser) if parser else self.pipe.face_parser
        if self.parser is None:
            self.parser = FaceParser.from_pretrained(starter("face-parser"))
        self.restorer = load_restorer(restorer)
        self.cache, self.seconds, self.fills = EditCache(), 0.0, 0

    def fill(self, face: Face, mask: np.ndarray, seed: int, edits: Sequence[Edit]) -> list[np.ndarray]:
        """One fill for each edit."""
        made: dict[int, np.ndarray] = {}
        started, nothing = time.perf_counter(), np.zeros_like(mask)
        for guided in (False, True):
            chosen = [k for k, (_, exemplar) in enumerate(edits) if (exemplar is not None) == guided]
            drawn = [edits[k][0] for k in chosen]
            if not chosen:
                continue
            output = self.pipe(
                [face.image] * len(chosen),
                mask * np.uint8(255),
                sketch=[given.get("sketch", nothing) for given in drawn],
                semantics=[given.get("semantics") for given in drawn],
                color=[given.get("color") for given in drawn],
                exemplar=[edits[k][1].image for k in chosen] if guided else None,
                aligned=True,
                generator=[torch.Generator().manual_seed(seed) for _ in chosen],
                restore_with=self.restorer,
                cache=self.cache,
            )
            made |= dict(zip(chosen, map(np.asarray, output.images), strict=True))
        self.seconds, self.fills = self.seconds + time.perf_counter() - started, self.fills + len(edits)
        return [made[k] for k in range(len(edits))]

    @torch.no_grad()
    def codes(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
        """Style codes of whole faces, [N, n, D]."""
        return self.pipe.style_encoder(encoder_input(as_batch(pictures)))

    def labels(self, pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
        return list(parse(self.parser, as_batch(pictures)).numpy())


def as_batch(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """uint8 [S, S, 3] each -> [N, 3, S, S] in [-1, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def measure_drawn(
    editor: Editor,
    table: Table,
    source: str,
    mask: np.ndarray,
    given: tuple[dict[str, np.ndarray], dict[str, np.ndarray]],
    maps: tuple[np.ndarray, np.ndarray],
    fills: dict[str, dict[str, np.ndarray]],
) -> None:
    """Sketch, semantics and colour of one photo after one source.

    `given` is what was drawn alone and for all together, `maps` the maps of the two colour layers, `fills` the
    fills of each modality by column. "none" and "alone" are compared with the first, "all" with the second.
    """
    alone, together = given
    for name, measure in (("sketch", "sketch"), ("sketch", "sketch, even")):
        even = measure.endswith("even")
        table.row(measure, source).add(
            {k: edge_agreement(f, alone["sketch"], mask, even) for k, f in fills[name].items()}
        )
    columns = fills["semantics"]
    found = dict(zip(columns, editor.labels(list(columns.values())), strict=True))
    table.row("semantics", source).add(
        {k: region_iou(labels, alone["semantics"], mask) for k, labels in found.items()}
    )
    scores = {}
    for name, picture in fills["color"].items():
        first = name in ("none", "alone")
        layer, labels = (alone["color"], maps[0]) if first else (together["color"], maps[1])
        scores[name] = color_distance(picture, layer, labels, mask)
    table.row("color", source).add(scores)


def measure_exemplars(
    editor: Editor,
    table: Table,
    source: str,
    photo: np.ndarray,
    mask: np.ndarray,
    six: Sequence[Face],
    fills: dict[str, list[tuple[int, np.ndarray]]],
) -> None:
    """How often the right one of six is nearest; `fills` are pictures by column with the number of their exemplar."""
    pasted = [np.where(mask[..., None] > 0, face.image, photo) for face in six]
    fills = {**fills, "pasted": [(own, pasted[own]) for own, _ in fills["alone"]]}
    flat = [(column, own, picture) for column, entries in fills.items() for own, picture in entries]
    codes = editor.codes([*pasted, *(picture for _, _, picture in flat)])
    whole = torch.stack([face.codes for face in six])
    for measure, others in (("exemplar", whole), ("exemplar, hole", codes[: len(six)])):
        found = distances(codes[len(six) :], others)
        hits: dict[str, list[float]] = {}
        length: dict[str, list[float]] = {}
        for (column, own, _), line in zip(flat, found, strict=True):
            hits.setdefault(column, []).append(100.0 * (line.argmin() == own))
            length.setdefault(column, []).append(float(line[own]))
        means = ({k: float(np.mean(v)) for k, v in part.items()} for part in (hits, length))
        table.row(measure, source).add(*means)


def measure_photo(
    editor: Editor, table: Table, face: Face, mask: np.ndarray, others: Sequence[Face], number: int
) -> list[np.ndarray]:
    """Fill one photo in every way, collect the scores, and give the pictures of a sheet's line."""
    picked = number % EXEMPLARS
    other = others[picked]
    (none,) = editor.fill(face, mask, number, [({}, None)])
    shown, looked = [none], {"no guidance": none}
    for source, guide in (("own", face), ("other", other)):
        alone, together = guidance(face, guide, False), guidance(face, guide, True)
        six = [face, *others[:-1]] if source == "own" else list(others)
        chosen, followed = (0, six[:1]) if source == "own" else (picked, six)
        edits: list[Edit] = [({name: alone[name]}, None) for name in DRAWN]
        edits += [({}, exemplar) for exemplar in followed]
        edits += [(together, guide)]
        if source == "other":
            less = [{key: given for key, given in together.items() if key != name} for name in DRAWN]
            edits += [*((rest, guide) for rest in less), (together, None)]
        made = editor.fill(face, mask, number, edits)
        single = dict(zip(DRAWN, made, strict=False))
        after, made = made[len(DRAWN) :][: len(followed)], made[len(DRAWN) + len(followed) :]
        everything, rest = made[0], dict(zip(MODALITIES, made[1:], strict=False))
        fills = {name: {"none": none, "alone": single[name], "all": everything} for name in DRAWN}
        matched = {
            "none": [(k, none) for k in range(len(after))],
            "alone": list(enumerate(after)),
            "all": [(chosen, everything)],
        }
        if rest:
            matched["all but it"] = [(chosen, rest.pop("exemplar"))]
            for name, picture in rest.items():
                fills[name]["all but it"] = picture
        pasted = np.where(mask[..., None] > 0, guide.image, face.image)
        for name in DRAWN:
            fills[name]["pasted"] = pasted
        measure_drawn(editor, table, source, mask, (alone, together), (face.labels, guide.labels), fills)
        measure_exemplars(editor, table, source, face.image, mask, six, matched)
        if source == "own":
            table.psnr.setdefault("no guidance", []).append(hole_psnr(none, face.image, mask))
            table.psnr.setdefault("all own", []).append(hole_psnr(everything, face.image, mask))
            looked["all, own"] = everything
        else:
            looked |= {f"{name}, other": picture for name, picture in single.items()}
            looked |= {"exemplar, other": after[picked], "all, other": everything, "photo": face.image}
        shown += [*single.values(), after[chosen], everything]
    for name, picture in looked.items():
        table.errors.setdefault(name, []).append(landmark_error(picture, face.landmarks))
    drawn = paint(other.labels)
    drawn[other.strokes > 0] = 0
    hidden = np.where(mask[..., None] > 0, 255, face.image).astype(np.uint8)
    return [hidden, *shown, other.image, drawn]


TITLES = {
    "sketch": ("sketch: F-score", "{:.2f}"),
    "sketch, even": ("sketch: F-score, even", "{:.2f}"),
    "semantics": ("semantics: IoU", "{:.2f}"),
    "color": ("colour: Lab distance (less is better)", "{:.1f}"),
    "exemplar": ("exemplar: nearest of six, whole face", "{:.0f}%"),
    "exemplar, hole": ("exemplar: nearest of six, hole", "{:.0f}%"),
}
COLUMNS = ("none", "alone", "all but it", "all", "pasted")
SHEET = (
    "no guidance",
    *(f"{name} {source}" for source in ("own", "other") for name in (*MODALITIES, "all")),
    "other face",
    "its map and strokes",
)


def written(table: Table) -> str:
    """The Markdown tables of one kind of mask."""
    lines = []
    for measure, (title, pattern) in TITLES.items():
        for source in ("own", "other"):
            result = table.row(measure, source).summary()
            cells = [pattern.format(result[name]) if name in result else "" for name in COLUMNS]
            shares = [f"{result[f'{name}_better_percent']:.0f}%" for name in ("alone", "all")]
            lines.append((title, source, *cells, *shares))
    header = ("", "guidance of", *COLUMNS, "alone better than none", "all better than all but it")
    found = [
        (name, f"{summary['found_percent']:.0f}%", f"{summary['landmark_error_percent']:.1f}%")
        for name, summary in ((name, found_summary(errors)) for name, errors in table.errors.items())
    ]
    psnr = ", ".join(f"{name} {np.mean(values):.1f} dB" for name, values in table.psnr.items())
    head = ("fill", "face found", "landmark error, of the eye distance")
    return f"{markdown_table(header, lines)}\n{markdown_table(head, found)}\nPSNR in the mask: {psnr}.\n"


def read_faces(
    folder: Path, semantics: Path, entries: Sequence[dict[str, Any]], editor: Editor
) -> list[Face]:
    faces = []
    for entry in entries:
        image = read_picture(folder, entry)
        labels = np.asarray(Image.open(semantics / Path(entry["file_name"]).with_suffix(".png").name))
        strokes, codes = sketch_strokes(pencil_sketch(image)), editor.codes([image])[0]
        faces.append(Face(image, labels, np.array(entry["landmarks5"]), strokes, codes))
    return faces


def main() -> None:
    parser = base_parser(__doc__, None)
    parser.set_defaults(count=18)
    parser.add_argument("--output", type=Path, default=Path("outputs/edit-quality"))
    add_restorer_option(parser)
    parser.add_argument("--semantics", type=Path, help="folder of the label maps")
    parser.add_argument(
        "--parser", help="folder or Hub id of a FaceParser (default: the model's, or the starter)"
    )
    args = parser.parse_args()
    semantics = args.semantics or args.folder.resolve().parent / "semantic" / args.folder.resolve().name
    if not semantics.is_dir():
        parser.error(f"there are no label maps at {semantics}; say --semantics")
    # Spread over the folder, as its order may mean something.
    entries = read_entries(args.folder)
    if min(args.count, len(entries)) <= EXEMPLARS:
        parser.error(f"more than {EXEMPLARS} pictures are needed, for as many exemplars")
    places = np.linspace(0, len(entries) - 1, min(args.count, len(entries))).round().astype(int)
    editor = Editor(args.model, args.parser, args.restore_with)
    faces = read_faces(args.folder, semantics, [entries[place] for place in places], editor)
    step = (len(faces) - 1) // EXEMPLARS

    tables = {"centre 25%": Table(), "region": Table()}
    sheets: dict[str, list[list[np.ndarray]]] = {name: [] for name in tables}
    regions: dict[str, int] = {}
    for number, face in enumerate(tqdm(faces, desc="photos")):
        others = [faces[(number + 1 + k * step) % len(faces)] for k in range(EXEMPLARS)]
        region, mask = region_mask(face.labels, number)
        regions[region] = regions.get(region, 0) + 1
        masks = {"centre 25%": np.asarray(centre_mask(face.image.shape[0]), np.uint8), "region": mask}
        for name, hole in masks.items():
            line = measure_photo(editor, tables[name], face, hole, others, number)
            if number < SHEET_ROWS:
                sheets[name].append(
                    [
                        labelled(line[0], name if name != "region" else region),
                        *(labelled(picture, title) for picture, title in zip(line[1:], SHEET, strict=True)),
                    ]
                )
            editor.cache.clear()

    seconds = editor.seconds / editor.fills
    counted = ", ".join(f"{count} {name}" for name, count in regions.items())
    fact = f"{len(faces)} photos; regions: {counted}; {editor.fills} fills, {seconds:.2f} seconds each."
    text = fact + "".join(f"\n\n## Mask: {name}\n\n{written(table)}" for name, table in tables.items())
    content = {
        "model": args.model,
        "restore_with": args.restore_with,
        "photos": len(faces),
        "regions": regions,
        "seconds_per_fill": seconds,
        "masks": {
            name: {
                "guidance": {f"{m} | {source}": row.summary() for (m, source), row in table.rows.items()},
                "detector": {key: found_summary(errors) for key, errors in table.errors.items()},
                "psnr_db": {key: float(np.mean(values)) for key, values in table.psnr.items()},
            }
            for name, table in tables.items()
        },
    }
    files = {args.output / f"sheet-{name.split()[0]}.png": lines for name, lines in sheets.items()}
    finish(text, content, args.json or args.output / "quality.json", files, args.output / "quality.md")


if __name__ == "__main__":
    main()
