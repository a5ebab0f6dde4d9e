"""What `speed.py` times: the rows of its table. Networks have random weights where no trained ones are needed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facekit import (
    CodeDiffuser,
    CodeDiffusionScheduler,
    ExemplarInpaintPipeline,
    FaceEditPipeline,
    FaceInpaintPipeline,
    FaceRestorePipeline,
    LatentWarper,
    MultimodalAggregation,
    MultiStyleGenerator,
    RefinementAutoEncoder,
    ResidualInpainter,
    RestoreAutoEncoder,
    StyleEncoder,
    StyleGAN2Generator,
    starter,
)
from facekit.conditions.guidance import encoder_input
from facekit.hub.classes import pipeline_class
from facekit.methods import Method, MethodError, methods
from facekit.models.layers.noise import NoiseInjection
from facekit.models.layers.unet import EncodedFace
from facekit.pipelines.edit.cache import EditCache

Call = Callable[[], Any]
Build = Callable[[torch.device, torch.dtype], Call]


@dataclass
class Case:
    """One row of the table.

    Attributes:
        name: the row's name.
        pipeline: class that is measured.
        size: side of the square picture, in pixels.
        build: makes the call to be timed, for a device and a number type.
        whole: name of the row this one is a part of.
        batch: pictures in one call.
    """

    name: str
    pipeline: str
    size: int
    build: Build
    whole: str | None = None
    batch: int = 1


CASES: dict[str, Case] = {}
STARTER_SIZE = 256


def case(name: str, pipeline: str, size: int) -> Callable[[Build], Build]:
    """Register a function `(device, dtype) -> call` as a row."""

    def register(build: Build) -> Build:
        CASES[name] = Case(name, pipeline, size, build)
        return build

    return register


@contextmanager
def parameters_of(dtype: torch.dtype) -> Iterator[None]:
    """Networks built inside have this number type from the start, so that none is ever held in two."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def cast(network: torch.nn.Module, dtype: torch.dtype) -> None:
    """Give a network's numbers a type, those that it lists as to be kept in float32 stay so."""
    kept = set(getattr(type(network), "_keep_in_fp32_modules", None) or ())
    for path, value in (*network.named_parameters(), *network.named_buffers()):
        if value.is_floating_point():
            value.data = value.data.to(torch.float32 if kept & set(path.split(".")) else dtype)


def untrained(kind: type, device: torch.device, dtype: torch.dtype, **options: Any) -> torch.nn.Module:
    """A network as `from_pretrained(dtype=...)` would give it; every noise layer has an effect, as trained ones do."""
    with parameters_of(dtype):
        network = kind(**options).eval().requires_grad_(False)
    cast(network, dtype)
    for module in network.modules():
        if isinstance(module, NoiseInjection):
            module.strength.fill_(0.1)
    # diffusers' own `to` warns of modules to be kept in float32 even where there are none.
    return torch.nn.Module.to(network, device)


def bundled(pipeline: type, task: str, device: torch.device, dtype: torch.dtype, **options: Any) -> Any:
    """The starter pipeline of a task. OSError where it is not in `hub_cards/`."""
    folder = Path(starter(task))
    if not folder.is_dir():
        raise OSError(
            f"the starter model {folder.name} is not in hub_cards/; train it (train/README.md) first"
        )
    loaded = pipeline.from_pretrained(folder, dtype=dtype, **options).to(device)
    # The counter of operations trips over inference with parameters that want gradients.
    for component in loaded.components.values():
        if isinstance(component, torch.nn.Module):
            component.requires_grad_(False)
    loaded.set_progress_bar_config(disable=True)
    return loaded


