"""Options that several commands share."""

import argparse

from facekit.images.formats import FORMATS
from facekit_cli.arguments import file_path, hub_name, quality_number, seed_number
from facekit_cli.errors import UsageError

DTYPES = ("float32", "bfloat16", "float16")


def add_photos(parser: argparse.ArgumentParser) -> None:
    """Add the photos to work on."""
    parser.add_argument(
        "photos", nargs="+", type=file_path, metavar="PHOTO", help="picture files, or folders of them"
    )


def add_mask_option(parser: argparse.ArgumentParser, required: bool = False) -> None:
    """Add `--mask`, which `match_files` reads."""
    parser.add_argument(
        "--mask",
        "-m",
        required=required,
        type=file_path,
        help="one mask for all, or a folder of masks with the photos' names",
    )


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Add `--output`, `--overwrite`, `--skip-existing`, `--json`, `--format`, `--quality`, `--provenance`."""
    parser.add_argument(
        "--output",
        "-o",
        type=file_path,
        required=True,
        metavar="OUT",
        help="folder for the results; of one photo with one result also the file, .png, .jpg, .webp or .tif",
    )
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--overwrite", action="store_true", help="replace results that exist")
    existing.add_argument("--skip-existing", action="store_true", help="leave out photos whose result exists")
    parser.add_argument("--json", type=file_path, metavar="FILE", help="write a report of every photo")
    add_format_options(parser)
    add_provenance_option(parser)


def add_format_options(parser: argparse.ArgumentParser) -> None:
    """Add `--format`, `--quality`, which `choose_target` and `save_picture` go by."""
    parser.add_argument(
        "--format",
        choices=("same", *FORMATS),
        help="format of results: same is the photo's own (a JPEG for HEIC and AVIF, a PNG for others that are not "
        "written); default: png, tiff for CMYK",
    )
    parser.add_argument(
        "--quality",
        type=quality_number,
        metavar="Q",
        help="1 to 100, of results that are JPEG or WebP (default: 95); 90 and more keeps the colour of every pixel",
    )


def check_format_options(args: argparse.Namespace) -> None:
    """Refuse a quality of files that have none. Raises UsageError."""
    if args.quality is not None and args.format not in ("same", "jpeg", "webp"):
        raise UsageError("--quality is for JPEG and WebP; say --format jpeg, webp or same")


def add_provenance_option(parser: argparse.ArgumentParser) -> None:
    """Add `--provenance`."""
    parser.add_argument(
        "--provenance",
        choices=("both", "metadata", "none"),
        default="both",
        help="label results as edited: in the file and by an invisible mark in the changed pixels (default), "
        "in the file alone, or not at all",
    )


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Add `--device`, `--dtype`."""
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: the best there is)"
    )
    parser.add_argument(
        "--dtype",
        choices=("auto", *DTYPES),
        default="auto",
        help="number type of the networks (default: the fastest here, measured once: float32 or bfloat16)",
    )


def add_model_option(parser: argparse.ArgumentParser) -> None:
    """Add `--model`, which `place_model` reads."""
    parser.add_argument(
        "--model",
        type=hub_name,
        help="starter (the bundled model, default), published (the authors' weights), a model folder, or ORG/NAME on "
        "the Hub",
    )


def add_face_options(parser: argparse.ArgumentParser, seeded: str) -> None:
    """Add `--aligned`, `--faces`, `--model`, `--seed`; `seeded` says what the seed is for."""
    parser.add_argument(
        "--aligned", action="store_true", help="the photos are aligned faces: no face detection"
    )
    parser.add_argument(
        "--faces", default="all", help="all, largest, or numbers from the left, counted from 0: 0,2"
    )
    add_model_option(parser)
    parser.add_argument(
        "--seed", type=seed_number, default=0, help=f"seed of {seeded}, the same for every photo"
    )


def add_restorer_option(parser: argparse.ArgumentParser) -> None:
    """Add `--restore-with`, which `load_restore_with` reads."""
    parser.add_argument(
        "--restore-with",
        type=hub_name,
        metavar="MODEL",
        help="let a restorer draw the detail of the filled faces: starter (the bundled one, good behind other bundled "
        "models), published, a model folder, or ORG/NAME on the Hub",
    )


def add_tones_option(parser: argparse.ArgumentParser) -> None:
    """Add `--match-tones` and `--no-match-tones`; neither leaves it to the model."""
    parser.add_argument(
        "--match-tones",
        action=argparse.BooleanOptionalAction,
        help="take away steps in tone along the rim of what was filled, or leave them (default: as the model does)",
    )


def add_self_ensemble_option(parser: argparse.ArgumentParser) -> None:
    """Add `--self-ensemble` and `--no-self-ensemble`; neither leaves it to the restoration model."""
    parser.add_argument(
        "--self-ensemble",
        action=argparse.BooleanOptionalAction,
        help="restore the mirror image of each face too and average both: truer and softer, for twice the time; or do "
        "not: sharper (default: as the model does)",
    )


def add_exemplar_options(parser: argparse.ArgumentParser, references: str) -> None:
    """Add `--exemplar-aligned`, `--exemplar-face`, `--noise`; `references` says which pictures the first is about."""
    parser.add_argument(
        "--exemplar-aligned", action="store_true", help=f"{references} are aligned faces, too"
    )
    parser.add_argument(
        "--exemplar-face", default="only", help="only, largest, or a number from the left (default: only)"
    )
    parser.add_argument(
        "--noise", choices=("random", "fixed", "none"), default="random", help="noise in each pixel"
    )


def add_sketch_filter(parser: argparse.ArgumentParser) -> None:
    """Add `--draw-sketch`."""
    parser.add_argument(
        "--draw-sketch",
        choices=("pencil", "canny"),  # SKETCH_FILTERS; its module imports OpenCV, too slow for a help
        metavar="FILTER",
        help="pencil or canny: let this filter draw the sketch, of the photo itself (which keeps its shapes under the "
        "mask) or of the pictures that --sketch names",
    )


def check_counts(args: argparse.Namespace, *names: str) -> None:
    """Refuse what counts something and is below 1; None is left to the pipeline. Raises UsageError."""
    for name in names:
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be 1 or more")


def parse_faces(text: str) -> str | list[int]:
    """`--faces` as the pipelines take it. Raises UsageError where it is none of the three forms."""
    from facekit.faces.selection import parse_selection  # imports OpenCV, for which no help should wait

    try:
        return parse_selection(text, "--faces")
    except ValueError as error:
        raise UsageError(error) from None


def parse_exemplar_face(text: str) -> str | int:
    """`--exemplar-face` as the pipelines take it. Raises UsageError where it is none of the three forms."""
    if text in ("only", "largest"):
        return text
    if text.isdecimal():
        return int(text)
    raise UsageError(f"--exemplar-face is {text!r}; say only, largest, or a number such as 0")
