"""`facekit study`: what participants are shown, where answers go, and what they amount to."""

import json
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from facekit_cli.errors import UsageError
from facekit_cli.main import main
from facekit_cli.study.answers import Answers
from facekit_cli.study.questions import open_study
from facekit_cli.study.server import make_server
from facekit_cli.study.summary import bootstrap_interval, mean_ranks, preferences, summarise, wilson_interval

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
    server = make_server(open_study(folders[:2], inputs=tmp_path / "c"), Answers(tmp_path / "answers"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    connection = HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    yield connection
    connection.close()
    server.shutdown()
    thread.join()
    server.server_close()


def ask(
    connection: HTTPConnection, path: str, body: Any = None, kind: str = "application/json"
) -> tuple[int, bytes]:
    if body is None:
        connection.request("GET", path)
    else:
        connection.request("POST", path, json.dumps(body), {"Content-Type": kind})
    reply = connection.getresponse()
    return reply.status, reply.read()


def test_questions_are_shuffled_and_balanced(folders: list[str]) -> None:
    study = open_study(folders)
    questions = study.questions_for("anna")
    assert questions == study.questions_for("anna") != study.questions_for("ben")
    assert len(questions) == len(set(questions)) == 12  # four pictures, three pairs
    lefts = {q.methods[0] for name in ("anna", "ben", "cleo") for q in study.questions_for(name)}
    assert lefts == set(COLORS)
    pairs = [frozenset(q.methods) for q in open_study(folders, count=6).questions_for("anna")]
    assert sorted(map(pairs.count, set(pairs))) == [2, 2, 2]
    ranking = open_study(folders, "ranking").questions_for("anna")
    assert len(ranking) == 4 and all(sorted(q.methods) == ["a", "b", "c"] for q in ranking)


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
        assert Image.open(BytesIO(ask(served, f"/{question['given']}")[1])).getpixel((0, 0)) == (0, 0, 255)
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
    for path in ("/question", "/question?participant=a/b", "/picture?participant=anna&number=0&place=7"):
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
