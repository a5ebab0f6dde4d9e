"""The study's page on this computer: the standard library's HTTP server, one page, three addresses.

The page never learns which method a picture is of: it asks for pictures by question and place.
"""

import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from io import BytesIO
from threading import Lock
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image

from facekit_cli.study.answers import Answers
from facekit_cli.study.given import open_picture
from facekit_cli.study.questions import Question, Study

LARGEST_BODY = 10_000
LARGEST_SIDE = 1024


def make_server(
    study: Study, answers: Answers, host: str = "127.0.0.1", port: int = 0
) -> ThreadingHTTPServer:
    """A server that is not running yet; `server_port` says where. OSError when the port is taken."""
    lock = Lock()

    class Handler(_Handler):
        pass

    Handler.study, Handler.answers, Handler.lock = study, answers, lock
    return ThreadingHTTPServer((host, port), Handler)


class _Handler(BaseHTTPRequestHandler):
    study: Study
    answers: Answers
    lock: Lock

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        said = {key: values[0] for key, values in parse_qs(address.query).items()}
        try:
            if address.path == "/":
                page = files("facekit_cli.study").joinpath("page.html").read_bytes()
                self._send(page, "text/html; charset=utf-8")
            elif address.path == "/question":
                self._send_json(self._question(said.get("participant", "")))
            elif address.path == "/picture":
                self._send(self._picture(said), "image/png")
            else:
                self._send_json({"error": "there is no such page"}, HTTPStatus.NOT_FOUND)
        except (ValueError, OSError) as error:
            self._send_json({"error": str(error)}, HTTPStatus.BAD_REQUEST)

    def do_POST(self) -> None:
        try:
            if urlsplit(self.path).path != "/answer":
                self._send_json({"error": "there is no such page"}, HTTPStatus.NOT_FOUND)
                return
            # Another site's page can send forms here, but not JSON.
            if self.headers.get_content_type() != "application/json":
                raise ValueError("an answer is sent as application/json")
            length = int(self.headers.get("Content-Length") or 0)
            if not 0 < length <= LARGEST_BODY:
                raise ValueError(f"an answer has 1 to {LARGEST_BODY} bytes, not {length}")
            self._answer(json.loads(self.rfile.read(length)))
            self._send_json({"stored": True})
        except (ValueError, OSError) as error:
            self._send_json({"error": str(error)}, HTTPStatus.BAD_REQUEST)

    def _question(self, participant: str) -> dict[str, Any]:
        done = {answer["number"] for answer in self.answers.of(participant)}
        questions = self.study.questions_for(participant)
        number = next((n for n in range(len(questions)) if n not in done), None)
        if number is None:
            return {"done": True, "total": len(questions)}
        address = f"picture?participant={participant}&number={number}&place="
        question = questions[number]
        return {
            "done": False,
            "number": number,
            "total": len(questions),
            "kind": self.study.kind,
            "question": self.study.question,
            "pictures": [f"{address}{place}" for place in range(len(question.methods))],
            "given": [
                {"caption": given.caption, "words": given.words.get(question.picture), "picture": source}
                for part, given in enumerate(self.study.given)
                if question.picture in given
                for source in [f"{address}given&part={part}" if question.picture in given.files else None]
            ],
        }

    def _find_question(self, participant: str, number: Any) -> Question:
        self.answers.of(participant)  # refuses a name that is none
        questions = self.study.questions_for(participant)
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(questions):
            raise ValueError(f"there is no question {number}")
        return questions[number]

    def _picture(self, said: dict[str, str]) -> bytes:
        question = self._find_question(said.get("participant", ""), int(said.get("number", "")))
        if said.get("place") == "given":
            part = int(said.get("part", ""))
            if not 0 <= part < len(self.study.given) or question.picture not in self.study.given[part].files:
                raise ValueError(f"there is no given picture {part}")
            given = self.study.given[part]
            pixels = open_picture(given.files[question.picture], given.maps)
        else:
            place = int(said.get("place", ""))
            if not 0 <= place < len(question.methods):
                raise ValueError(f"there is no picture {place}")
            pixels = open_picture(self.study.files[question.picture][question.methods[place]], maps=False)
        # As PNG without metadata: neither the file's name nor its contents tell whose it is.
        pixels.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
        clean = Image.frombytes("RGB", pixels.size, pixels.tobytes())
        stream = BytesIO()
        clean.save(stream, "PNG")
        return stream.getvalue()

    def _answer(self, body: Any) -> None:
        if not isinstance(body, dict) or not isinstance(body.get("participant"), str):
            raise ValueError("an answer has participant, number and order")
        question = self._find_question(body["participant"], body.get("number"))
        order = body.get("order")
        places = list(range(len(question.methods)))
        if (
            not isinstance(order, list)
            or any(type(place) is not int for place in order)
            or sorted(order) != places
        ):
            raise ValueError(f"order must hold the places {places}, from best to worst")
        with self.lock:
            methods = [question.methods[place] for place in order]
            self.answers.add(body["participant"], self.study, body["number"], methods)

    def _send_json(self, content: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(content).encode(), "application/json", status)

    def _send(self, content: bytes, kind: str, status: HTTPStatus = HTTPStatus.OK) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the standard library would print a line for every request."""
