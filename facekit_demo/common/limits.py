"""What one visitor may ask of the demo's server: sizes, waiting, time. Environment variables set them.

| variable | default | limits |
|---|---|---|
| FACEKIT_DEMO_MAX_PIXELS | 100000000 | pixels of an uploaded picture or mask; larger ones are refused by their header |
| FACEKIT_DEMO_UPLOAD_MB | 256 | megabytes of an uploaded file |
| FACEKIT_DEMO_QUEUE | 64 | requests that wait; further ones are told at once that the queue is full |
| FACEKIT_DEMO_JOB_SECONDS | 600 | seconds of a request's work, its wait in the queue not counted |
| FACEKIT_DEMO_CONCURRENCY | 4 | requests of one kind that run at a time where no network runs |
| FACEKIT_DEMO_KEEP_SECONDS | 3600 | seconds until an uploaded or made file is deleted |

Networks always run one request at a time: a pipeline keeps the state of its run, and two at once would mix.

Time: Gradio's own `time_limit` ends streams only, and Python cannot end a thread from outside. So the time is looked at
before every layer of every network, and a request that is over it ends there with a message. What runs no network
(reading a picture, finding faces, writing the result) is not interrupted; the limit on pixels bounds it. On a ZeroGPU
Space the networks run in a process of their own, where the time begins anew with each call; the Space's own limit ends
that process besides.
"""

import functools
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_pre_hook

PREFIX = "FACEKIT_DEMO_"
_until: ContextVar[tuple[float, float] | None] = ContextVar("until", default=None)


@dataclass(frozen=True)
class Limits:
    """The numbers of the table at the head of this module."""

    max_pixels: int = 100_000_000
    upload_mb: int = 256
    queue: int = 64
    job_seconds: float = 600.0
    concurrency: int = 4
    keep_seconds: float = 3600.0

    @classmethod
    def from_environment(cls) -> "Limits":
        """The limits that hold now. ValueError names a variable that is no positive number."""
        given = {}
        for entry in fields(cls):
            name = PREFIX + entry.name.upper()
            text = os.environ.get(name)
            if not text:
                continue
            try:
                value = entry.type(text)
            except ValueError:
                value = 0
            if not (value > 0 and math.isfinite(value)):
                kind = "whole number" if entry.type is int else "number"
                raise ValueError(f"{name} is {text!r}; it must be a {kind} above 0, or unset.")
            given[entry.name] = value
        return cls(**given)

    @property
    def kept_for(self) -> str:
        """How long files are kept, in words."""
        if self.keep_seconds == 3600:
            return "an hour"
        minutes = self.keep_seconds / 60
        return f"{self.keep_seconds:g} seconds" if minutes < 2 else f"{minutes:.0f} minutes"


@contextmanager
def limited_time(seconds: float) -> Iterator[None]:
    """End the work inside with TimeoutError once it takes longer, at the next layer of a network that runs."""
    _watch_networks()
    token = _until.set((time.monotonic() + seconds, seconds))
    try:
        yield
    finally:
        _until.reset(token)


@contextmanager
def uncounted_time() -> Iterator[None]:
    """Let what is inside not count for the time of `limited_time`: it runs no network, and may take longer."""
    began = time.monotonic()
    try:
        yield
    finally:
        until = _until.get()
        if until is not None:
            _until.set((until[0] + time.monotonic() - began, until[1]))


def check_time(*_: Any) -> None:
    """Raise TimeoutError where the time of `limited_time` is over."""
    if torch.compiler.is_compiling():  # a clock would break the graph
        return
    until = _until.get()
    if until is not None and time.monotonic() > until[0]:
        raise TimeoutError(
            f"this takes longer than the {until[1]:g} seconds that a request may take here. "
            "Try a smaller photo, fewer steps or fewer results."
        )


@functools.cache
def _watch_networks() -> None:
    register_module_forward_pre_hook(check_time)
