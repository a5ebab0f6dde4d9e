"""`facekit study`: what participants are shown, where answers go, and what they amount to."""

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from facekit.conditions.semantics import PALETTE, UNLABELLED_COLOR
from facekit_cli.errors import UsageError
from facekit_cli.main import main
from facekit_cli.study.answers import Answers
from facekit_cli.study.chart import draw_shares
from facekit_cli.study.given import open_picture
from facekit_cli.study.questions import open_study
from facekit_cli.study.summary import (
    bootstrap_interval,
    mean_ranks,
    preferences,
    summarise,
    vote_shares,
    wilson_interval,
)
from tests.helpers.serving import ask, serve

COLORS = {"a": "red", "b": "lime", "c": "blue"}


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    """Three methods, each with its colour in four pictures."""
    for name, color in COLORS.items():
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.new("RGB", (8, 8), color).save(tmp_path / name / f"{number}.png")
    return [f"{name}={tmp_path / name}" for name in COLORS]


@pytest.fixture
def served(folders: list[str], tmp_path: Path) -> Iterator[HTTPConnection]:
    study = open_study(folders[:2], inputs=[f"given={tmp_path / 'c'}"])
    with serve(study, Answers(tmp_path / "answers")) as port:
        connection = HTTPConnection("127.0.0.1", port, timeout=20)
        yield connection
        connection.close()


def test_questions_are_shuffled_and_balanced(folders: list[str]) -> None:
    study = open_study(folders)
    questions = study.questions_for("anna")
    assert questions == study.questions_for("anna") != study.questions_for("ben")
    assert len(questions) == len(set(questions)) == 12  # four pictures, three pairs
    lefts = {q.methods[0] for name in ("anna", "ben", "cleo") for q in study.questions_for(name)}
    assert lefts == set(COLORS)
    pairs = [frozenset(q.methods) for q in open_study(folders, count=6).questions_for("anna")]
    assert sorted(map(pairs.count, set(pairs))) == [2, 2, 2]
    for kind in ("ranking", "best"):
        asked = open_study(folders, kind).questions_for("anna")
        assert len(asked) == 4 and all(sorted(q.methods) == ["a", "b", "c"] for q in asked)


def test_a_participant_answers_and_goes_on(served: HTTPConnection, tmp_path: Path) -> None:
    assert b"Start" in ask(served, "/")[1]
    for expected in range(4):
        status, content = ask(served, "/question?participant=anna")
        question = json.loads(content)
        assert status == 200 and question["number"] == expected and question["total"] == 4
        assert "a=" not in content.decode() and str(tmp_path) not in content.decode()
        colors = []
        for address in question["pictures"]:
            image = Image.open(BytesIO(ask(served, f"/{address}")[1]))
            assert not image.info
            colors.append(image.getpixel((0, 0)))
        assert [(one["caption"], one["words"]) for one in question["given"]] == [("given", None)]
        given = Image.open(BytesIO(ask(served, f"/{question['given'][0]['picture']}")[1]))
        assert given.getpixel((0, 0)) == (0, 0, 255)
        red = colors.index((255, 0, 0))
        body = {"participant": "anna", "number": expected, "order": [red, 1 - red]}
        assert ask(served, "/answer", body)[0] == 200
    assert json.loads(ask(served, "/question?participant=anna")[1])["done"]
    assert json.loads(ask(served, "/question?participant=ben")[1])["number"] == 0
    lines = [json.loads(line) for line in (tmp_path / "answers/anna.jsonl").read_text().splitlines()]
    assert [line["order"] for line in lines] == [["a", "b"]] * 4


@pytest.mark.parametrize(
    "body",
    [
        {"participant": "../x", "number": 0, "order": [0, 1]},
        {"participant": "anna", "number": 9, "order": [0, 1]},
        {"participant": "anna", "number": 0, "order": [0, 0]},
        {"participant": "anna", "number": 0, "order": "ab"},
        {"participant": "anna", "number": 0, "order": [True, False]},
        ["anna"],
    ],
)
def test_answers_that_are_refused(served: HTTPConnection, tmp_path: Path, body: Any) -> None:
    status, content = ask(served, "/answer", body)
    assert status == 400 and json.loads(content)["error"]
    assert not (tmp_path / "answers").exists()


