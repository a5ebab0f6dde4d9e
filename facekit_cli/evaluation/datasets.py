"""The data sets of the thesis (Table 4.1, sections 3.3.1, 5.3.1 and 6.3.1): sizes, splits, where they are, their terms.

`facekit evaluate --datasets` prints the list, `--datasets json` as JSON; docs/datasets.md has it as a page.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from facekit_cli.evaluation.tables import TABLES


@dataclass(frozen=True)
class DataSet:
    """One of them.

    Attributes:
        name: as the thesis has it.
        shows: what is on its pictures.
        train, test: how many pictures the thesis trains on and measures with; 0: none.
        split: how the thesis divides it.
        also: what the thesis takes it for beyond the tables of `TABLES`, whose `data` has its name; "": nothing.
        source: where its publishers offer it, or who they are.
        terms: under which terms, in short; those of the source are what counts.
        layout: how to lay out the folder for `--data`.
    """

    name: str
    shows: str
    train: int
    test: int
    split: str
    also: str
    source: str
    terms: str
    layout: str

    @property
    def used_in(self) -> str:
        """Where the thesis measures with it."""
        names = [table.name for table in TABLES.values() if self.name in table.data]
        figures = [name.removeprefix("fig-") for name in names if name.startswith("fig-")]
        tables = [name for name in names if not name.startswith("fig-")]
        parts = [f"Fig. {_list_numbers(figures)}"] if figures else []
        parts += [f"{'Table' if len(tables) == 1 else 'Tables'} {_list_numbers(tables)}"] if tables else []
        return "; ".join([*parts, *([self.also] if self.also else [])])


def _list_numbers(numbers: Sequence[str]) -> str:
    """Such as "4.4, 4.5, 4.11 to 4.14": three or more in a row are named by the first and the last."""
    rows: list[list[str]] = []
    for number in numbers:
        chapter, place = number.split(".")
        if rows and rows[-1][-1] == f"{chapter}.{int(place) - 1}":
            rows[-1].append(number)
        else:
            rows.append([number])
    return ", ".join(f"{row[0]} to {row[-1]}" if len(row) > 2 else ", ".join(row) for row in rows)


RANDOM = "random; the thesis publishes no lists"
OWN = "the data set's own"
TEST_ONLY = "for testing only"
FOLDER = "NAME/train and NAME/val, pictures directly inside"
SEVERAL = "NAME/val, taken as they are: --data NAME=NAME/val for each of the three"
FEW_SHOT = "https://github.com/odegeasslbc/FastGAN-pytorch (Liu et al., ICLR 2021)"
ANIMAL_FACES = (
    "the AnimalFace pictures of Si and Zhu (TPAMI 2012), which the few-shot sets of Liu et al. contain"
)
NOT_SAID = "none is given with the pictures: ask the publishers"
CELEBA = "non-commercial research only, by the agreement of CelebA (https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html)"
GFPGAN = "https://xinntao.github.io/projects/gfpgan (Wang et al., CVPR 2021)"
INPAINT = "pictures in Fig. 4.6, 4.7"

DATASETS = (
    DataSet(
        "CHASE",
        "retinas of children",
        18,
        10,
        RANDOM,
        INPAINT,
        "CHASE_DB1, Kingston University (Fraz et al., 2012)",
        "as the university's research repository says there",
        "train and val; leave out the segmentations that lie beside the pictures",
    ),
    DataSet("Shell", "sea shells", 48, 16, RANDOM, INPAINT, FEW_SHOT, NOT_SAID, FOLDER),
    DataSet("Skull", "skulls", 72, 25, RANDOM, INPAINT, FEW_SHOT, NOT_SAID, FOLDER),
    DataSet("Anime", "faces of drawn figures", 90, 30, RANDOM, INPAINT, FEW_SHOT, NOT_SAID, FOLDER),
    DataSet("Fauvism", "still lifes in oil", 94, 30, RANDOM, INPAINT, FEW_SHOT, NOT_SAID, FOLDER),
    DataSet("Moongate", "gates in garden walls", 106, 30, RANDOM, INPAINT, FEW_SHOT, NOT_SAID, FOLDER),
    DataSet("Cat", "faces of cats", 120, 40, RANDOM, INPAINT, ANIMAL_FACES, NOT_SAID, FOLDER),
    DataSet("Dog", "faces of dogs", 309, 80, RANDOM, INPAINT, ANIMAL_FACES, NOT_SAID, FOLDER),
    DataSet(
        "Pokemon",
        "drawn figures",
        633,
        200,
        RANDOM,
        INPAINT,
        f"pokemon.com; a copy: {FEW_SHOT}",
        "the figures are the Pokemon Company's; no licence is given with the copy",
        FOLDER,
    ),
    DataSet(
        "Art",
        "paintings",
        750,
        250,
        RANDOM,
        INPAINT,
        f"wikiart.org; a copy: {FEW_SHOT}",
        "each painting's own; no licence is given with the copy",
        FOLDER,
    ),
    DataSet(
        "CelebA-HQ",
        "faces of well-known people, 1024x1024",
        28_000,
        2_000,
        RANDOM,
        "",
        "https://github.com/switchablenorms/CelebAMask-HQ (pictures, label maps, pose angles); without maps: "
        "https://github.com/tkarras/progressive_growing_of_gans",
        CELEBA,
        "train and val; label maps as semantic/val/NAME.png, captions in val/metadata.jsonl; "
        "CelebAMask-HQ-pose-anno.txt goes to --poses",
    ),
    DataSet(
        "FFHQ",
        "faces from Flickr, 1024x1024",
        60_000,
        10_000,
        f"{RANDOM}; restoration trains on all 70,000",
        "the reference of FID in Table 3.1 and 3.2",
        "https://github.com/NVlabs/ffhq-dataset",
        "CC BY-NC-SA 4.0; each picture besides has the licence that its metadata names",
        "train and val; or all as FFHQ for --reference",
    ),
    DataSet(
        "PSV",
        "streets of Paris",
        14_900,
        100,
        OWN,
        "the user study, Table 4.2",
        "on request from the authors of Context Encoders (https://github.com/pathak22/context-encoder); collected by "
        "Doersch et al., SIGGRAPH 2012",
        "as the authors say when they give it",
        "paris_train_original as train, paris_eval_gt as val",
    ),
    DataSet(
        "Places365",
        "scenes of 365 kinds",
        1_800_000,
        36_500,
        f"{OWN} (Places365-Standard)",
        "",
        "http://places2.csail.mit.edu/download.html (Zhou et al., TPAMI 2018)",
        "research and education, non-commercial; the pictures belong to their authors",
        "the 256x256 training pictures as train, the validation pictures as val",
    ),
    DataSet(
        "CelebA-Test",
        "faces of CelebA-HQ, damaged by the thesis's degradation",
        0,
        3_000,
        TEST_ONLY,
        "Fig. 3.8",
        f"{GFPGAN}; or damage CelebA-HQ pictures here, which Table 3.1 does by itself",
        CELEBA,
        "the undamaged pictures as NAME/val: the command damages them",
    ),
    DataSet(
        "LFW-Test",
        "the first picture of each person of LFW's validation set",
        0,
        1_711,
        TEST_ONLY,
        "",
        f"{GFPGAN}; LFW itself: http://vis-www.cs.umass.edu/lfw",
        "research; the pictures are from news photographs",
        SEVERAL,
    ),
    DataSet(
        "CelebChild-Test",
        "childhood photos of well-known people",
        0,
        180,
        TEST_ONLY,
        "",
        GFPGAN,
        "academic use, as the page says",
        SEVERAL,
    ),
    DataSet(
        "WebPhoto-Test",
        "old photos from the web",
        0,
        407,
        TEST_ONLY,
        "",
        GFPGAN,
        "academic use, as the page says",
        SEVERAL,
    ),
    DataSet(
        "Irregular masks",
        "templates of holes, 512x512, 2,000 of each ten percent up to 60%",
        0,
        12_000,
        "its test set; one template for each picture",
        "holes of 10% to 60% in chapters 4 to 6",
        "https://nv-adlr.github.io/publication/partialconv-inpainting (Liu et al., ECCV 2018)",
        "as the page says: for research",
        "all in one folder: --masks FOLDER sorts them by their share",
    ),
)


def list_datasets(form: str = "text") -> str:
    """The list for the terminal, "text" or "json"."""
    if form == "json":
        return json.dumps([_as_json(data) for data in DATASETS], indent=2)
    lines = []
    for data in DATASETS:
        counts = f"{data.train:,} to train, {data.test:,} to test" if data.train else f"{data.test:,} to test"
        lines += [
            f"{data.name}: {data.shows}",
            f"    {counts} ({data.split}); {data.used_in}",
            f"    from    {data.source}",
            f"    terms   {data.terms}",
            f"    layout  {data.layout}",
        ]
    return "\n".join(lines)


def _as_json(data: DataSet) -> dict[str, str | int]:
    said = asdict(data) | {"used_in": data.used_in}
    del said["also"]
    return said


def datasets_table() -> str:
    """The list as a table in Markdown, for docs/datasets.md."""
    lines = [
        "| data set | train | test | split | used in | from | terms | layout |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for data in DATASETS:
        train = f"{data.train:,}" if data.train else ""
        lines.append(
            f"| {data.name}: {data.shows} | {train} | {data.test:,} | {data.split} | {data.used_in} | {data.source} | "
            f"{data.terms} | {data.layout} |"
        )
    return "\n".join(lines)
