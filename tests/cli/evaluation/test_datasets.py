"""The list of the thesis's data sets, on the page and in the terminal."""

import json
from pathlib import Path

import pytest

from facekit_cli.evaluation.datasets import DATASETS, datasets_table
from facekit_cli.evaluation.tables import TABLES
from facekit_cli.main import main

PAGE = Path(__file__).resolve().parents[3] / "docs" / "datasets.md"
# Thesis Table 4.1, and section 3.3.1.
SIZES = {
    "CHASE": (18, 10),
    "Shell": (48, 16),
    "Skull": (72, 25),
    "Anime": (90, 30),
    "Fauvism": (94, 30),
    "Moongate": (106, 30),
    "Cat": (120, 40),
    "Dog": (309, 80),
    "Pokemon": (633, 200),
    "Art": (750, 250),
    "CelebA-HQ": (28_000, 2_000),
    "FFHQ": (60_000, 10_000),
    "PSV": (14_900, 100),
    "Places365": (1_800_000, 36_500),
    "CelebA-Test": (0, 3_000),
    "LFW-Test": (0, 1_711),
    "CelebChild-Test": (0, 180),
    "WebPhoto-Test": (0, 407),
}


def test_the_page_has_the_list() -> None:
    assert datasets_table() in PAGE.read_text()


def test_sizes_are_those_of_the_thesis() -> None:
    listed = {data.name: (data.train, data.test) for data in DATASETS}
    assert SIZES.items() <= listed.items() and len(listed) == len(DATASETS)
    assert {name for table in TABLES.values() for name in table.data} <= set(SIZES)


def test_the_tables_say_where_it_is_used() -> None:
    used = {data.name: data.used_in for data in DATASETS}
    assert used["Dog"] == "Fig. 4.4, 4.5, 4.15 to 4.18; Tables 4.3, 4.5, 4.6; pictures in Fig. 4.6, 4.7"
    assert used["LFW-Test"] == "Tables 3.2, 3.3"
    assert all(used.values())


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--datasets", "json"]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == [
        data.name for data in DATASETS
    ]
    assert main(["evaluate", "--datasets"]) == 0
    printed = capsys.readouterr().out
    assert "CHASE: retinas of children\n    18 to train, 10 to test" in printed and "LFW-Test" in printed
    assert main(["evaluate", "4.1"]) == 2
    assert "--datasets" in capsys.readouterr().err