def test_addresses_that_are_refused(served: HTTPConnection) -> None:
    assert ask(served, "/etc/passwd")[0] == 404
    picture = "/picture?participant=anna&number=0&place="
    paths = [
        "/question",
        "/question?participant=a/b",
        f"{picture}7",
        f"{picture}given",
        f"{picture}given&part=1",
    ]
    for path in paths:
        assert ask(served, path)[0] == 400
    answer = {"participant": "anna", "number": 0, "order": [0, 1]}
    assert ask(served, "/answer", answer, kind="text/plain")[0] == 400


def test_answers_survive_a_kill(folders: list[str], tmp_path: Path) -> None:
    study, answers = open_study(folders[:2]), Answers(tmp_path / "answers")
    answers.add("anna", study, 0, ["a", "b"])
    with open(tmp_path / "answers/anna.jsonl", "a") as file:
        file.write('{"number": 1, "pic')
    answers.add("anna", study, 1, ["b", "a"])
    assert [answer["number"] for answer in answers.of("anna")] == [0, 1]
    with pytest.raises(ValueError, match="question 1 is answered"):
        answers.add("anna", study, 1, ["a", "b"])
    answers.bind(study)
    answers.bind(study)
    with pytest.raises(UsageError, match="other methods"):
        answers.bind(open_study(folders[1:]))
    with pytest.raises(UsageError, match="other given"):
        answers.bind(open_study(folders[:2], inputs=[folders[2]]))
    record = json.loads((tmp_path / "answers/study.json").read_text())
    record.pop("given")  # as it was before there was more than one
    (tmp_path / "answers/study.json").write_text(json.dumps(record))
    answers.bind(open_study(folders[:2], inputs=[folders[2]]))


def test_intervals() -> None:
    low, high = wilson_interval(50, 100)  # the textbook's 0.404 to 0.596
    assert (low, high) == (pytest.approx(0.4038, abs=1e-4), pytest.approx(0.5962, abs=1e-4))
    assert wilson_interval(0, 10)[0] == pytest.approx(0, abs=1e-9)
    assert wilson_interval(10, 10)[1] == pytest.approx(1)
    with pytest.raises(ValueError, match="0 of 0 votes"):
        wilson_interval(0, 0)
    assert bootstrap_interval([[2.0], [2.0, 2.0]]) == (2.0, 2.0)
    low, high = bootstrap_interval([[1.0]] * 50 + [[3.0]] * 50)
    assert 1.5 < low < 2 < high < 2.5


def test_a_summary(folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    votes = [{"kind": "2afc", "order": order} for order in (["a", "b"], ["a", "b"], ["b", "a"], ["c", "a"])]
    assert preferences(votes) == {("a", "b"): (2, 3), ("a", "c"): (0, 1)}
    ranked = {
        "anna": [{"kind": "ranking", "order": ["b", "a"]}],
        "ben": [{"kind": "ranking", "order": ["b", "a"]}],
    }
    assert mean_ranks(ranked) == {"b": (1.0, 1.0, 1.0), "a": (2.0, 2.0, 2.0)}
    assert "| b | 1.00 | 1.00 to 1.00 |" in summarise(ranked)

    arguments = ["study", "--summary", "--answers", str(tmp_path / "answers")]
    assert main(arguments) == 2 and "no answers yet" in capsys.readouterr().err
    study = open_study(folders[:2])
    for number in range(4):
        Answers(tmp_path / "answers").add("anna", study, number, ["a", "b"])
    assert main(arguments) == 0
    assert "| a over b | 100.00% | 51.01% to 100.00% | 4 |" in capsys.readouterr().out


def test_studies_that_are_refused(folders: list[str], tmp_path: Path) -> None:
    for methods in (folders[:1], [folders[0], folders[0]], [folders[0], "x=nowhere"]):
        assert main(["study", *methods, "--answers", str(tmp_path / "answers")]) == 2
    (tmp_path / "d").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "d" / "other.png")
    with pytest.raises(UsageError, match="no file name is in all"):
        open_study([folders[0], str(tmp_path / "d")])
    assert not (tmp_path / "answers").exists()