def inpaint_call(pipeline: FaceInpaintPipeline, size: int) -> Call:
    """Fills the central quarter of a picture of noise in as many steps as the model takes, without face detection."""
    random = np.random.default_rng(0)
    photo = random.integers(0, 256, (size, size, 3), dtype=np.uint8)
    hole = np.zeros((size, size), dtype=np.uint8)
    hole[size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = 255
    pipeline.set_progress_bar_config(disable=True)
    return lambda: pipeline(photo, hole, aligned=True, generator=torch.Generator().manual_seed(0))


def published_inpaint_pipeline(device: torch.device, dtype: torch.dtype) -> FaceInpaintPipeline:
    """GRIG at its published size."""
    network = ResidualInpainter().eval()
    # Trained networks have noise, and its pass over the map.
    torch.nn.init.constant_(network.decoder.up2.conv1.noise_strength, 0.1)
    torch.nn.init.constant_(network.decoder.up2.conv2.noise_strength, 0.1)
    # diffusers' own `to` warns of modules to be kept in float32 even where there are none.
    return FaceInpaintPipeline(torch.nn.Module.to(network, device, dtype))


@case("inpaint-published", "FaceInpaintPipeline", 256)
def inpaint_published(device: torch.device, dtype: torch.dtype) -> Call:
    """GRIG end to end."""
    return inpaint_call(published_inpaint_pipeline(device, dtype), 256)


@case("inpaint-starter", "FaceInpaintPipeline", 256)
def inpaint_starter(device: torch.device, dtype: torch.dtype) -> Call:
    """The bundled starter model."""
    return inpaint_call(bundled(FaceInpaintPipeline, "face-inpaint", device, dtype), 256)


def published_restore_pipeline(device: torch.device, dtype: torch.dtype) -> FaceRestorePipeline:
    """VSPBFR at its published size without identity encoder."""
    kinds = {
        "style_encoder": StyleEncoder,
        "code_diffuser": CodeDiffuser,
        "prior": StyleGAN2Generator,
        "restorer": RestoreAutoEncoder,
    }
    networks = {name: untrained(kind, device, dtype) for name, kind in kinds.items()}
    pipeline = FaceRestorePipeline(scheduler=CodeDiffusionScheduler.published(), **networks)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def restore_call(pipeline: FaceRestorePipeline) -> Call:
    """Restores an aligned face of noise at the pipeline's size."""
    size = pipeline.restorer.config.sample_size
    photo = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return lambda: pipeline(photo, aligned=True, generator=torch.Generator().manual_seed(0))


@case("restore-published", "FaceRestorePipeline", 512)
def restore_published(device: torch.device, dtype: torch.dtype) -> Call:
    """VSPBFR end to end."""
    return restore_call(published_restore_pipeline(device, dtype))


@case("restore-starter", "FaceRestorePipeline", 256)
def restore_starter(device: torch.device, dtype: torch.dtype) -> Call:
    """The bundled starter model."""
    return restore_call(bundled(FaceRestorePipeline, "face-restore", device, dtype, identity_encoder=None))


def restore_part_call(part: str, device: torch.device, dtype: torch.dtype) -> Call:
    """One network of `published_restore_pipeline` on inputs such as the pipeline gives it."""
    pipeline = published_restore_pipeline(device, dtype)
    generator = torch.Generator().manual_seed(0)
    damaged = torch.rand(1, 3, 512, 512, generator=generator).to(device) * 2 - 1
    codes, z = (torch.randn(shape, generator=generator).to(device) for shape in ((1, 18, 512), (1, 512)))
    stop_at = pipeline.restorer.num_levels
    with torch.inference_mode():
        features = pipeline.prior(w_plus=codes, stop_at=stop_at).features if part == "restorer" else None

    def diffuse() -> None:
        pipeline.scheduler.set_timesteps(None, device=device)
        latents = codes
        for timestep in pipeline.scheduler.timesteps:
            predicted = pipeline.code_diffuser(latents, timestep, codes).float()
            latents = pipeline.scheduler.step(predicted, timestep, latents).prev_sample

    calls = {
        "encoder": lambda: pipeline.style_encoder(damaged),
        "diffusion": diffuse,
        "prior": lambda: pipeline.prior(w_plus=codes, stop_at=stop_at, generator=generator),
        "restorer": lambda: pipeline.restorer(
            damaged, codes, features, z=z.to(pipeline.restorer.dtype), generator=generator
        ),
    }
    return torch.inference_mode()(calls[part])


for _part in ("encoder", "diffusion", "prior", "restorer"):
    _name = f"restore-published-{_part}"
    _build = partial(restore_part_call, _part)
    CASES[_name] = Case(_name, "FaceRestorePipeline", 512, _build, whole="restore-published")


def published_exemplar_pipeline(device: torch.device, dtype: torch.dtype) -> ExemplarInpaintPipeline:
    """EXE-GAN at its published size; the encoder has the ten heads that the generator for 256 pixels takes."""
    pipeline = ExemplarInpaintPipeline(
        untrained(StyleEncoder, device, dtype, reading="psp", first_style=4, num_styles=14),
        untrained(MultiStyleGenerator, device, dtype, sample_size=256),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def exemplar_call(pipeline: ExemplarInpaintPipeline, batch: int) -> Call:
    """Fills the central quarter of aligned faces of noise, each after an exemplar of its own."""
    size = pipeline.multi_style_generator.config.sample_size
    pictures = np.random.default_rng(0).integers(0, 256, (2, batch, size, size, 3), dtype=np.uint8)
    hole = np.zeros((size, size), dtype=np.uint8)
    hole[size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = 255
    photos, exemplars = (list(part) for part in pictures)
    return lambda: pipeline(photos, hole, exemplars, aligned=True, generator=torch.Generator().manual_seed(0))


def exemplar_published(batch: int, device: torch.device, dtype: torch.dtype) -> Call:
    """EXE-GAN end to end."""
    return exemplar_call(published_exemplar_pipeline(device, dtype), batch)


def exemplar_part_call(part: str, batch: int, device: torch.device, dtype: torch.dtype) -> Call:
    """One network of `published_exemplar_pipeline` on inputs such as the pipeline gives it."""
    pipeline = published_exemplar_pipeline(device, dtype)
    encoder, network = pipeline.style_encoder, pipeline.multi_style_generator
    generator = torch.Generator().manual_seed(0)
    faces = (torch.rand(batch, 3, 256, 256, generator=generator) * 2 - 1).to(device)
    hole = torch.zeros(batch, 1, 256, 256, device=device)
    hole[:, :, 64:192, 64:192] = 1
    codes, z = (
        torch.randn(shape, generator=generator).to(device, dtype)
        for shape in ((batch, 10, 512), (batch, 512))
    )
    # One generator of noise for each face, as the pipeline has.
    noise = [torch.Generator().manual_seed(seed) for seed in range(batch)]
    calls = {
        "encoder": lambda: encoder(faces.to(encoder.dtype), styles=pipeline.code_range),
        "generator": lambda: network(faces, hole, style_codes=codes, z=z, generator=noise),
    }
    return torch.inference_mode()(calls[part])


def _register_exemplar_rows() -> None:
    for batch in (1, 8):
        whole = "exemplar-published" if batch == 1 else f"exemplar-published-batch{batch}"
        builds = {whole: partial(exemplar_published, batch)}
        for part in ("encoder", "generator"):
            builds[f"{whole}-{part}"] = partial(exemplar_part_call, part, batch)
        for name, build in builds.items():
            CASES[name] = Case(
                name,
                "ExemplarInpaintPipeline",
                256,
                build,
                whole=None if name == whole else whole,
                batch=batch,
            )


_register_exemplar_rows()


@case("exemplar-starter", "ExemplarInpaintPipeline", 256)
def exemplar_starter(device: torch.device, dtype: torch.dtype) -> Call:
    """The bundled starter model."""
    return exemplar_call(bundled(ExemplarInpaintPipeline, "exemplar-inpaint", device, dtype), 1)


def published_edit_pipeline(device: torch.device, dtype: torch.dtype) -> FaceEditPipeline:
    """FACEMUG at its published size for 256 pixels, without parser and directions."""
    pipeline = FaceEditPipeline(
        untrained(StyleEncoder, device, dtype, in_channels=26, num_styles=14),
        untrained(StyleGAN2Generator, device, dtype, sample_size=256, channel_base=32768),
        untrained(LatentWarper, device, dtype, num_styles=14),
        untrained(MultimodalAggregation, device, dtype),
        untrained(RefinementAutoEncoder, device, dtype),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn_inputs(size: int) -> dict[str, np.ndarray]:
    """Whatever a method may read, at random: an aligned face of noise, the hole in its central quarter, drawings."""
    random = np.random.default_rng(0)
    image, color, exemplar = random.integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    hole = np.zeros((size, size), dtype=np.uint8)
    hole[size // 4 : 3 * size // 4, size // 4 : 3 * size // 4] = 255
    return {
        "image": image,
        "mask": hole,
        "sketch": hole * (random.random((size, size)) < 0.05),
        "semantics": np.kron(
            random.integers(0, 19, (8, 8), dtype=np.uint8), np.ones((size // 8,) * 2, np.uint8)
        ),
        "color": np.dstack([color, hole]),
        "exemplar": exemplar,
    }


def edit_call(pipeline: FaceEditPipeline, warm: bool) -> Call:
    """Edits the central quarter of an aligned face of noise by sketch, map, colours and exemplar.

    `warm`: photo, guidance and exemplar were seen before, as when only a slider moves; what is left is warper,
    prior and the refiner's decoder.
    """
    drawn = drawn_inputs(pipeline.refiner.config.sample_size)
    kept = EditCache()
    return lambda: pipeline(
        **drawn,
        aligned=True,
        generator=torch.Generator().manual_seed(0),
        cache=kept if warm else None,
    )


def edit_published(warm: bool, device: torch.device, dtype: torch.dtype) -> Call:
    """FACEMUG end to end."""
    call = edit_call(published_edit_pipeline(device, dtype), warm)
    call()  # fills the cache
    return call


def edit_starter(warm: bool, device: torch.device, dtype: torch.dtype) -> Call:
    """The bundled starter model."""
    call = edit_call(bundled(FaceEditPipeline, "face-edit", device, dtype), warm)
    call()
    return call


def edit_part_call(part: str, device: torch.device, dtype: torch.dtype) -> Call:
    """One network of `published_edit_pipeline` on inputs such as the pipeline gives it."""
    pipeline = published_edit_pipeline(device, dtype)
    encoder, refiner = pipeline.style_encoder, pipeline.refiner
    generator = torch.Generator().manual_seed(0)
    image, color = (torch.rand(2, 1, 3, 256, 256, generator=generator) * 2 - 1).to(device)
    mask = torch.zeros(1, 1, 256, 256, device=device)
    mask[:, :, 64:192, 64:192] = 1
    semantics = mask.repeat(1, 19, 1, 1) * (torch.arange(19, device=device) == 1)[None, :, None, None]
    drawn = (mask * (color[:, :1] > 0.9), semantics, color * mask)
    seen = encoder_input(image * (1 - mask), *drawn)
    codes = torch.randn(1, 14, 512, generator=generator).to(device, dtype)

    def aggregate() -> torch.Tensor:
        return pipeline.aggregation(*(x.to(dtype) for x in (image, mask, *drawn)))

    def encode() -> EncodedFace:
        return refiner(features, None, None, encode_only=True)

    def bank() -> list[torch.Tensor]:
        return pipeline.prior(w_plus=codes, generator=generator, stop_at=6, feature_layer="conv").features

    with torch.inference_mode():
        features = aggregate() if part in ("refiner-encoder", "refiner-decoder") else None
        given = (encode(), bank()) if part == "refiner-decoder" else None
    calls = {
        # Once for the masked photo and once for the exemplar.
        "encoder": lambda: (encoder(seen.to(encoder.dtype)), encoder(seen.to(encoder.dtype))),
        "warper": lambda: pipeline.latent_warper(codes, -codes),
        "aggregation": aggregate,
        "prior": bank,
        "refiner-encoder": encode,
        "refiner-decoder": lambda: refiner(None, codes, given[1], generator=generator, encoded=given[0]),
    }
    return torch.inference_mode()(calls[part])


def _register_edit_rows() -> None:
    builds: dict[str, Build] = {}
    for name, build in (("edit-published", edit_published), ("edit-starter", edit_starter)):
        builds |= {name: partial(build, False), f"{name}-warm": partial(build, True)}
    for name, build in builds.items():
        CASES[name] = Case(name, "FaceEditPipeline", 256, build)
    for part in ("encoder", "warper", "aggregation", "prior", "refiner-encoder", "refiner-decoder"):
        name = f"edit-published-{part}"
        CASES[name] = Case(
            name, "FaceEditPipeline", 256, partial(edit_part_call, part), whole="edit-published"
        )


_register_edit_rows()


def starter_call(method: Method, device: torch.device, dtype: torch.dtype) -> Call:
    """The starter of a method that has no rows of its own here, on an aligned face of noise."""
    try:
        pipeline = bundled(pipeline_class(method.class_name), method.model, device, dtype)
    except MethodError as error:
        raise OSError(str(error)) from error
    drawn = drawn_inputs(STARTER_SIZE)
    given = {name: drawn[name] for name in ("image", *method.reads) if name in drawn}
    return lambda: pipeline(**given, aligned=True, generator=torch.Generator().manual_seed(0))


for _method in methods():
    if f"{_method.name}-starter" not in CASES:
        _name, _build = f"{_method.name}-starter", partial(starter_call, _method)
        CASES[_name] = Case(_name, _method.class_name, STARTER_SIZE, _build)
