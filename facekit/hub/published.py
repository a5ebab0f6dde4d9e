"""What the authors of the thesis's methods published: files, where they lie, their terms, and what converts them.

A user's table changes or completes the entries: a TOML file that FACEKIT_PUBLISHED names,

    [grig]                                    # names of this table: vspbfr, exegan, exegan-512, grig, facemug-encoder
    files = { "fid_best_model.pth" = "https://mirror.example/grig/fid_best_model.pth" }    # addresses, or drive ids
    sha256 = { "fid_best_model.pth" = "9f86..." }                                          # compared at every fetch
    repo = "institute/GRIG"                   # in place of `files`: a model of the Hub with files of those names
    terms = "for members of the institute"

Sizes are reckoned from the layout of the files, which nobody measured. `facekit.hub.shelf` fetches and converts.
"""

import os
import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from facekit.methods import method_of

VARIABLE = "FACEKIT_PUBLISHED"
# What `from_pretrained` and `--model` take for the published weights of their own method.
PUBLISHED = "published"
_MIT = "the authors' code is under the MIT licence; whether that covers the weights is not said"
_FFHQ = "they were trained on FFHQ, whose terms allow no commercial use"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Published:
    """The published weights of one method, or of one network.

    Attributes:
        name: by which `facekit fetch` and `facekit cache` know it.
        title: what it is, in a few words.
        sizes: the files by name, with their rough sizes in bytes.
        optional: those of them that can be missing.
        page: where a person finds them.
        terms: of the weights, as far as they are known.
        converter: dotted name of the function that makes a folder of them: called with the folder of the files, or
            with the file where there is only one, and `output=`.
        options: further arguments for it.
        method: the method that they are a whole model of, by name; empty where they are one network.
        repo: Hub id of a model that has them; empty: they lie elsewhere.
        places: where else each file lies: an id of Google's drive, or an address. A file that is missing here is at
            no known place.
        digests: SHA-256 that a file must have.
        revision: branch, tag or commit of `repo`; None: its main branch.
    """

    name: str
    title: str
    sizes: dict[str, int]
    optional: tuple[str, ...] = ()
    page: str
    terms: str
    converter: str
    options: dict[str, Any] = field(default_factory=dict)
    method: str = ""
    repo: str = ""
    places: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    revision: str | None = None

    @property
    def size(self) -> int:
        """Bytes of all files, roughly."""
        return sum(self.sizes.values())

    @property
    def needed(self) -> list[str]:
        """Names of the files that cannot be missing."""
        return [name for name in self.sizes if name not in self.optional]

    @property
    def unknown(self) -> list[str]:
        """Names of needed files whose place is not known."""
        return [] if self.repo else [name for name in self.needed if not self.places.get(name)]

    @property
    def origin(self) -> str:
        """Where it comes from, in a word or two: the Hub id, or the page."""
        return self.repo or self.page


_TABLE = (
    Published(
        name="vspbfr",
        title="VSPBFR, restores faces of 512 pixels",
        sizes={
            "style_encoder_decoder.pt": 1_201_000_000,
            "restoration_net.pt": 906_000_000,
            "Arcface.pth": 173_000_000,
            "code_diffuser.pt": 42_000_000,
        },
        repo="Wanglong2/VSPBFR",
        page="https://huggingface.co/Wanglong2/VSPBFR",
        terms=f"{_MIT}; {_FFHQ}, and the StyleGAN2 in them is NVIDIA's, not for commercial use",
        converter="facekit.convert.vspbfr.convert",
        method="restore",
    ),
    *(
        Published(
            name=name,
            title=f"EXE-GAN, fills faces of {size} pixels after an example",
            sizes={
                f"EXE_GAN_model_{size}.pt": count,
                "psp_ffhq_encode.pt": 1_190_000_000,
                "Arcface.pth": 173_000_000,
            },
            optional=("Arcface.pth",),
            places={
                f"EXE_GAN_model_{size}.pt": place,
                "psp_ffhq_encode.pt": "1_GdbsT1A5dyxF0FqOEiFlmouVsyf7Ag1",
                "Arcface.pth": "18w_YKb0cLX6LAdY4008vEgCPD-_3RmRE",
            },
            page="https://github.com/LonglongaaaGo/EXE-GAN",
            terms=f"{_MIT}; {_FFHQ}",
            converter="facekit.convert.exegan.convert",
            options={"size": size},
            method="exemplar",
        )
        for name, size, count, place in (
            ("exegan", 256, 634_000_000, "1y7ThKBXL7QK7CPtvT3KICeNOu1T2xlCA"),
            ("exegan-512", 512, 644_000_000, "1Zq2XrXUQfKBYeRINfZ-_LuxuB5Z-iXdF"),
        )
    ),
    # The authors name a folder of the drive with models of several data sets, and no file in it.
    Published(
        name="grig",
        title="GRIG, fills holes of 256 pixels",
        sizes={"fid_best_model.pth": 290_000_000},
        page="https://github.com/LonglongaaaGo/GRIG_few_shot_inpainting",
        terms=f"{_MIT}; those for FFHQ: {_FFHQ}",
        converter="facekit.convert.grig.convert",
        method="inpaint",
    ),
    Published(
        name="facemug-encoder",
        title="FACEMUG's style encoder of 26 channels",
        sizes={"best_model.pt": 1_201_000_000},
        page="https://github.com/LonglongaaaGo/e4e_trainer",
        terms=f"{_MIT}; {_FFHQ}",
        converter="facekit.convert.style_encoder.convert",
    ),
)
NAMES = tuple(entry.name for entry in _TABLE)
# Why a method has no published model.
NOT_PUBLISHED = {
    "edit": "of FACEMUG the authors published the style encoder alone (facekit fetch facemug-encoder), not the "
    "networks that draw; use the bundled starter, or a model of your own"
}


