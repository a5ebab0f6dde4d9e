"""Which files a command reads and writes: photos among other files, names of results, folders that take them."""

import argparse
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from PIL import Image

from facekit.images.files import nearest, remove_parts, why_not_writable
from facekit.images.formats import (
    BY_SUFFIX,
    FORMATS,
    FileFormat,
    lossless_format,
    name_losses,
    same_format,
    why_too_large,
)
from facekit.notes import Note
from facekit_cli.arguments import LONGEST_NAME
from facekit_cli.errors import UsageError
from facekit_cli.options import check_format_options
from facekit_cli.results import is_report

if TYPE_CHECKING:
    from facekit.images.photo import Photo

File = TypeVar("File")
# Options that name what is written, in folders that they may share.
WRITTEN = ("output", "json", "save_mask", "save_session")
# Pillow knows these by name only, or hands them to another program.
NOT_DECODED = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
# Photos of phones. Without pillow-heif each fails and says what to do, so that none is left out in silence.
HEIF_SUFFIXES = {".heic", ".heif", ".hif"}
# Endings that mean a picture and no folder, and that no result can have.
NOT_WRITTEN = {*HEIF_SUFFIXES, ".avif", ".bmp", ".gif"}


@cache
def picture_suffixes() -> frozenset[str]:
    """Endings, in lower case, of the names of pictures that can be read, HEIF included."""
    Image.init()
    kinds = {"MPO", *Image.OPEN} - NOT_DECODED  # Pillow opens MPO as JPEG
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in kinds}
    return frozenset(known | HEIF_SUFFIXES)


def why_no_picture(file: Path) -> str | None:
    """Why something in a folder is left out; None for a picture, also for one that turns out to be broken."""
    if file.name.startswith("."):
        return "hidden"
    try:
        mode = file.stat().st_mode
    except OSError:  # a link to nothing, for example: told when its turn comes
        mode = stat.S_IFREG
    if stat.S_ISDIR(mode):
        return "sub-folders are not entered"
    return why_no_picture_name(file) or (None if stat.S_ISREG(mode) else "no regular file")


def why_no_picture_name(name: PurePath) -> str | None:
    """Why something is left out for its ending; None for those of pictures."""
    known = name.suffix.lower() in picture_suffixes()
    return None if known else "not named like a picture that can be read"


class Found(NamedTuple):
    """What was named on the command line: photos, and what lies beside them in folders, with the reason why not."""

    photos: list[Path]
    left_out: dict[Path, str]


def find_photos(arguments: Iterable[Path]) -> Found:
    """Files as they are, and the pictures directly inside folders, by name; each once, a link beside its target too.

    Raises UsageError where an argument does not exist, or a folder cannot be read or holds no picture.
    """
    photos: list[Path] = []
    left_out: dict[Path, str] = {}
    for path in arguments:
        if os.path.isdir(path):
            inside, beside = sort_out(path)
            if not inside:
                endings = sorted({file.suffix.lower() for file in beside if file.suffix})
                raise UsageError(
                    f"the folder {path} holds no pictures"
                    + (f", only {', '.join(endings)} and the like" if endings else "")
                )
            photos += inside
            left_out |= beside
        elif os.path.exists(path):
            photos.append(path)
        else:
            raise UsageError(f"{path} does not exist")
    places: dict[Path, Path] = {}
    for photo in photos:
        places.setdefault(photo.parent.resolve() / photo.name, photo)
    return Found(list(places.values()), left_out)


def sort_out(folder: Path) -> Found:
    """What lies directly inside a folder, by name. Raises UsageError where the folder cannot be read."""
    try:
        files = sorted(folder.iterdir())
    except OSError as error:
        raise UsageError(f"the folder {folder} cannot be read: {error.strerror}") from error
    reasons = {file: why_no_picture(file) for file in files}
    return Found(
        [file for file, reason in reasons.items() if reason is None],
        {file: reason for file, reason in reasons.items() if reason is not None},
    )


