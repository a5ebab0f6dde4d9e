"""200 malformed or hostile inputs from a seed, and the program that hands them to facekit under limits.

    python tests/app/hostile_inputs.py FOLDER

writes one line of JSON for every input: kind, name, what came of it, seconds, and the growth of memory in MiB.
"""

import io
import json
import resource
import signal
import stat
import struct
import sys
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

SEED = 20261125
SECONDS, BYTES = 10, 2**30
COUNTS = {"image": 60, "mask": 30, "session": 40, "script": 30, "weights": 25, "provenance": 15}
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
VALUES = (
    None,
    True,
    -1,
    2**70,
    1e308,
    "",
    "../../../etc/passwd",
    "/etc/passwd",
    [],
    {},
    [[[]]],
    "\0",
    "\ud800",
    {"a": []},
)


def encoded(random: np.random.Generator, file_format: str) -> bytes:
    """A valid picture of noise."""
    height, width = random.integers(24, 90, 2)
    file = io.BytesIO()
    pixels = random.integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(
        file, file_format, **({"compression": "tiff_lzw"} if file_format == "TIFF" else {})
    )
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int, *extra: bytes, pixels: bytes = b"") -> bytes:
    """A PNG that announces a size and holds whatever else."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + data + chunk(b"IEND", b"")


def broken_picture(random: np.random.Generator, number: int) -> tuple[str, bytes]:
    """A picture file that cannot be what it says."""
    file_format = FORMATS[number // 10 % 4]
    whole = bytearray(encoded(random, file_format))
    suffix = file_format.lower()
    way = number % 10
    if way in (0, 1, 2):  # cut off
        return f"cut.{suffix}", bytes(whole[: int(len(whole) * random.uniform(0.02, 0.7))])
    if way == 3:  # the right start, then noise
        return f"noise.{suffix}", bytes(whole[:16]) + random.bytes(3000)
    if way == 4:  # the start overwritten
        whole[:32] = random.bytes(32)
        return f"headless.{suffix}", bytes(whole)
    if way == 5:
        size = int(random.integers(15_000, 2**31 - 1))
        return "huge.png", png_of(size, size)
    if way == 6:
        return "bomb.png", png_of(
            64, 64, chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(80 * 2**20), 9))
        )
    if way == 7:
        size = struct.pack(">HH", 65500, 65500)
        at = whole.find(b"\xff\xc0")
        if at > 0:
            whole[at + 5 : at + 9] = size
            return "huge.jpg", bytes(whole)
        return "short.png", png_of(5000, 5000, pixels=b"\0" * 100)
    if way == 8:
        other = (
            b"<svg onload='x()'/>",
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99999 99999\n%%EndComments\n{} loop\n",
        )
        return "other.png", (*other, b"", b"GIF89a", b"<!DOCTYPE html>", b"II*\0\xff\xff\xff\xff")[
            number // 10 % 6
        ]
    frames = [Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)) for _ in range(3)]
    file = io.BytesIO()
    frames[0].save(
        file, ("PNG", "WEBP", "TIFF", "GIF")[number // 10 % 4], save_all=True, append_images=frames[1:]
    )
    return "frames.png", file.getvalue()


def broken_mask(random: np.random.Generator, number: int) -> Any:
    """A mask that no photo of 64 x 48 pixels has, as bytes of a file or as an array."""
    arrays = [
        np.full((48, 64), np.nan, np.float32),
        np.full((48, 64), 1e30),
        np.full((48, 64), -1, np.int64),
        np.zeros((48, 64), complex),
        np.zeros((48, 64), "datetime64[s]"),
        np.array([["x"] * 64] * 48),
        np.zeros((0, 64), np.uint8),
        np.zeros((2, 3, 48, 64), np.uint8),
        np.zeros((48, 64, 5), np.uint8),
        np.zeros((64, 48), bool),
        np.zeros(7, np.uint8),
        np.full((48, 64), 2**40),
        np.zeros((48, 64), object),
        torch.full((1, 48, 64), torch.inf),
        torch.zeros(3, 48, 64),
    ]
    return (
        arrays[number // 2 % len(arrays)]
        if number % 2
        else broken_picture(random, int(random.integers(60)))[1]
    )


def signed(manifest: dict[str, Any]) -> bytes:
    """A manifest whose digest is right, as someone who means harm would write it."""
    from facekit.pipelines.edit.session.store import _digest

    return json.dumps(manifest | {"digest": _digest(manifest)}).encode()


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def broken_session(random: np.random.Generator, number: int, whole: bytes) -> bytes:
    """A session's zip, damaged or made to deceive."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files["session.json"])
    way = number % 8
    if way == 0:
        return whole[: int(len(whole) * random.uniform(0, 0.95))]
    if way == 1:
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 40):
            damaged[place] ^= int(random.integers(1, 256))
        return bytes(damaged)
    if way == 2:
        name = ("../escaped.png", "/etc/escaped", "edits/1/../../x.png", "C:\\x.png", "edits/1/mask.pkl")[
            number // 8 % 5
        ]
        return zipped(files | {name: b"x"})
    if way == 3:
        return zipped(
            files | {"edits/9/mask.png": bytes(2**24 * 3)} | {"session.json": bytes(2**25)},
            zipfile.ZIP_DEFLATED,
        )
    if way == 4:
        name = next(name for name in files if name.startswith("photo"))
        content = (b"", random.bytes(500), png_of(60_000, 60_000), struct.pack("<Q", 2**62), b"\0" * 8)[
            number // 8 % 5
        ]
        import hashlib

        manifest["sha256"][name] = hashlib.sha256(content).hexdigest()
        return zipped(files | {name: content, "session.json": signed(manifest)})
    if way == 5:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
            link = zipfile.ZipInfo("photo.safetensors")
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, "/etc/passwd")
        return file.getvalue()
    # Two ways of eight: values of wrong kinds under a right digest.
    key = ("photo", "faces", "position", "edits", "aligned", "format", "version", "sha256")[
        number % 16 // 2 % 8
    ]
    manifest[key] = VALUES[int(random.integers(1, len(VALUES)))] if key != "position" else -number
    if key == "aligned":
        manifest["aligned"] = number
    manifest.pop("digest", None)
    try:
        return zipped(files | {"session.json": signed(manifest)})
    except UnicodeError:
        return zipped(files | {"session.json": b'{"edits": ['})


