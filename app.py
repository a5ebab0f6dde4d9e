"""Open the facekit demo: `python app.py [--host 127.0.0.1] [--port 7860] [--open]`."""

import argparse
import os
import sys

from facekit_demo import build_app, launch


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Options of the command line; HOST and PORT in the environment give the defaults."""
    parser = argparse.ArgumentParser(description="Serve the facekit demo in a browser.")
    parser.add_argument("--host", default=os.environ.get("HOST") or "127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=os.environ.get("PORT") or 7860, help="port to listen on")
    parser.add_argument("--open", action="store_true", help="open the page in the default browser")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    try:
        launch(build_app(), options.host, options.port, inbrowser=options.open)
    except OSError as error:
        print(f"Cannot listen on {options.host}:{options.port} ({error}). Try --port.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