def list_pictures(folder: Path) -> list[Path]:
    """The pictures directly inside a folder, by name."""
    return [file for file in sort_out(folder).photos if file.is_file()]


def match_files(photos: Sequence[Path], given: Path, what: str) -> dict[Path, Path]:
    """The mask (or whatever `what` calls it) of every photo that has one: one file for all, or a folder of files
    with the photos' names: for `a.jpg` the file `a.jpg` or `a.jpg.png`, else `a` with any ending.

    Raises UsageError where there is no such file, no name in common, or two files fit a photo alike.
    """
    if not given.exists():
        raise UsageError(f"the {what} {given} does not exist")
    if not given.is_dir():
        return dict.fromkeys(photos, given)
    by_stem: dict[str, list[Path]] = {}
    for file in list_pictures(given):
        by_stem.setdefault(file.stem, []).append(file)
    files: dict[Path, Path] = {}
    for photo in photos:
        fitting = by_stem.get(photo.name) or by_stem.get(photo.stem, [])
        if len(fitting) > 1 and len([other for other in photos if other.stem == photo.stem]) > 1:
            fitting = [file for file in fitting if file.name == photo.name] or fitting
        if len(fitting) > 1:
            raise UsageError(f"{fitting[0]} and {fitting[1]} are {what}s of the same name")
        if fitting:
            files[photo] = fitting[0]
    if not files:
        raise UsageError(f"no {what} in {given} has the name of a photo, for example {photos[0].stem}.png")
    return files


def pick_file(photo: Path, files: Mapping[Path, File], what: str, given: Path) -> File:
    """The photo's own of what `match_files` found in `given`. Raises ValueError where it has none."""
    if photo not in files:
        raise ValueError(f"no {what} named {photo.stem} in {given}")
    return files[photo]


