"""What the thesis measures, written down from its text (T:n is a line of it), against what the tables do."""

from dataclasses import dataclass

import pytest

from facekit_cli.evaluation.inputs import FACE, HAIR
from facekit_cli.evaluation.measures import METRICS
from facekit_cli.evaluation.registry import ENTRIES
from facekit_cli.evaluation.tables import TABLES, Condition

# Captions of tables and figures that show numbers.
CAPTIONS = {
    **{"3.1": 709, "3.2": 726, "3.3": 750, "fig-3.8": 781, "3.4": 799, "3.5": 821},
    **{"fig-4.4": 976, "fig-4.5": 980, "4.1": 1018, "fig-4.8": 1034, "fig-4.10": 1053},
    **{"fig-4.11": 1059, "fig-4.12": 1063, "fig-4.13": 1067, "fig-4.14": 1071},
    **{"fig-4.15": 1075, "fig-4.16": 1079, "fig-4.17": 1083, "fig-4.18": 1087},
    **{"4.2": 1093, "4.3": 1099, "4.4": 1139, "4.5": 1151, "fig-4.23": 1183, "4.6": 1193},
    **{"fig-5.4": 1399, "5.1": 1407, "fig-5.6": 1445, "5.2": 1493, "5.3": 1507, "5.4": 1522, "5.5": 1534},
    **{
        "6.1": 1840,
        "6.2": 1866,
        "6.3": 1887,
        "6.4": 1908,
        "6.5": 1930,
        "fig-6.14": 1960,
        "6.6": 1970,
        "6.7": 2193,
    },
}

# Shares of holes in percent, the words of the thesis: T:1020 and T:1026 for chapter 4, T:1405 for chapter 5.
FIXED = "Fixed"
TO_60 = (FIXED, "10-20%", "20-30%", "30-40%", "40-50%", "50-60%")
TO_100 = (*TO_60, "60-70%", "70-80%", "80-90%", "90-100%")  # the columns of Table 5.1, T:1409


@dataclass(frozen=True)
class Thesis:
    """Columns of a table, what they are measured on, and how."""

    columns: str
    data: str
    holes: tuple[str, ...] = ()
    rows: str = ""
    runs: int = 1


SMALL = "CHASE Shell Skull Anime Fauvism Moongate Cat Dog Pokemon Art"  # T:992
FIRST, SECOND = "Shell Skull Anime Fauvism Moongate", "Cat Dog Art CelebA-HQ PSV"  # T:1059, T:1075
REAL = "LFW-Test CelebChild-Test WebPhoto-Test"  # T:713
FACES = "CelebA-HQ FFHQ"
SAID = {
    "3.1": Thesis("FID† U-IDS P-IDS FID NIQE PSNR SSIM", "CelebA-Test"),  # T:699
    "3.2": Thesis("FID NIQE", REAL),  # T:716
    "3.3": Thesis("FID NIQE", REAL),  # T:753
    "3.4": Thesis("DSR NME", "CelebA-Test"),  # T:795
    "3.5": Thesis("Accuracy", "CelebA-Test"),  # T:823
    "fig-4.4": Thesis("FID†", SMALL, TO_60),
    "fig-4.5": Thesis("LPIPS", SMALL, TO_60),
    "fig-4.8": Thesis("FID† LPIPS", "CelebA-HQ FFHQ PSV Places365", TO_60),
    "4.3": Thesis("FID† LPIPS", f"{FIRST} {SECOND}", TO_60),  # T:1101
    **{
        f"fig-4.{number}": Thesis("FID†", FIRST if number < 15 else SECOND, TO_60) for number in range(11, 19)
    },
    "4.5": Thesis("FID†", "CHASE Anime Dog Art CelebA-HQ PSV", ("50-60%",)),  # T:1153
    "4.6": Thesis("FID†", "CHASE Anime Dog Art", ("50-60%",)),  # T:1187
    "5.1": Thesis("FID†", FACES, TO_100),
    "fig-5.4": Thesis("FID† U-IDS P-IDS", FACES, TO_100),  # T:1387, T:1437
    "5.3": Thesis("FID† U-IDS P-IDS", FACES, ("free-form",), runs=5),  # T:1507
    "5.4": Thesis("FID† U-IDS P-IDS", FACES, ("free-form",), runs=5),  # T:1522
    "5.5": Thesis("IDD", "CelebA-HQ", TO_100),  # T:1536
    "fig-5.6": Thesis("FID†", "CelebA-HQ", TO_100),  # T:1457
    "6.1": Thesis("FID† U-IDS LPIPS", "CelebA-HQ", ("mix",), "Se+Te Se+Te+Ma Sk+Se+Te Sk+Se+Te+Ma"),  # T:1842
    "6.2": Thesis("FID† U-IDS LPIPS", FACES, ("mix",), "Sk+Se Sk+Se+Ma"),  # T:1869
    "6.4": Thesis("FID† U-IDS LPIPS", FACES, ("mix",), "Sk Sk+Co Sk+Ma"),  # T:1899
    "6.5": Thesis("FID† U-IDS LPIPS", FACES, ("mix",), "Se Se+Co Se+Ma"),  # T:1919
    "fig-6.14": Thesis("FID† U-IDS LPIPS", "FFHQ", TO_60, "Ex+Ma"),  # T:1960, T:1966
    "6.6": Thesis("FID† U-IDS LPIPS", "FFHQ", ("50-60%",), "Ma"),  # T:1968
    "6.7": Thesis("FID† LPIPS", "CelebA-HQ", ("mix",), "Ex+Ma"),  # T:2195
}


