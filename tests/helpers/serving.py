"""A study's page over real HTTP."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any

from facekit_cli.study.answers import Answers
from facekit_cli.study.questions import Study
from facekit_cli.study.server import make_server


@contextmanager
def serve(study: Study, answers: Answers) -> Iterator[int]:
    """Serve the page; gives its port."""
    server = make_server(study, answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def ask(
    connection: HTTPConnection, path: str, body: Any = None, kind: str = "application/json"
) -> tuple[int, bytes]:
    """Fetch a page, or send `body`; status and content."""
    if body is None:
        connection.request("GET", path)
    else:
        connection.request("POST", path, json.dumps(body), {"Content-Type": kind})
    reply = connection.getresponse()
    return reply.status, reply.read()