def broken_script(random: np.random.Generator, number: int) -> bytes:
    """Bytes in the place of a script of edits."""
    texts = [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"edits": {}}',
        b'{"edits": [1]}',
        b'{"edits": [{}]}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"edits": [{"mask": NaN}]}',
        b'{"edits": [{"mask": "../mask.png"}]}',
        b'{"edits": [{"mask": "/etc/passwd"}]}',
        b'{"edits": [{"mask": "a\\u0000b"}]}',
        b'{"edits": [{"mask": "missing.png"}]}',
        b'{"edits": [{"mask": "' + b"x" * 5000 + b'"}]}',
        b'{"edits": ' + b"9" * 10_000 + b"}",
        b'{"edits": [{"mask": "\\ud800"}]}',
        b"\xff\xfe\x00{}",
        b"\x80" * 100,
        b'{"edits": [' + b'{"seed": 1},' * 2000 + b"{}]}",
        b'{"edits": [{"mask": "m.png", "__class__": "os.system"}]}',
        b'{"edits": [{"mask": "m.png", "seed": "1"}]}',
        b'{"edits": [{"mask": "m.png", "attributes": []}]}',
        b'{"edits": [{"mask": ["m.png"]}]}',
    ]
    if number < len(texts):
        return texts[number]
    return b'{"edits": ' + random.bytes(int(random.integers(1, 4000)))