def test_shares_of_first_ranks_and_of_the_best() -> None:
    """Fig. 4.10 and section 5.3.2 by hand: wins over votes, the largest share first."""
    orders = [["c", "a", "b"]] * 5 + [["a", "b", "c"]] * 3 + [["b", "c", "a"]] * 2
    ranked = [{"kind": "ranking", "order": order} for order in orders]
    best = [{"kind": "best", "order": order} for order in orders[:8]]
    shares = vote_shares(ranked + best)
    assert [(s.label, s.wins, s.votes) for s in shares["ranking"]] == [
        ("c", 5, 10),
        ("a", 3, 10),
        ("b", 2, 10),
    ]
    assert [(s.label, s.share) for s in shares["best"]] == [("c", 0.625), ("a", 0.375), ("b", 0.0)]
    assert (shares["ranking"][1].low, shares["ranking"][1].high) == wilson_interval(3, 10)
    assert shares["2afc"] == []
    text = summarise({"anna": ranked, "ben": best})
    assert "18 answers of 2 participants." in text
    assert "| method | ranked first | 95% interval (Wilson) | votes |" in text
    assert "| a | 30.00% | 10.78% to 60.32% | 10 |" in text  # Wilson's interval of 3 of 10
    assert "| method | chosen as best |" in text and "| b | 0.00% | 0.00% to 32.44% | 8 |" in text
    assert "| c | 1.80 |" in text  # ranks 1, 3 and 2, five, three and two times


def test_a_chart_has_bars_as_long_as_the_shares(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    votes = [{"kind": "best", "order": ["a", "b"]}] * 3 + [{"kind": "best", "order": ["b", "a"]}]
    chart = draw_shares(vote_shares(votes))
    rows = [[chart.getpixel((x, y)) for x in range(chart.width)] for y in range(chart.height)]
    lengths = {row.count((70, 120, 190)) for row in rows}
    assert {361, 121} <= lengths  # three and one quarter of 480, both ends counted
    answers = tmp_path / "answers"
    answers.mkdir()
    (answers / "anna.jsonl").write_text(
        "".join(json.dumps({"number": n} | v) + "\n" for n, v in enumerate(votes))
    )
    command = ["study", "--summary", "--answers", str(answers), "--chart"]
    assert main([*command, str(tmp_path / "bars.png")]) == 0
    assert Image.open(tmp_path / "bars.png").size == chart.size
    assert "written" in capsys.readouterr().out
    assert main([*command, str(tmp_path / "bars.png")]) == 2
    assert "bars.png exists already; say --overwrite" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "bars.png"), "--overwrite"]) == 0
    assert main([*command, str(tmp_path / "bars.jpg")]) == 2 and ".png or .tif" in capsys.readouterr().err
    assert main(["study", "--answers", str(answers), "--chart", str(tmp_path / "b.png")]) == 2
    with pytest.raises(ValueError, match="no answers yet"):
        draw_shares(vote_shares([]))