def published_weights() -> tuple[Published, ...]:
    """All entries, with the changes of the user's table.

    Raises:
        ValueError: that table cannot be read or says what nobody knows; the message names it.
    """
    place = os.environ.get(VARIABLE, "").strip()
    changes = _read_table(Path(place).expanduser()) if place else {}
    return tuple(_changed(entry, changes[entry.name]) if entry.name in changes else entry for entry in _TABLE)


def published_named(name: str) -> Published:
    """The entry of that name. ValueError with those there are."""
    for entry in published_weights():
        if entry.name == name:
            return entry
    raise ValueError(f"there are no published weights {name!r}; known are {', '.join(NAMES)}")


def published_of(method: str) -> Published | None:
    """The published model of a method by the method's name, the first where there are several; None: there is none."""
    return next((entry for entry in published_weights() if entry.method == method), None)


def find_published(source: str, class_name: str) -> Published | None:
    """The published weights that a name given to a pipeline's `from_pretrained` means; None: it means something else.

    Args:
        source: "published", a name of the table, or the Hub id of an entry. An existing folder is that folder.
        class_name: of the pipeline.

    Raises:
        ValueError: the weights are another pipeline's, or the method has none; the message says which has.
    """
    if Path(source).is_dir():
        return None
    method = method_of(class_name)
    own = "" if method is None else method.name
    if source == PUBLISHED:
        entry = published_of(own)
        if entry is None:
            reason = NOT_PUBLISHED.get(own, f"{class_name} is no method that authors published weights of")
            raise ValueError(f"there are no published weights: {reason}")
        return entry
    for entry in published_weights():
        if source in (entry.name, entry.repo):
            if entry.method != own:
                raise ValueError(f"{source} is {entry.title}; it is no model of {class_name}")
            return entry
    return None


def _read_table(path: Path) -> dict[str, dict[str, Any]]:
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"the table {path}, which {VARIABLE} names, cannot be read: {error}") from error
    for name, changes in table.items():
        if name not in NAMES:
            raise ValueError(f"{path} has an entry {name!r}; known are {', '.join(NAMES)}")
        if not isinstance(changes, dict):
            raise ValueError(f"{path}: {name} is no table; write [{name}]")
    return table


def _changed(entry: Published, changes: dict[str, Any]) -> Published:
    where = f"{os.environ[VARIABLE]}: {entry.name}"
    names = {"files": "places", "sha256": "digests"}
    texts = {"repo", "page", "terms", "revision"}
    unknown = set(changes) - set(names) - texts
    if unknown:
        raise ValueError(f"{where} has {', '.join(sorted(unknown))}; known are {_known(set(names) | texts)}")
    for key in texts & set(changes):
        if not isinstance(changes[key], str):
            raise ValueError(f"{where}: {key} is {changes[key]!r}; it must be a text")
    changed: dict[str, Any] = {key: changes[key] for key in texts & set(changes)}
    for key, ours in names.items():
        given = changes.get(key, {})
        if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
            raise ValueError(f"{where}: {key} must be a table of texts, each called after a file")
        others = set(given) - set(entry.sizes)
        if others:
            raise ValueError(
                f"{where}: {key} has {', '.join(sorted(others))}; the files are {_known(entry.sizes)}"
            )
        changed[ours] = getattr(entry, ours) | given
    for name, digest in changed["digests"].items():
        if not _DIGEST.fullmatch(digest):
            raise ValueError(f"{where}: sha256 of {name} is {digest!r}; it must be 64 digits 0-9a-f")
    if changes.get("files") and "repo" not in changes:
        changed["repo"] = ""
    return replace(entry, **changed)


def _known(names: Any) -> str:
    return ", ".join(sorted(names))
