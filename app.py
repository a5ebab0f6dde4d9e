"""Open the facekit demo: `python app.py [--host 127.0.0.1] [--port 7860] [--open] [--restore-model A,B]`."""

import argparse
import os
import socket
import sys

from facekit.methods import Method, methods
from facekit_demo import build_app, launch
from facekit_demo.common.models import ONE_MODEL

LAST_PORT = 65535


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command line; HOST and PORT in the environment give the defaults."""
    parser = argparse.ArgumentParser(description="Serve the facekit demo in a browser.")
    parser.add_argument("--host", default=os.environ.get("HOST") or "127.0.0.1", help="address to listen on")
    parser.add_argument(
        "--port", type=read_port, default=os.environ.get("PORT") or 7860, help="port to listen on"
    )
    parser.add_argument("--open", action="store_true", help="open the page in the default browser")
    for method in _methods():
        several = "A" if method.name in ONE_MODEL else "A,B"
        parser.add_argument(
            f"--{method.name}-model",
            dest=method.model_variable,
            metavar=several,
            help=f"{'model' if several == 'A' else 'models to choose from, the first at first,'} of the tab "
            f"{method.title}: starter, published, folders or Hub ids; default: what {method.model_variable} names",
        )
    return parser.parse_args(arguments)


def read_port(text: str) -> int:
    """The number of a port. Raises ArgumentTypeError for any that there is not."""
    if not text.isdecimal() or not 1 <= int(text) <= LAST_PORT:
        raise argparse.ArgumentTypeError(f"{text} is no port; ports are numbers from 1 to {LAST_PORT}")
    return int(text)


def check_address(host: str, port: int) -> None:
    """Whether this program may listen there, known before the page is built. Raises OSError."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a part of the name is empty or too long
        raise OSError(f"{host} is no name of a computer") from error
    for family, kind, protocol, _, address in found:
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":  # elsewhere it lets a port be taken twice
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)


def _methods() -> list[Method]:
    return [method for method in methods() if method.tab]


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    for method in _methods():
        named = getattr(options, method.model_variable)
        if named and named.strip():
            os.environ[method.model_variable] = named
    where = f"{options.host}:{options.port}"
    try:
        check_address(options.host, options.port)
    except OSError as error:
        print(f"Cannot listen on {where} ({error.strerror or error}). Try --port.", file=sys.stderr)
        return 1
    try:
        launch(build_app(), options.host, options.port, inbrowser=options.open)
    except OSError:
        # Gradio's words speak of settings of its own; it wants the port on 127.0.0.1 as well.
        print(f"Cannot listen on {where}, or not on 127.0.0.1 as well. Try --port.", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"The demo cannot start: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
