"""Faces of people who do not exist: pictures that a StyleGAN2 prior makes of random or mixed style codes.

The bundled prior is soft: it knows where a face has its eyes, not what they look like. `finish_faces` lets the models
that fill and restore paint its faces over.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from huggingface_hub import hf_hub_download
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from facekit.hub.errors import explain_errors
from facekit.hub.starters import starter
from facekit.images.tensors import expect_kind
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.pipelines.base import Generators
from facekit.pipelines.exemplar.pipeline import ExemplarInpaintPipeline
from facekit.pipelines.restore import FaceRestorePipeline
from facekit.pipelines.restored_fill import damage_fill
from facekit.provenance import watermark_picture

CODES_FILE = "style_codes.safetensors"
# Ellipses in an aligned face (left, top, right, bottom; shares of the side): the head with its hair, and the features.
HEAD = (0.12, 0.05, 0.88, 0.95)
FEATURES = (0.25, 0.31, 0.75, 0.88)
# How badly a face is damaged before it is restored: sampled faces are softer than fills. Of 64 by the bundled prior the
# KID on Lite0's features is 0.07 at 0.4 and at 0.57 and 0.09 at 0.7, the sharpness 32, 40 and 58% of photos'. At 0.7
# nostrils and jaws begin to break.
SEVERITY = 0.57
FINISHED_AT_ONCE = 4


def mix_style_codes(
    codes: torch.Tensor, count: int, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Codes between those of known faces: [M, n, D] -> [count, n, D].

    Each comes from two different faces: interpolated by a random share, or with the codes from a random layer on
    taken from the second (style mixing). A prior that was trained as an auto-encoder is sampled this way.

    Raises:
        ValueError: fewer than two faces, or a count below 1.
    """
    if codes.ndim != 3 or len(codes) < 2:
        raise ValueError(f"codes must be [M, n, D] of at least two faces, not {list(codes.shape)}")
    if count < 1:
        raise ValueError(f"count is {count}; it must be 1 or more")
    mixed = []
    for _ in range(count):
        first, second = codes[torch.randperm(len(codes), generator=generator)[:2]].float()
        if torch.rand((), generator=generator) < 0.5:
            share = torch.rand((), generator=generator)
        else:
            crossover = int(torch.randint(1, codes.shape[1], (), generator=generator))
            share = (torch.arange(codes.shape[1]) >= crossover).float()[:, None]
        mixed.append(torch.lerp(first, second, share))
    return torch.stack(mixed)


def load_style_codes(source: str | Path) -> torch.Tensor | None:
    """Codes of training faces in a prior's folder or Hub repository, [M, n, D]; None where it has none."""
    file = Path(source) / CODES_FILE
    if not Path(source).is_dir():
        try:
            with explain_errors(source) as options:
                file = Path(hf_hub_download(str(source), CODES_FILE, **options))
        except OSError:
            return None
    return load_file(file)["w_plus"] if file.is_file() else None