def test_every_caption_with_numbers_is_in_the_list() -> None:
    assert sorted(set(CAPTIONS) - set(ENTRIES)) == []
    pictures = set(TABLES) - set(CAPTIONS)  # of figures without numbers
    assert all(name.startswith("fig-") for name in pictures)
    assert set(SAID) == set(TABLES) - pictures - {"4.4", "5.2"}  # those two count networks


def said(metric: str) -> str:
    """A column as the thesis heads it, where † marks a FID to the undamaged pictures."""
    known = METRICS[metric]
    return known.title + ("†" if known.title == "FID" and not known.reference else "")


def hole_of(condition: Condition) -> str:
    """A condition in the thesis's words."""
    if condition.hole == "band":
        return f"{100 * condition.low:.0f}-{100 * condition.high:.0f}%"
    return FIXED if condition.hole == "centre" else condition.hole or ""


@pytest.mark.parametrize("name", SAID)
def test_a_table_measures_what_the_thesis_measures(name: str) -> None:
    table, thesis = TABLES[name], SAID[name]
    assert " ".join(map(said, table.metrics)) == thesis.columns
    assert " ".join(table.data) == thesis.data
    assert tuple(filter(None, map(hole_of, table.conditions))) == thesis.holes
    assert " ".join(table.modalities) == thesis.rows
    assert table.runs == thesis.runs
    restores = name.startswith("3.")
    assert table.task == ("restore" if restores else "edit" if thesis.rows else table.task)
    damaged = name in ("3.1", "3.4", "3.5")  # T:713; the others are real photos
    assert [condition.damage for condition in table.conditions] == [
        "thesis" if damaged else None for _ in table.conditions
    ]


def test_models_that_differ_in_one_number() -> None:
    shots = {
        name: table.sweep for name, table in TABLES.items() if table.sweep and table.sweep.name == "shots"
    }
    assert shots["4.3"].values == (5, 10, 30, 50) and TABLES["4.3"].mean  # T:1099
    figures = [shots[f"fig-4.{number}"].values for number in range(11, 19)]
    assert figures == [(5,), (10,), (30,), (50,)] * 2  # T:1059 to T:1087
    steps = TABLES["4.6"].sweep
    assert steps is not None and steps.values == (1, 3, 5, 7, 9)  # T:1187
    assert (steps.training, steps.call) == ("reasoning_steps", "num_inference_steps")  # T:1185
    assert len(shots) == 9 and not TABLES["4.6"].mean


def test_who_is_paired() -> None:
    paired = {name for name in SAID if TABLES[name].pairing is not None}
    assert paired == {"5.1", "fig-5.4", "5.3", "5.4", "5.5", "fig-5.6", "6.7", "fig-6.14"}
    similar = {name for name in SAID if TABLES[name].pairing == "pose"}
    assert similar == {"fig-5.6", "6.7"}  # T:1449, T:2191


def test_semantic_classes() -> None:
    """Table 6.2 gives the maps of skin and hair alone, T:1864; a hole of section 6.3.1 may be hair or face, T:1830."""
    assert TABLES["6.2"].classes == ("skin", "hair")
    assert all(table.classes is None for name, table in TABLES.items() if name != "6.2")
    assert HAIR not in FACE


def test_the_latent_warper_on_and_off() -> None:
    """Figure 6.14: "+Ex w/o warping" and "+Ex", no other modality, T:1960."""
    options = TABLES["fig-6.14"].options
    assert {(name, value) for _, name, value in options} == {("align_pose", True), ("align_pose", False)}
    assert all(not table.options for name, table in TABLES.items() if name != "fig-6.14")


def test_kinds_of_studies() -> None:
    """Ranks for Table 4.2 and Fig. 4.10, T:1095; one of two for Table 6.3, T:1894: the commands that the list names."""
    for name, kind in (("4.2", "ranking"), ("fig-4.10", "ranking"), ("6.3", "2afc")):
        entry = ENTRIES[name]
        assert f"--kind {kind}" in entry.made_by and entry.made_by.startswith("facekit study ")
