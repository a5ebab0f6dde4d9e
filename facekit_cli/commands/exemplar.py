"""`facekit exemplar`: fill holes in faces in the manner of another face."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from facekit_cli.arguments import file_path
from facekit_cli.errors import UsageError
from facekit_cli.loop import finish, work_through
from facekit_cli.models import (
    load_pipeline,
    load_restore_with,
    place_model,
    place_restore_with,
    settle_device,
)
from facekit_cli.options import (
    add_device_options,
    add_exemplar_options,
    add_face_options,
    add_mask_option,
    add_output_options,
    add_photos,
    add_restorer_option,
    add_sketch_filter,
    add_tones_option,
    check_counts,
    parse_exemplar_face,
    parse_faces,
)
from facekit_cli.photos import fail_early, find_photos, match_files, open_inputs, pick_file, plan_outputs
from facekit_cli.results import provenance_of, save_picture

if TYPE_CHECKING:
    from facekit.pipelines.exemplar.encoding import ExemplarCodes
    from facekit.pipelines.exemplar.pipeline import ExemplarInpaintPipeline

Encode = Callable[[list[Path]], "ExemplarCodes"]

HELP = "fill holes in faces after another face"
DESCRIPTION = "Fill the part of each face that a mask marks in the manner of an exemplar face."
EXAMPLES = """\
examples:
  facekit exemplar photo.jpg --mask eyes.png --exemplar star.jpg --output new
  facekit exemplar photo.jpg --mask eyes.png --exemplar a.jpg b.jpg --candidates 2 --output new
  facekit exemplar people/ --recover glasses --exemplar same-people/ --output seen
  facekit exemplar photo.jpg --mask hair.png --exemplar a.jpg --second-exemplar b.jpg --sweep --model exegan-256
      --output mixed