def broken_model(random: np.random.Generator, number: int, model: Path, folder: Path) -> Path:
    """A copy of a saved pipeline with one file broken."""
    for file in model.rglob("*"):
        if file.is_file():
            target = folder / file.relative_to(model)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    (weights,) = folder.rglob("*.safetensors")
    config, index = weights.parent / "config.json", folder / "model_index.json"
    content = weights.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    name = sorted(key for key in header if key != "__metadata__")[int(random.integers(3))]

    def with_header(**changes: Any) -> bytes:
        text = json.dumps(header | {name: header[name] | changes}).encode()
        return struct.pack("<Q", len(text)) + text + body

    settings = json.loads(config.read_text())
    ways: list[tuple[Path, bytes]] = [
        (weights, b""),
        (weights, struct.pack("<Q", 2**63) + b"{}"),
        (weights, struct.pack("<Q", 90_000_000) + b"{" * 1000),
        (weights, content[: len(content) // 2]),
        (weights, content[:8] + random.bytes(length) + body),
        (weights, with_header(data_offsets=[0, 2**50])),
        (weights, with_header(data_offsets=[-1, 4])),
        (weights, with_header(data_offsets=[4, 0])),
        (weights, with_header(dtype="F99")),
        (weights, with_header(shape=[2**31, 2**31])),
        (weights, with_header(shape=[-1])),
        (weights, random.bytes(4000)),
        (weights, b"\x80\x04cos\nsystem\n(S'true'\ntR."),
        (config, b""),
        (config, b"[]"),
        (config, b"{" * 30_000),
        (config, random.bytes(100)),
        (config, json.dumps(settings | {"dim": "wide"}).encode()),
        (config, json.dumps(settings | {"dim": 2**40}).encode()),
        (config, json.dumps(settings | {"num_blocks": None}).encode()),
        (index, b""),
        (index, b'{"_class_name": "FaceInpaintPipeline", "inpainter": ["os", "system"]}'),
        (index, b'{"_class_name": ["x"]}'),
        (index, random.bytes(200)),
        (index, b"null"),
    ]
    path, new = ways[number % len(ways)]
    path.write_bytes(new)
    return folder


def cases(folder: Path, model: Path, session: Path) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """Kind, name, and what to call: must raise ValueError or OSError."""
    from facekit import FaceEditPipeline, FaceInpaintPipeline, provenance
    from facekit.images.masks import load_mask
    from facekit.images.photo import load_image
    from facekit.pipelines.edit.session.script import read_script
    from facekit.pipelines.edit.session.session import EditSession

    random = np.random.default_rng(SEED)
    editor, whole = FaceEditPipeline.from_pretrained(session.parent / "editor"), session.read_bytes()
    for kind, count in COUNTS.items():
        for number in range(count):
            place = folder / f"{kind}-{number}"
            place.mkdir()
            if kind in ("image", "provenance"):
                name, content = broken_picture(random, number + (7 if kind == "provenance" else 0))
                file = place / name
                file.write_bytes(content)
                yield (
                    kind,
                    str(file),
                    lambda f=file, k=kind: load_image(f) if k == "image" else provenance.inspect(f),
                )
            elif kind == "mask":
                mask = broken_mask(random, number)
                if isinstance(mask, bytes):
                    (place / "mask.png").write_bytes(mask)
                    mask = place / "mask.png"
                yield kind, f"{kind} {number}", lambda m=mask: load_mask(m, (64, 48))
            elif kind == "session":
                file = place / "session.zip"
                file.write_bytes(broken_session(random, number, whole))
                yield kind, str(file), lambda f=file: EditSession.load(editor, f)
            elif kind == "script":
                file = place / "script.json"
                file.write_bytes(broken_script(random, number))
                yield kind, str(file), lambda f=file: read_script(f)
            else:
                path = broken_model(random, number, model, place)
                yield kind, f"{kind} {number}", lambda p=path: FaceInpaintPipeline.from_pretrained(p)


def memory() -> tuple[int, int]:
    """Address space in use now, and the most that was resident, in bytes."""
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    sizes = {words[0]: int(words[1]) * 1024 for words in lines if words[0] in ("VmSize:", "VmHWM:")}
    return sizes["VmSize:"], sizes["VmHWM:"]


class TooSlow(BaseException):
    """The alarm; no `except Exception` on the way stops it."""


def judge(call: Callable[[], Any]) -> str:
    """What came of a call, in words: `refused: ...` is what should."""

    def ring(*_: Any) -> None:
        raise TooSlow

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        result = call()
    except (ValueError, OSError) as error:
        text = str(error)
        return (
            f"refused: {text}"
            if text and len(text) < 20_000
            else f"refused without clear words: {text[:200]!r}"
        )
    except TooSlow:
        return f"more than {SECONDS} seconds"
    except MemoryError:
        return "memory"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)
    return f"taken: {type(result).__name__}"


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    sessions = folder / "good"
    for number, (kind, name, call) in enumerate(
        cases(folder / "cases", sessions / "model", sessions / "session.zip")
    ):
        before, peak = memory()
        if number == 0:
            resource.setrlimit(resource.RLIMIT_AS, (before + BYTES, before + BYTES))
        started = time.monotonic()
        outcome = judge(call)
        seconds, grown = time.monotonic() - started, (memory()[1] - peak) / 2**20
        print(
            json.dumps({"kind": kind, "name": name, "outcome": outcome, "seconds": seconds, "mib": grown}),
            flush=True,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
