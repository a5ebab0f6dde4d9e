"""The server's own temporary folder: nothing else is served, and nothing stays in it.

Gradio deletes files that it remembers. A server that was killed remembers nothing, and files that were half written
when a visitor left were never noted. So every server has one folder, from which all that is older than the limit is
deleted by its age alone, and folders of servers that are gone are removed by the next one that runs.
"""

import atexit
import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Collection
from pathlib import Path

import gradio as gr
from fastapi import HTTPException
from starlette.requests import HTTPConnection

from facekit_demo.common.running import EXAMPLES

PREFIX = "facekit-demo-server-"
ALIVE = ".alive"
GONE_AFTER = 300.0  # seconds without a sign of life
_claiming = threading.Lock()
_own: Path | None = None


def own_folder() -> Path:
    """This process's folder for all uploaded and made files, below GRADIO_TEMP_DIR or the system's temporary folder.

    Only this user can look into it. Must be called before Gradio's components are made: they ask for it then.
    """
    global _own
    with _claiming:
        if _own is None:
            base = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir())
            base.mkdir(parents=True, exist_ok=True)
            _own = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base)).resolve()
            (_own / ALIVE).touch()
            atexit.register(_remove, _own, os.getpid())
        os.environ["GRADIO_TEMP_DIR"] = str(_own)
        return _own


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # not in a fork
        shutil.rmtree(folder, ignore_errors=True)


def remove_at_termination() -> None:
    """Let a SIGTERM, with which services are stopped, remove the folder before it ends the process as ever.

    Does nothing where the signal is handled already, or outside the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return
    folder, process = own_folder(), os.getpid()

    def end(number: int, _frame: object) -> None:
        _remove(folder, process)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)


def sweep(folder: Path, age: float, keep: Collection[str] = ()) -> None:
    """Delete files that were not touched for `age` seconds, but for those of `keep`; links go, their targets stay."""
    now = time.time()
    for place, folders, names in os.walk(folder, topdown=False, followlinks=False):
        for name in (*names, *folders):
            path = os.path.join(place, name)
            # Visitors' requests make and delete files at the same time.
            with contextlib.suppress(OSError):
                if path in keep or name == ALIVE or now - os.lstat(path).st_ctime <= age:
                    continue
                if os.path.isdir(path) and not os.path.islink(path):
                    os.rmdir(path)
                else:
                    os.remove(path)


def remove_abandoned(own: Path) -> None:
    """Remove the folders, beside our own, of servers that gave no sign of life for five minutes."""
    for folder in own.parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder == own or folder.is_symlink():
                continue
            if time.time() - (folder / ALIVE).stat().st_mtime > GONE_AFTER:
                shutil.rmtree(folder, ignore_errors=True)


def sweeping_pause(keep_seconds: float) -> float:
    """Seconds between two sweeps."""
    return min(60.0, keep_seconds / 2)


def start_sweeping(app: gr.Blocks, keep_seconds: float) -> threading.Event:
    """Sweep in the background until the returned event is set; no file gets older than `keep_seconds`."""
    own, stop = own_folder(), threading.Event()
    pause = sweeping_pause(keep_seconds)

    def work() -> None:
        while True:
            with contextlib.suppress(OSError):
                own.mkdir(exist_ok=True)
                (own / ALIVE).touch()
            # The page's own pictures, such as its examples.
            kept = set().union(*(getattr(block, "keep_in_cache", ()) for block in list(app.blocks.values())))
            sweep(own, keep_seconds - pause, kept)
            remove_abandoned(own)
            if stop.wait(pause):
                return

    threading.Thread(target=work, name="facekit-sweeper", daemon=True).start()
    return stop


def only_own_files(connection: HTTPConnection) -> None:
    """Refuse (403) to serve a file that lies, all links followed, outside our folder and the examples.

    Gradio checks the path as it is written. It would also fetch a web address for
    anyone who asks, which is refused too.
    """
    for mark in ("/file=", "/file/"):
        _, found, path = connection.scope["path"].partition(mark)
        if not found:
            continue
        try:
            file = Path(path).resolve()
            allowed = any(file.is_relative_to(root) for root in (own_folder(), EXAMPLES.resolve()))
        except (OSError, ValueError, RuntimeError):
            allowed = False
        if not allowed:
            raise HTTPException(403, "This file is not served.")