The mask is white (128 or more of 255; a bright colour will do) where the face is to be filled, or painted on a
transparent layer, or the erased, transparent part of a copy of the photo.
Everything outside the mask comes back as it was; results are PNG (TIFF for CMYK) or --format. With several exemplars or
candidates results are numbered: all candidates of the first exemplar, then those of the second. A photo's
result is the same whether it is filled alone or among others. Published models come from: facekit convert exegan
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments and options."""
    add_photos(parser)
    add_mask_option(parser)
    parser.add_argument(
        "--recover",
        choices=("glasses", "lower_face"),
        help="fill what glasses or a face mask hide; no mask needed",
    )
    parser.add_argument(
        "--exemplar",
        "-e",
        nargs="+",
        required=True,
        type=file_path,
        metavar="PICTURE",
        help="one picture or several for all photos, or a folder of pictures with the photos' names",
    )
    parser.add_argument(
        "--second-exemplar", type=file_path, metavar="PICTURE", help="a picture to be mixed in"
    )
    parser.add_argument(
        "--style-layers",
        metavar="K",
        help="with a second exemplar: codes from K on come from it, or a list such as 4-6,9 (default: half)",
    )
    parser.add_argument(
        "--sweep", action="store_true", help="write one picture of both exemplars and every crossover"
    )
    parser.add_argument(
        "--exemplar-layers",
        metavar="LIST",
        help="codes that come from exemplars, such as 4-13 (default: all)",
    )
    parser.add_argument(
        "--strength", type=float, default=1.0, help="0 to 1: how much the exemplar says (default: 1)"
    )
    parser.add_argument(
        "--sketch", type=file_path, help="strokes drawn into the hole: one for all, or a folder as for masks"
    )
    add_sketch_filter(parser)
    add_output_options(parser)
    parser.add_argument("--candidates", type=int, default=1, metavar="N", help="results for each exemplar")
    parser.add_argument(
        "--truncation", type=float, default=1.0, metavar="PSI", help="below 1: less variety, fewer failures"
    )
    add_restorer_option(parser)
    add_tones_option(parser)
    add_exemplar_options(parser, "the exemplars")
    add_face_options(parser, "codes and noise")
    add_device_options(parser)


def run(args: argparse.Namespace) -> int:
    """Fill all photos; 0 when all went well, 1 when some failed."""
    _check(args)
    args.model = place_model(args.model, "exemplar-inpaint")
    place_restore_with(args)
    settings = {
        "exemplar_layers": _parse_layers(args.exemplar_layers, "--exemplar-layers"),
        "exemplar_strength": args.strength,
        "truncation_psi": args.truncation,
        "noise": args.noise,
    }
    photo_settings = {"recover": args.recover, "aligned": args.aligned, "faces": parse_faces(args.faces)}
    photo_settings |= {"match_tones": args.match_tones, "watermark": args.provenance == "both"}
    style_layers = _parse_layers(args.style_layers, "--style-layers", crossover=True)
    found = find_photos(args.photos)
    photos = found.photos
    masks = {} if args.mask is None else match_files(photos, args.mask, "mask")
    sketches = {} if args.sketch is None else match_files(photos, args.sketch, "sketch")
    exemplars = _match_exemplars(photos, args.exemplar)
    results = 1 if args.sweep else args.candidates * max(map(len, exemplars.values()))
    plan = plan_outputs(found, args, results)
    fail_early(plan, lambda photo: open_inputs(photo, masks, args.mask))
    outputs = plan.outputs

    def fill(
        pipeline: "ExemplarInpaintPipeline", encode: Encode, second: "ExemplarCodes | None", photo: Path
    ) -> dict[str, Any]:
        import torch

        from facekit.images.photo import Photo
        from facekit.images.tensors import expect_kind
        from facekit.provenance import watermark_picture

        sketch: Any = args.sketch and pick_file(photo, sketches, "sketch", args.sketch)
        if args.draw_sketch is not None:
            from facekit.conditions.sketch import sketch_photo

            size = pipeline.multi_style_generator.config.sample_size
            sketch = sketch_photo(
                photo, filter=args.draw_sketch, lines_of=sketch, size=size, aligned=args.aligned
            )
        call: dict[str, Any] = {
            "image": photo,
            "mask": args.mask and pick_file(photo, masks, "mask", args.mask),
            "sketch": sketch,
            "exemplar": encode(pick_file(photo, exemplars, "exemplar", args.exemplar[0])),
            "second_exemplar": second,
            "generator": torch.Generator("cpu").manual_seed(args.seed),
        }
        origin = provenance_of(args, pipeline, photo_settings["restore_with"])
        if args.sweep:
            swept = pipeline.sweep(**call, **settings, **photo_settings | {"watermark": False})
            sheet = swept.grid()
            if args.provenance == "both":  # laid over the sheet as it is, so that it is found there
                sheet = watermark_picture(sheet)
            save_picture(sheet, outputs[photo][0], origin, args.quality)
            return {"status": "done", "crossovers": swept.crossovers, "notes": swept.notes}
        output = pipeline(
            **call,
            **settings,
            **photo_settings,
            style_layers=style_layers,
            num_images=args.candidates,
            output_type="photo",
        )
        for image, path in zip(expect_kind(output.images, Photo), outputs[photo], strict=True):
            save_picture(image, path, origin, args.quality)
        entry = {"status": "done", "faces": len(output.faces[0]), "notes": output.notes}
        return entry | ({"similarities": output.similarities} if output.similarities else {})

    work = None
    if outputs:
        from facekit.pipelines.exemplar.pipeline import ExemplarInpaintPipeline

        device = settle_device(args)
        pipeline = load_pipeline(ExemplarInpaintPipeline, args.model, device, args.dtype)
        photo_settings["restore_with"] = load_restore_with(args, device)
        plan.remove_parts()
        encode = _make_encoder(pipeline, args)
        second = _prepare(pipeline, args, settings, style_layers, exemplars, encode)
        work = partial(fill, pipeline, encode, second)
    details = {
        photo: {
            "mask": str(masks[photo]) if photo in masks else None,
            "exemplars": [str(path) for path in exemplars.get(photo, ())],
            "outputs": [str(path) for path in paths],
        }
        for photo, paths in outputs.items()
    }
    entries = work_through("exemplar", plan, details, work)
    names = (
        "model",
        "restore_with",
        "match_tones",
        "recover",
        "seed",
        "device",
        "dtype",
        "format",
        "quality",
    )
    reported = {key: getattr(args, key) for key in names}
    return finish("exemplar", entries, reported | settings | {"style_layers": style_layers}, args)


def _check(args: argparse.Namespace) -> None:
    """Refuse options that cannot work, without importing torch."""
    check_counts(args, "candidates")
    if args.mask is None and args.recover is None:
        raise UsageError("say what is to be filled: --mask, or --recover glasses, or --recover lower_face")
    if args.second_exemplar is None and (args.sweep or args.style_layers is not None):
        raise UsageError(
            "--sweep and --style-layers mix two exemplars; name the other with --second-exemplar"
        )
    if args.second_exemplar is not None and not args.second_exemplar.is_file():
        raise UsageError(f"the second exemplar {args.second_exemplar} does not exist or is no file")
    if args.sweep and (args.candidates > 1 or len(args.exemplar) > 1 or args.style_layers is not None):
        raise UsageError(
            "--sweep mixes one exemplar and one other with every crossover: leave out --style-layers, "
            "--candidates and further exemplars"
        )


def _parse_layers(text: str | None, option: str, crossover: bool = False) -> int | list[int] | None:
    """`4-6,9` as a list; a single number is a crossover where that is possible."""
    if text is None:
        return None
    try:
        if crossover and text.isdecimal():
            return int(text)
        layers: list[int] = []
        for part in text.split(","):
            low, _, high = part.partition("-")
            layers += range(int(low), int(high or low) + 1)
    except ValueError:
        raise UsageError(f"{option} is {text!r}; say numbers such as 4-6,9") from None
    if not layers:
        raise UsageError(f"{option} is {text!r}, which names no code; say numbers such as 4-6,9")
    return layers


def _match_exemplars(photos: Sequence[Path], given: Sequence[Path]) -> dict[Path, list[Path]]:
    if len(given) == 1:
        return {photo: [file] for photo, file in match_files(photos, given[0], "exemplar").items()}
    for path in given:
        if not path.is_file():
            raise UsageError(f"the exemplar {path} does not exist or is no file")
    return {photo: list(given) for photo in photos}


def _make_encoder(pipeline: "ExemplarInpaintPipeline", args: argparse.Namespace) -> Encode:
    """What encodes exemplars; those that all photos share are encoded once."""
    face = parse_exemplar_face(args.exemplar_face)
    last: dict[tuple[Path, ...], ExemplarCodes] = {}

    def encode(paths: list[Path]) -> "ExemplarCodes":
        key = tuple(paths)
        if key not in last:
            last.clear()
            last[key] = pipeline.encode_exemplar(
                paths, aligned=args.aligned or args.exemplar_aligned, face=face
            )
        return last[key]

    return encode


def _prepare(
    pipeline: "ExemplarInpaintPipeline",
    args: argparse.Namespace,
    settings: dict[str, Any],
    style_layers: int | list[int] | None,
    exemplars: dict[Path, list[Path]],
    encode: Encode,
) -> "ExemplarCodes | None":
    """Refuse what no photo could be filled with; returns the codes of the second exemplar."""
    from facekit.pipelines.exemplar.layers import choose_second_layers

    try:
        layers = pipeline.check_inputs(
            **settings, num_images=args.candidates, max_batch_size=1, output_type="photo"
        )
        drawn = args.sketch is not None or args.draw_sketch is not None
        if drawn and not pipeline.multi_style_generator.config.use_sketch:
            raise ValueError("this model takes no sketch")
        second = None
        if args.second_exemplar is not None:
            choose_second_layers(style_layers, layers)
            second = encode([args.second_exemplar])
        if len(args.exemplar) > 1 or args.exemplar[0].is_file():
            encode(next(iter(exemplars.values())))
    except (ValueError, OSError) as error:
        raise UsageError(error) from error
    return second