def name_results(names: Iterable[str], taken: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the results of each photo are called, without number and ending.

    `a.jpg` becomes `a`; where `a.png` lies beside it, they become `a.jpg` and `a.png`. Names that differ in case
    alone count as the same, since they are on many disks.

    Args:
        names: of photos, or their paths in a folder with `/`.
        taken: photo -> name that it had before; these stay.
    """
    stems = dict(taken or {})
    new = sorted(set(names) - stems.keys())
    short = {name: str(PurePosixPath(name).with_suffix("")) for name in new}
    owners = Counter(stem.casefold() for stem in (*short.values(), *stems.values()))
    stems |= {name: stem for name, stem in short.items() if owners[stem.casefold()] == 1}
    used = set(stems.values())
    for name in new:
        if name not in stems:
            stem = name
            while stem in used:
                stem += PurePosixPath(name).suffix or "_"
            stems[name] = stem
            used.add(stem)
    return stems


def result_stems(photos: Sequence[Path]) -> dict[Path, str]:
    """`name_results` of photos from anywhere. Raises UsageError where two have the same name."""
    owners: dict[str, Path] = {}
    for photo in photos:
        other = owners.setdefault(photo.name, photo)
        if other != photo:
            raise UsageError(f"the results of {other} and {photo} would have the same name; run them apart")
    stems = name_results(owners)
    return {photo: stems[photo.name] for photo in photos}


class Target(NamedTuple):
    """The files that a photo's results become.

    Attributes:
        kind: their format.
        notes: what that format does not hold of the photo.
        refusal: why they cannot be written; None where they can.
    """

    kind: FileFormat
    notes: list[Note]
    refusal: str | None = None


def choose_target(photo: Path | Image.Image, args: argparse.Namespace) -> Target:
    """The format of a photo's results by `--format`, from the photo's header."""
    if isinstance(photo, Image.Image):
        return _target_of(photo, args)
    from facekit.images.opening import open_header

    unknown = Target(FORMATS.get(args.format) or lossless_format("RGB"), [])
    if not photo.is_file():  # a pipe would be waited for
        return unknown
    try:
        with open_header(photo, "", None) as image:
            return _target_of(image, args)
    except Exception:  # whatever is wrong with the file is told when its turn comes
        return unknown


def _target_of(image: Image.Image, args: argparse.Namespace) -> Target:
    from facekit.images.deep_color import is_deep

    see_through = image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info
    notes: list[Note] = []
    if args.format == "same":
        kind, notes = same_format(image.format, image.mode, see_through)
    else:
        kind = FORMATS.get(args.format) or lossless_format(image.mode)
    deep = image.mode == "I" or image.mode.startswith("I;16") or is_deep(image)
    notes = notes + name_losses(kind, image.mode, see_through, deep)
    scale = getattr(args, "scale", None) or 1
    return Target(kind, notes, why_too_large(kind, image.width * scale, image.height * scale))


def number_paths(stem: Path, suffix: str, candidates: int) -> list[Path]:
    """`STEM.png`, or with several candidates `STEM-1.png`, `STEM-2.png` and so on; `suffix` is that of the format."""
    marks = [""] if candidates == 1 else [f"-{number}" for number in range(1, candidates + 1)]
    return [stem.with_name(stem.name + mark + suffix) for mark in marks]


@dataclass(frozen=True)
class Plan:
    """What becomes of each file that was named, or lies in a folder that was.

    Attributes:
        outputs: photos to work on -> where their results go.
        skipped: others -> the reason.
        failed: photos whose results cannot be written, or that cannot be worked on -> the reason.
        notes: photos to work on -> what the format of their results does not hold.
    """

    outputs: dict[Path, list[Path]]
    skipped: dict[Path, str]
    failed: dict[Path, str | Exception]
    notes: dict[Path, list[Note]] = field(default_factory=dict)

    @property
    def results(self) -> list[Path]:
        """All results of all photos to work on."""
        return [path for paths in self.outputs.values() for path in paths]

    def remove_parts(self) -> None:
        """Remove what a killed run left of these results in their folders."""
        for folder in {path.parent for path in self.results}:
            remove_parts(folder, {path.name for path in self.results})


def plan_outputs(
    found: Found,
    args: argparse.Namespace,
    candidates: int = 1,
    beside: Callable[[Path], Path] | None = None,
) -> Plan:
    """Where each photo's results go (see `name_results`, `number_paths`, `choose_target`), looked at before any work.

    Args:
        found: the photos.
        args: with the options of `add_output_options`. Where `output` names a file, `format` is set by its ending.
        candidates: results of each photo.
        beside: a folder that is written beside a result.

    Raises:
        UsageError: two photos would share a result, a result would replace a file that was given or lie in a folder of
            photos that was, a result exists and neither `--overwrite` nor `--skip-existing` was said, a folder cannot
            be written, or a quality was said for files without.
    """
    one_file = _names_file(args, len(found.photos) * candidates)
    check_format_options(args)
    folder = args.output
    if folder.exists() and not folder.is_dir() and not one_file:
        raise UsageError(f"--output {folder} is a file; name a folder")
    stems = result_stems(found.photos)
    targets = {photo: choose_target(photo, args) for photo in found.photos}
    outputs = {
        photo: number_paths(folder / stems[photo], target.kind.suffix, candidates)
        for photo, target in targets.items()
    }
    if one_file:
        outputs = {photo: [args.output] for photo in outputs}
    everything = [path for paths in outputs.values() for path in paths]
    check_apart(args.photos, args.output.parent if one_file else args.output, "--output")
    check_kept(everything, found.photos, args, "output")
    failed: dict[Path, str | Exception] = {
        photo: reason
        for photo, paths in outputs.items()
        if (reason := targets[photo].refusal or why_too_long(paths, beside))
    }
    existing = [p for photo, paths in outputs.items() if photo not in failed for p in paths if p.exists()]
    if existing and not args.overwrite and not args.skip_existing:
        several = f" and {len(existing) - 1} more exist" if len(existing) > 1 else " exists"
        raise UsageError(f"{existing[0]}{several} already; say --overwrite or --skip-existing")
    plan = Plan({}, dict(found.left_out), failed)
    for photo, paths in outputs.items():
        if photo in failed:
            continue
        if args.skip_existing and all(path.exists() for path in paths):
            plan.skipped[photo] = "its results exist" if len(paths) > 1 else "its result exists"
        else:
            plan.outputs[photo] = paths
            plan.notes[photo] = targets[photo].notes
    occupied = [path for path in existing if path.is_dir()]
    if occupied:
        raise UsageError(
            f"{occupied[0]} is a folder, and the result of a photo would have its name; remove it"
        )
    if plan.outputs:
        places = {
            place for paths in plan.outputs.values() for path in paths for place in _places(path, beside)
        }
        check_writable(sorted(places), "--output")
    check_report(args)
    return plan


def fail_early(plan: Plan, check: Callable[[Path], object]) -> None:
    """Let photos fail that `check` refuses, up to the first that it lets pass: a model has to be loaded for that one.

    Those behind it are looked at when their turn comes, so that a large folder need not wait.
    """
    for photo in list(plan.outputs):
        try:
            check(photo)
        except (OSError, ValueError) as error:
            plan.failed[photo] = error
            del plan.outputs[photo]
        else:
            return


def open_inputs(
    photo: Path, masks: Mapping[Path, Path], given: Path | None, max_pixels: int | None = None
) -> "Photo":
    """A photo, after a look at the mask that it has in what `given` names (None: it needs none).

    `max_pixels` is the option's: None is the library's limit, 0 none. Raises OSError or ValueError where one of them
    cannot be read, or they do not fit each other.
    """
    from facekit.images.masks import read_mask
    from facekit.images.photo import MAX_PIXELS, load_image

    opened = load_image(photo, max_pixels=MAX_PIXELS if max_pixels is None else max_pixels or None)
    if given is not None:
        read_mask(pick_file(photo, masks, "mask", given), opened.size)
    return opened


def _names_file(args: argparse.Namespace, results: int) -> bool:
    """Whether `--output` names the one result itself, by its ending; then sets `--format` to that of the ending.

    Raises:
        UsageError: there are several results, the ending is that of pictures that are not written, or another format
            was said.
    """
    path, suffix = args.output, args.output.suffix.lower()
    if path.is_dir() or suffix not in (*BY_SUFFIX, *NOT_WRITTEN):
        return False
    if suffix not in BY_SUFFIX:
        raise UsageError(
            f"--output {path}: results are .png, .jpg, .webp or .tif; name it so, or name a folder"
        )
    if results > 1:
        raise UsageError(f"--output {path} is one file, and there would be {results} results; name a folder")
    (name,) = (name for name, kind in FORMATS.items() if kind is BY_SUFFIX[suffix])
    if args.format not in (None, name):
        raise UsageError(f"--output {path} and --format {args.format} do not fit; leave one of them out")
    args.format = name
    return True


def check_apart(given: Iterable[Path], folder: Path, option: str) -> None:
    """Refuse results among the photos of a folder that was named: the next run would take them for photos.

    Raises UsageError.
    """
    for place in given:
        if os.path.isdir(place) and os.path.realpath(place) == os.path.realpath(folder):
            raise UsageError(f"the results would lie among the photos of {place}; name another {option}")


def check_kept(files: Sequence[Path], photos: Sequence[Path], args: argparse.Namespace, option: str) -> None:
    """Refuse files to write that would replace a photo, or what another option names: a mask, an exemplar, a script.

    `option` is the one, without dashes, that names these files. Raises UsageError.
    """
    given = {os.path.realpath(photo) for photo in photos}  # it bears links that lead in a circle
    said = f"--{option.replace('_', '-')}"
    if replaced := [file for file in files if os.path.realpath(file) in given]:
        raise UsageError(f"{replaced[0]} is one of the photos; choose another {said}")
    for other, place in _other_places(args, option):
        if replaced := [file for file in files if file.exists() and _is_at(file, place)]:
            raise UsageError(f"{replaced[0]} is what --{other} names, or lies in it; choose another {said}")


def _other_places(args: argparse.Namespace, option: str) -> list[tuple[str, Path]]:
    """Files and folders that are there and that options beside this one name, each after its option."""
    given = [(name, value) for name, value in vars(args).items() if name not in ("photos", option)]
    each = [
        (name, one)
        for name, value in given
        for one in (value if isinstance(value, list | tuple) else [value])
    ]
    return [
        (name.replace("_", "-"), Path(place))
        for name, place in each
        if isinstance(place, str | Path)
        and place
        and os.path.exists(place)
        and not (name in WRITTEN and os.path.isdir(place))
    ]


def _is_at(path: Path, place: Path) -> bool:
    """Whether a path is a file, or lies directly in a folder; links are followed."""
    return os.path.realpath(place) in (os.path.realpath(path), os.path.realpath(path.parent))


def _places(path: Path, beside: Callable[[Path], Path] | None) -> list[Path]:
    """Folders that a result is written to."""
    return [path.parent] if beside is None else [path.parent, beside(path)]


def why_too_long(paths: Sequence[Path], beside: Callable[[Path], Path] | None = None) -> str | None:
    """Why the file system would refuse a photo's results for their names; None where it would not."""
    names = [path.name for path in paths] + ([] if beside is None else [beside(path).name for path in paths])
    longest = max(names, key=lambda name: len(os.fsencode(name)))
    size, limit = len(os.fsencode(longest)), longest_name(paths[0].parent)
    if size <= limit:
        return None
    return f"its result {longest[:20]}... would have a name of {size} bytes, and {limit} are possible; rename the photo"


def longest_name(folder: Path) -> int:
    """How many bytes a name in a folder may have."""
    try:
        return os.pathconf(nearest(folder), "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return LONGEST_NAME


def check_writable(folders: Iterable[Path], option: str) -> None:
    """Write a nameless file where each folder is or will be made. Raises UsageError where that fails."""
    for folder in {nearest(folder): folder for folder in folders}.values():
        reason = why_not_writable(folder)
        if reason:
            raise UsageError(f"{option} {reason}")


def check_new_folder(folder: Path, overwrite: bool, sources: Iterable[str | Path | None] = ()) -> None:
    """Refuse a folder that is to be written whole, under another name first, in place of what is there.

    `sources` are what it is made of, as named: places, Hub ids, None where there is none. Raises UsageError where the
    folder is there unasked, would take a source along when it is replaced, or cannot be written.
    """
    occupied = folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder")
    if occupied and not overwrite:
        raise UsageError(f"{folder} exists already; name another folder or say --overwrite")
    inside = [
        source
        for source in sources
        if source is not None and os.path.exists(source) and _is_below(Path(source), folder)
    ]
    if occupied and inside:
        raise UsageError(f"{inside[0]} is in {folder}, which would be replaced; name another --output")
    check_writable([folder.parent], "--output")


def check_report(args: argparse.Namespace) -> None:
    """Refuse a `--json` that cannot be written, or would replace anything but an earlier report. Raises UsageError."""
    file = args.json
    if file is None:
        return
    if os.path.lexists(file) and not file.is_file():
        raise UsageError(f"--json {file} is there and no file; name another one")
    if why_no_picture_name(file) is None:
        raise UsageError(
            f"--json {file} is named like a picture; name a file for the report, such as report.json"
        )
    for option in WRITTEN:
        place = getattr(args, option, None)
        if option != "json" and place is not None and _is_below(place, file):
            raise UsageError(f"--json {file} is where --{option.replace('_', '-')} writes; name another one")
    if file.exists() and not is_report(file):
        raise UsageError(f"--json {file} is there and no report of an earlier run; name another one")
    check_writable([file.parent], "--json")


def _is_below(path: Path, place: Path) -> bool:
    """Whether a path is a place, or lies in it or deeper; links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(place))
