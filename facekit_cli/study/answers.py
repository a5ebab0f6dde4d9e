"""Answers on disk: one JSONL file a participant, a line for each answer, written at once."""

import json
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from facekit_cli.errors import UsageError
from facekit_cli.results import write_json
from facekit_cli.study.questions import Question, Study

NAME = re.compile(r"[\w-]{1,40}", re.ASCII)


class Answers:
    """The answers of a study in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def bind(self, study: Study) -> None:
        """Remember the study; answers belong to the questions of one. Raises UsageError for another one's folder."""
        record = {
            "kind": study.kind,
            "question": study.question,
            "methods": list(study.methods),
            "pictures": study.pictures,
            "count": study.count,
            "seed": study.seed,
            "given": [given.caption for given in study.given],
        }
        file = self.folder / "study.json"
        if not file.is_file():
            write_json(record, file)
            return
        before = json.loads(file.read_text())
        for key, value in record.items():
            if key in before and before[key] != value:  # older records say nothing of what was given
                raise UsageError(
                    f"{self.folder} holds answers to a study with other {key}; name another --answers"
                )

    def of(self, participant: str) -> list[dict[str, Any]]:
        """A participant's answers so far. ValueError for a name that is none."""
        return read_answers(self._file(participant))

    def add(self, participant: str, study: Study, number: int, order: Sequence[str]) -> None:
        """Store an answer: the methods from best to worst (but in a ranking: the chosen one, then the others).

        Raises:
            ValueError: a name that is none, a question that is not there or answered, other methods than it shows.
        """
        file = self._file(participant)
        questions, done = study.questions_for(participant), {a["number"] for a in read_answers(file)}
        if not 0 <= number < len(questions):
            raise ValueError(f"there is no question {number}; there are {len(questions)}")
        if number in done:
            raise ValueError(f"question {number} is answered")
        question: Question = questions[number]
        if sorted(order) != sorted(question.methods):
            raise ValueError(f"the answer must order {', '.join(question.methods)}, not {', '.join(order)}")
        line = {
            "number": number,
            "picture": question.picture,
            "shown": list(question.methods),
            "order": list(order),
            "kind": study.kind,
            "time": round(time.time(), 1),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(file, "a+b") as stream:
            if stream.tell() and not _ends_with_line(stream):
                stream.write(b"\n")  # after a kill in the middle of a line
            stream.write((json.dumps(line) + "\n").encode())
            stream.flush()
            os.fsync(stream.fileno())

    def all(self) -> dict[str, list[dict[str, Any]]]:
        """Participant -> answers."""
        files = sorted(self.folder.glob("*.jsonl")) if self.folder.is_dir() else []
        return {file.stem: read_answers(file) for file in files}

    def _file(self, participant: str) -> Path:
        if not NAME.fullmatch(participant):
            raise ValueError("a participant's name has 1 to 40 letters, digits, - or _")
        return self.folder / f"{participant}.jsonl"


def read_answers(file: Path) -> list[dict[str, Any]]:
    """The lines of a file that are complete; the first answer to a question counts."""
    answers: dict[int, dict[str, Any]] = {}
    for line in file.read_text().splitlines() if file.is_file() else []:
        try:
            answer = json.loads(line)
            answers.setdefault(answer["number"], answer)
        except (json.JSONDecodeError, KeyError, TypeError):
            continue  # half a line of a killed process
    return list(answers.values())


def _ends_with_line(stream: Any) -> bool:
    stream.seek(-1, os.SEEK_END)
    return stream.read(1) == b"\n"