def test_answers_of_version_0_1_are_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """A line and a record as they were written before the kind "best"."""
    line = {
        "number": 0,
        "picture": "0",
        "shown": ["b", "a"],
        "order": ["a", "b"],
        "kind": "ranking",
        "time": 1.0,
    }
    (tmp_path / "anna.jsonl").write_text(json.dumps(line) + "\n")
    assert main(["study", "--summary", "--answers", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "| a | 1.00 | 1.00 to 1.00 |" in said and "| a | 100.00% | 20.65% to 100.00% | 1 |" in said


@pytest.fixture
def given(tmp_path: Path) -> list[str]:
    """A photo, a label map and words for the four pictures; the words of one would be HTML."""
    for kind in ("photo", "map", "words"):
        (tmp_path / "given" / kind).mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (8, 8), "white").save(tmp_path / "given/photo" / f"{number}.png")
        labels = np.full((8, 8), 17, np.uint8)
        labels[0] = 255
        Image.fromarray(labels).save(tmp_path / "given/map" / f"{number}.png")
        (tmp_path / "given/words" / f"{number}.txt").write_text("<img src=x onerror=alert(1)> & co\n")
    return [f"{kind}={tmp_path / 'given' / kind}" for kind in ("photo", "map", "words")]


def test_several_things_are_given(folders: list[str], given: list[str]) -> None:
    study = open_study(folders, "best", inputs=given)
    photo, labels, words = study.given
    assert not photo.maps and labels.maps
    assert words.words["2"] == "<img src=x onerror=alert(1)> & co" and not words.files
    painted = open_picture(labels.files["0"], labels.maps)
    assert painted.getpixel((0, 4)) == PALETTE[17] and painted.getpixel((0, 0)) == UNLABELLED_COLOR
    (Path(given[2].partition("=")[2]) / "3.txt").unlink()
    assert "3" not in open_study(folders, inputs=given).given[2]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.jsonl", '{"file_name": "0.png", "caption": "one"}\n{"file_name": "1.jpg", "label": "two"}\n'),
        (
            "c.json",
            '[{"file_name": "x/0.png", "caption": "one"}, {"file_name": "1", "caption": "", "text": "two"}]',
        ),
        ("c.json", '{"0.png": "one", "1": "two", "2": 3}'),
        ("c.csv", "file_name,caption\n0.png,one\n1.png,two\n"),
    ],
)
def test_captions_in_tables(folders: list[str], tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert open_study(folders, inputs=[str(tmp_path / name)]).given[0].words == {"0": "one", "1": "two"}


def test_inputs_that_are_refused(folders: list[str], given: list[str], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "other" / "9.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "bare.csv").write_text("name,caption\n0,one\n")
    (tmp_path / "latin.csv").write_bytes(b"file_name,caption\n0,\xe9\n")
    cases = [
        ([str(tmp_path / "none")], "is no folder"),
        ([str(tmp_path / "other")], "has the name of a picture, 0 for example"),
        ([str(tmp_path / "empty")], "holds no pictures"),
        ([str(tmp_path / "*" / "none")], "no folder fits"),
        ([str(tmp_path / "notes.md")], "neither a folder nor a table"),
        ([str(tmp_path / "broken.json")], "cannot be read"),
        ([str(tmp_path / "bare.csv")], "no entries with file_name"),
        ([str(tmp_path / "latin.csv")], "no text in UTF-8"),
        ([given[0], given[0]], "two --inputs are called photo"),
    ]
    for inputs, message in cases:
        with pytest.raises(UsageError, match=message):
            open_study(folders, inputs=inputs)
    command = ["study", *folders, "--answers", str(tmp_path / "answers"), "--inputs", str(tmp_path / "none")]
    assert main(command) == 2 and not (tmp_path / "answers").exists()


@pytest.fixture
def page_address(folders: list[str], given: list[str], tmp_path: Path) -> Iterator[str]:
    study = open_study(folders, "ranking", "Which is <b>best</b>?", given)
    with serve(study, Answers(tmp_path / "answers")) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1440, 900)], ids=["phone", "desk"])
def test_the_page_in_a_browser(
    browser: Any, page_address: str, tmp_path: Path, width: int, height: int
) -> None:
    """What is given is shown as text and pictures, nothing is wider than the screen, keys answer."""
    page = browser.new_page(viewport={"width": width, "height": height})
    dialogs: list[Any] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog), dialog.dismiss()))
    page.goto(page_address)
    page.get_by_label("Your name or number").fill("anna")
    page.keyboard.press("Enter")
    page.wait_for_selector("#pictures button:enabled")
    assert page.locator("h1").inner_text() == "Which is <b>best</b>?"
    assert page.locator("blockquote").inner_text() == "<img src=x onerror=alert(1)> & co"
    assert page.locator("figcaption").all_inner_texts() == ["photo", "map", "words"]
    assert page.locator("#given img").count() == 2 and not dialogs
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    places = [box.bounding_box() for box in page.locator("#pictures button").all()]
    columns = {round(place["x"]) for place in places if place is not None}
    assert len(columns) == (2 if width < 500 else 3)  # side by side, on a phone too
    page.keyboard.press("2")
    assert page.get_by_role("button", pressed=True).all_inner_texts() == ["place 1"]
    page.keyboard.press("2")  # once more: start over
    assert page.get_by_role("button", pressed=True).count() == 0
    page.keyboard.press("3")
    page.keyboard.press("Tab")  # from the question to the first picture
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "picture 1"
    page.keyboard.press("Enter")
    page.wait_for_function("document.getElementById('progress').textContent === '2 of 4'")
    line = json.loads((tmp_path / "answers/anna.jsonl").read_text())
    assert line["order"] == [line["shown"][2], line["shown"][0], line["shown"][1]]
    page.close()
