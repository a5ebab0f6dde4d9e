"""`facekit convert`: the authors' published checkpoints become folders for `from_pretrained`."""

import argparse
import sys

from facekit_cli.arguments import file_name, file_path, hub_name
from facekit_cli.errors import UsageError
from facekit_cli.options import DTYPES
from facekit_cli.photos import check_new_folder

HELP = "turn published checkpoints into model folders"
DESCRIPTION = "Turn an authors' checkpoint into a folder that facekit loads."
EXAMPLES = """\
examples:
  facekit convert grig fid_best_model.pth --output grig-ffhq
  facekit convert grig fid_best_model.pth --output grig-ffhq-fp16 --dtype float16
  facekit inpaint photo.jpg --mask mask.png --model grig-ffhq --output filled
  facekit convert vspbfr Wanglong2/VSPBFR --output vspbfr
  facekit convert vspbfr folder-with-the-four-files --output vspbfr-fp16 --dtype float16
  facekit convert exegan folder-with-the-files --size 256 --output exegan-256
  facekit convert exegan EXE_GAN_model_512.pt --style-encoder psp_ffhq_encode.pt --output exegan-512
  facekit convert style-encoder best_model.pt --codes 14 --output facemug-encoder
  facekit convert stylegan2 stylegan2-ffhq-config-f.pt --output ffhq-prior
  facekit convert bisenet 79999_iter.pth --output face-parser
  facekit convert arcface model_ir_se50.pth --output identity
  facekit convert directions folder-with-age.pt-and-others --output ffhq-directions
  facekit convert directions mapper-changes/angry.npy --source styleclip --output styleclip-directions
  facekit convert directions folder-of-tensors --source clip2stylegan --output clip-directions

style-encoder, stylegan2, bisenet, arcface and directions write one network. Training takes their folders as
style_encoder, prior, guidance.face_parser, pictures.identity_encoder and directions. FaceEditPipeline takes the
networks but arcface's, loaded with from_pretrained of facekit.StyleEncoder, StyleGAN2Generator, BiSeNet and
StyleDirections; arcface's folder is for --identity of facekit restore and facekit evaluate.
Checkpoint files are opened without running code that they may hold.
"""
GRIG_PARTS = ("pipeline", "projected-discriminator", "patch-discriminator")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments and options."""
    methods = parser.add_subparsers(title="methods", metavar="METHOD", dest="method", required=True)
    grig = methods.add_parser("grig", help="GRIG (few-shot generative residual image inpainting)")
    grig.add_argument("checkpoint", type=file_path, metavar="CHECKPOINT", help="the authors' .pth file")
    grig.add_argument("--part", choices=GRIG_PARTS, default="pipeline", help="what to convert")
    grig.add_argument("--raw", action="store_true", help="the raw generator instead of the averaged one")
    vspbfr = methods.add_parser("vspbfr", help="VSPBFR (blind face restoration with visual style prompts)")
    vspbfr.add_argument(
        "source",
        type=hub_name,
        metavar="SOURCE",
        help="folder with Arcface.pth, style_encoder_decoder.pt, code_diffuser.pt and restoration_net.pt, "
        "or a Hub id such as Wanglong2/VSPBFR",
    )
    vspbfr.add_argument("--revision", help="branch, tag or commit of the Hub model")
    exegan = methods.add_parser("exegan", help="EXE-GAN (facial inpainting guided by exemplars)")
    exegan.add_argument(
        "source",
        type=hub_name,
        metavar="SOURCE",
        help="folder with EXE_GAN_model_256.pt or EXE_GAN_model_512.pt, psp_ffhq_encode.pt and, if wanted, "
        "Arcface.pth; or the generator's file; or a Hub id",
    )
    exegan.add_argument("--size", type=int, choices=(256, 512), help="which generator, where there are both")
    exegan.add_argument(
        "--style-encoder",
        type=file_name,
        metavar="FILE",
        help="psp_ffhq_encode.pt, where it lies elsewhere",
    )
    exegan.add_argument("--raw", action="store_true", help="the raw generator instead of the averaged one")
    exegan.add_argument("--revision", help="branch, tag or commit of the Hub model")
    style_encoder = methods.add_parser(
        "style-encoder", help="a style encoder of e4e's kind, such as FACEMUG's of 26 channels"
    )
    style_encoder.add_argument(
        "checkpoint",
        type=file_path,
        metavar="CHECKPOINT",
        help="the trainer's .pt file, such as best_model.pt",
    )
    style_encoder.add_argument(
        "--codes",
        type=int,
        choices=(14, 16, 18),
        help="codes to keep, those of the prior (18: 1024 pixels, 16: 512, 14: 256; default: all of the file)",
    )
    stylegan2 = methods.add_parser("stylegan2", help="a StyleGAN2 generator alone: a prior")
    stylegan2.add_argument(
        "checkpoint",
        type=file_path,
        metavar="CHECKPOINT",
        help="PyTorch file with the state dict g_ema, of any size; or e4e's, of which the decoder is taken",
    )
    bisenet = methods.add_parser("bisenet", help="the usual BiSeNet face parser of 19 classes")
    bisenet.add_argument("checkpoint", type=file_path, metavar="CHECKPOINT", help="79999_iter.pth")
    arcface = methods.add_parser("arcface", help="the IR-SE50 face identity network, with which e4e trains")
    arcface.add_argument("checkpoint", type=file_path, metavar="CHECKPOINT", help="model_ir_se50.pth")
    directions = methods.add_parser("directions", help="attribute directions of the StyleGAN2 for FFHQ")
    directions.add_argument(
        "place",
        type=file_path,
        metavar="PLACE",
        help="folder with any of age.pt, smile.pt, pose.pt and ffhq_pca.pt, or one .safetensors file of them; with "
        "--source a file of tensors [512] or [codes, 512] (.npy, .npz, .pt, .pth, .safetensors), or a folder of such, "
        "called after the attributes",
    )
    directions.add_argument(
        "--source",
        choices=("ffhq", "styleclip", "clip2stylegan"),
        default="ffhq",
        help="whose: those in e4e's folder (default); StyleCLIP's, the change of W+ codes by optimisation or a mapper, "
        "not its global directions; CLIP2StyleGAN's",
    )
    directions.add_argument(
        "--codes",
        type=int,
        choices=(14, 16, 18),
        default=18,
        help="style codes of the generator (18: 1024 pixels)",
    )
    for method in (grig, vspbfr, exegan, style_encoder, stylegan2, bisenet, arcface, directions):
        method.add_argument(
            "--output", "-o", type=file_path, required=True, metavar="DIR", help="folder to write"
        )
        method.add_argument("--dtype", choices=DTYPES, default="float32", help="number type of the weights")
        method.add_argument("--overwrite", action="store_true", help="replace a folder that exists")


def run(args: argparse.Namespace) -> int:
    """Convert a checkpoint; 0 when the folder is written, 1 when the files cannot be read or do not fit."""
    if "checkpoint" in args and not args.checkpoint.is_file():
        raise UsageError(f"the checkpoint {args.checkpoint} does not exist or is no file")
    sources = [getattr(args, name, None) for name in ("checkpoint", "source", "place", "style_encoder")]
    check_new_folder(args.output, args.overwrite, sources)

    try:
        _CONVERT[args.method](args)
    except (OSError, ValueError) as error:
        print(f"not converted: {error}", file=sys.stderr)
        return 1
    print(f"wrote {args.output}")
    return 0


def _convert_grig(args: argparse.Namespace) -> None:
    import torch

    from facekit.convert import grig

    grig.convert(
        args.checkpoint,
        args.output,
        part=args.part,
        use_ema=not args.raw,
        dtype=getattr(torch, args.dtype),
        overwrite=args.overwrite,
    )


def _convert_exegan(args: argparse.Namespace) -> None:
    import torch

    from facekit.convert import exegan

    exegan.convert(
        args.source,
        args.output,
        size=args.size,
        style_encoder=args.style_encoder,
        use_ema=not args.raw,
        dtype=getattr(torch, args.dtype),
        overwrite=args.overwrite,
        revision=args.revision,
    )


def _convert_vspbfr(args: argparse.Namespace) -> None:
    import torch

    from facekit.convert import vspbfr

    vspbfr.convert(
        args.source,
        args.output,
        dtype=getattr(torch, args.dtype),
        overwrite=args.overwrite,
        revision=args.revision,
    )


def _convert_directions(args: argparse.Namespace) -> None:
    import torch

    from facekit.convert import directions

    dtype = getattr(torch, args.dtype)
    directions.convert(args.place, args.output, args.codes, dtype, args.overwrite, args.source)


def _convert_style_encoder(args: argparse.Namespace) -> None:
    import torch

    from facekit.convert import style_encoder

    dtype = getattr(torch, args.dtype)
    style_encoder.convert(args.checkpoint, args.output, args.codes, dtype, args.overwrite)


def _convert_stylegan2(args: argparse.Namespace) -> None:
    import torch

    from facekit.convert import prior

    prior.convert(args.checkpoint, args.output, getattr(torch, args.dtype), args.overwrite)


def _convert_bisenet(args: argparse.Namespace) -> None:
    import torch

    from facekit.convert import bisenet

    bisenet.convert(args.checkpoint, args.output, getattr(torch, args.dtype), args.overwrite)


def _convert_arcface(args: argparse.Namespace) -> None:
    import torch

    from facekit.convert import arcface

    arcface.convert(args.checkpoint, args.output, getattr(torch, args.dtype), args.overwrite)


_CONVERT = {
    "grig": _convert_grig,
    "vspbfr": _convert_vspbfr,
    "exegan": _convert_exegan,
    "style-encoder": _convert_style_encoder,
    "stylegan2": _convert_stylegan2,
    "bisenet": _convert_bisenet,
    "arcface": _convert_arcface,
    "directions": _convert_directions,
}