@torch.inference_mode()
def sample_faces(
    count: int = 1,
    source: str | Path | None = None,
    truncation_psi: float = 0.8,
    generator: torch.Generator | None = None,
    device: str | torch.device = "cpu",
    watermark: bool = False,
    finish: bool | None = None,
) -> list[Image.Image]:
    """Make pictures of people who do not exist.

    Args:
        count: how many.
        source: folder or Hub id of a `StyleGAN2Generator`; None is the bundled starter. Where it has codes of
            training faces, those are mixed; otherwise its mapping network makes the codes.
        truncation_psi: 0 to 1. 1 is the full variety; the nearer to 0, the nearer the pictures are to the mean face.
        generator: CPU generator; the same state gives the same pictures.
        device: where the networks run.
        watermark: mark the pictures invisibly, see `facekit.provenance.watermark`.
        finish: paint the faces over with the bundled models, see `finish_faces`; None: those of the bundled prior.

    Returns:
        RGB images of the prior's size.

    Raises:
        OSError: there is no such model, or none of those that finish.
        ValueError: a count below 1, or `truncation_psi` outside 0 to 1.
    """
    if count < 1 or not 0 <= truncation_psi <= 1:
        raise ValueError(
            f"count must be 1 or more and truncation_psi between 0 and 1, not {count} and {truncation_psi}"
        )
    bundled = starter("face-prior")
    source = source or bundled
    if finish is None:
        finish = Path(source).resolve() == Path(bundled).resolve()
    prior = StyleGAN2Generator.from_pretrained(source).eval().to(device)
    codes = load_style_codes(source)
    pictures = []
    for _ in range(count):
        if codes is None:
            given = {"z": torch.randn(1, prior.config.style_dim, generator=generator).to(device)}
        else:
            given = {"w_plus": mix_style_codes(codes, 1, generator).to(device)}
        image = prior(**given, truncation_psi=truncation_psi, noise="fixed").image[0]
        pixels = image.float().clamp(-1, 1).add(1).mul(127.5).round().byte().permute(1, 2, 0)
        pictures.append(Image.fromarray(pixels.cpu().numpy()))
    if finish:
        exemplar = ExemplarInpaintPipeline.from_pretrained(starter("exemplar-inpaint")).to(device)
        restorer = FaceRestorePipeline.from_pretrained(starter("face-restore")).to(device)
        for pipeline in (exemplar, restorer):
            pipeline.set_progress_bar_config(disable=True)
        # Each face has a seed of its own, so that it is the same among few and many.
        first = int(torch.randint(2**62, ())) if generator is None else generator.initial_seed()
        seeds = [torch.Generator().manual_seed((first + place) % 2**63) for place in range(count)]
        groups = [slice(start, start + FINISHED_AT_ONCE) for start in range(0, count, FINISHED_AT_ONCE)]
        pictures = [
            face
            for group in groups
            for face in finish_faces(pictures[group], exemplar, restorer, seeds[group])
        ]
    return [watermark_picture(picture) for picture in pictures] if watermark else pictures


def finish_faces(
    faces: Sequence[Image.Image],
    exemplar: ExemplarInpaintPipeline,
    restorer: FaceRestorePipeline,
    generator: Generators = None,
) -> list[Image.Image]:
    """Paint soft aligned faces over: the head and then the features are filled after the restored face itself.

    What the fills cannot know, since nothing but the soft face says it, comes from the models: other eyes, another
    mouth. So this is for faces of nobody, and no restoration of a person.

    Args:
        faces: aligned, RGB.
        exemplar, restorer: fill, and draw the detail of the soft face and of each fill.
        generator: source of all randomness; a list has one for each face.

    Returns:
        Pictures of the sizes of `faces`.
    """

    def restore(pictures: list[Image.Image]) -> list[Image.Image]:
        side = restorer.restorer.config.sample_size
        seen = [picture.resize((side, side), Image.Resampling.LANCZOS) for picture in pictures]
        damaged = [damage_fill(np.asarray(picture), SEVERITY) for picture in seen]
        # One pass, as in `restore_fill`.
        output = restorer(damaged, aligned=True, self_ensemble=False, generator=generator)
        restored = zip(pictures, expect_kind(output.images, Image.Image), strict=True)
        return [new.resize(old.size, Image.Resampling.LANCZOS) for old, new in restored]

    first = restore(list(faces))
    filled = first
    for place in (HEAD, FEATURES):
        masks = [_draw_ellipse(place, face.size) for face in filled]
        output = exemplar(filled, masks, first, aligned=True, generator=generator)
        filled = restore(expect_kind(output.images, Image.Image))
    return filled


def _draw_ellipse(place: tuple[float, float, float, float], size: tuple[int, int]) -> np.ndarray:
    """A mask bool `[H, W]` of an ellipse whose box is given in shares of the (width, height)."""
    mask = Image.new("1", size)
    width, height = size
    left, top, right, bottom = place
    ImageDraw.Draw(mask).ellipse((left * width, top * height, right * width, bottom * height), fill=1)
    return np.asarray(mask)
