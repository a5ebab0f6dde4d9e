"""What a pipeline computes on an aligned face, as modules of tensors alone, each of which becomes one graph.

The numbers that a pipeline draws are inputs here, in the order in which it draws them: codes `z` and `latents` as they
are, noise maps of all layers flattened into one row each, `[B, sum of S * S]`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from torch import Tensor, nn

from facekit.models.base import VerifiedModelMixin
from facekit.models.code_diffuser import CodeDiffuser
from facekit.models.multi_style import MultiStyleGenerator
from facekit.models.residual_inpainter import ResidualInpainter
from facekit.models.style_encoder import StyleEncoder
from facekit.models.stylegan2 import StyleGAN2Generator
from facekit.notes import Refusal
from facekit.pipelines import tones
from facekit.pipelines.edit.pipeline import FaceEditPipeline
from facekit.pipelines.exemplar.pipeline import ExemplarInpaintPipeline
from facekit.pipelines.inpaint import FaceInpaintPipeline
from facekit.pipelines.restore import FaceRestorePipeline, coarse_difference
from facekit.schedulers import CodeDiffusionScheduler

PICTURE, MASK, UNBOUNDED = "-1 to 1", "0 or 1, 1 = to be filled", "unbounded"
NOISE = "standard normal numbers"


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: in the graph.
        shape: of one row; the batch comes before it.
        holds: range or meaning of its numbers.
    """

    name: str
    shape: tuple[int, ...]
    holds: str = UNBOUNDED


@dataclass(frozen=True)
class Graph:
    """One graph: a module whose `forward` takes the inputs in their order and gives one tensor."""

    name: str
    module: nn.Module
    inputs: tuple[Port, ...]
    output: Port


@dataclass(frozen=True)
class Plan:
    """All that is exported of a pipeline.

    Attributes:
        task: as `facekit.methods` calls the model.
        size: side of the aligned faces in pixels.
        graphs: in the order in which they run.
        randomness: what the pipeline draws for each face, in this order; of inpainting the last entry for each step
            anew. Graphs need not take all of it.
        noise_sizes: sides of the maps that the row `noise` is made of; empty where the maps are apart.
        settings: defaults of the run.
        attributes: directions in W+ by name, `[n, D]` each.
    """

    task: str
    size: int
    graphs: tuple[Graph, ...]
    randomness: tuple[Port, ...]
    noise_sizes: tuple[int, ...] = ()
    settings: dict[str, float | bool] = field(default_factory=dict)
    attributes: dict[str, Tensor] = field(default_factory=dict)


def split_maps(noise: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """`[B, sum of S * S]` -> a map `[B, 1, S, S]` for each side S in `sizes`."""
    bounds = pairwise(accumulate((size * size for size in sizes), initial=0))
    return [
        noise[:, start:end].reshape(-1, 1, size, size)
        for (start, end), size in zip(bounds, sizes, strict=True)
    ]


def count_pixels(sizes: Sequence[int]) -> int:
    """The length of a row that `split_maps` splits."""
    return sum(size * size for size in sizes)


def pad_maps(maps: list[Tensor], prior: StyleGAN2Generator) -> list[Tensor]:
    """The maps of a prior's first layers, followed by empty ones of the layers that are not reached."""
    return maps + [maps[0].new_zeros(1, 1, size, size) for size in prior.noise_sizes[len(maps) :]]


class Encode(nn.Module):
    """Picture `[B, C, S, S]` -> codes `[B, n, D]`; `styles` as in `StyleEncoder.forward`."""

    def __init__(self, encoder: StyleEncoder, styles: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.encoder, self.styles = encoder, styles

    def forward(self, picture: Tensor) -> Tensor:
        return self.encoder(picture, styles=self.styles)


class Denoise(nn.Module):
    """All steps of the code diffusion: latents and codes of the damaged face, `[B, n, D]` -> clean codes."""

    def __init__(self, diffuser: CodeDiffuser, scheduler: CodeDiffusionScheduler) -> None:
        super().__init__()
        self.diffuser, self.scheduler = diffuser, scheduler
        self.timesteps = [int(timestep) for timestep in scheduler.timesteps]

    @property
    def num_noises(self) -> int:
        """How many of the steps add noise."""
        return sum(map(self.scheduler.adds_noise, self.timesteps))

    def forward(self, latents: Tensor, style_codes: Tensor, step_noise: Tensor | None = None) -> Tensor:
        """`step_noise` is `[B, num_noises, n, D]`."""
        codes, drawn = latents * self.scheduler.init_noise_sigma, 0
        for timestep in self.timesteps:
            fresh = None
            if step_noise is not None and self.scheduler.adds_noise(timestep):
                fresh, drawn = step_noise[:, drawn], drawn + 1
            predicted = self.diffuser(codes, timestep, style_codes)
            codes, _ = self.scheduler.step(
                predicted, timestep, codes, return_dict=False, variance_noise=fresh
            )
        return codes


class Restore(nn.Module):
    """Damaged face, clean codes, z, noise maps of prior and restorer, fidelity `[B]` -> restored face."""

    def __init__(self, pipeline: FaceRestorePipeline) -> None:
        super().__init__()
        self.prior, self.restorer = pipeline.prior, pipeline.restorer
        self.reads_prior: bool = self.restorer.config.use_prior_features
        # The prior ends with the first map of the last level in the published form, with the second in the thesis's.
        reached = 2 * self.restorer.num_levels + (self.restorer.feature_layer == "every")
        self.prior_sizes = self.prior.noise_sizes[:reached] if self.reads_prior else []

    @property
    def noise_sizes(self) -> list[int]:
        """Sides of all noise maps, the prior's first."""
        return [*self.prior_sizes, *self.restorer.noise_sizes]

    def forward(self, face: Tensor, codes: Tensor, z: Tensor, noise: Tensor, fidelity: Tensor) -> Tensor:
        maps, features = split_maps(noise, self.noise_sizes), None
        if self.reads_prior:
            _, features, _ = self.prior(
                w_plus=codes,
                noise=pad_maps(maps[: len(self.prior_sizes)], self.prior),
                stop_at=self.restorer.num_levels,
                feature_layer=self.restorer.feature_layer,
                return_dict=False,
            )
        (image,) = self.restorer(
            face, codes, features, z=z, noise=maps[len(self.prior_sizes) :], return_dict=False
        )
        return (image + fidelity[:, None, None, None] * coarse_difference(image, face)).clamp(-1, 1)


class Reason(nn.Module):
    """One reasoning step: present fill, picture, mask, two noise maps, perhaps codes -> next fill."""

    def __init__(self, network: ResidualInpainter) -> None:
        super().__init__()
        self.network = network.fold()  # norms folded into the convolutions, as the pipeline computes

    def forward(
        self, fill: Tensor, image: Tensor, mask: Tensor, noise: Tensor, z: Tensor | None = None
    ) -> Tensor:
        residual = self.network(fill, mask, noise=list(noise.split(1, 1)), z=z)
        return (fill + residual) * mask + image * (1 - mask)


class FillAfterExemplar(nn.Module):
    """Picture, mask, perhaps a sketch, codes of the exemplar, z, noise maps -> filled picture."""

    def __init__(self, network: MultiStyleGenerator, first_style: int) -> None:
        super().__init__()
        self.network = network
        first = max(network.config.first_exemplar_style, first_style)
        self.layers = list(range(first, network.num_styles))

    def forward(
        self,
        image: Tensor,
        mask: Tensor,
        style_codes: Tensor,
        z: Tensor,
        noise: Tensor,
        sketch: Tensor | None = None,
    ) -> Tensor:
        predicted, _, _ = self.network(
            image,
            mask,
            style_codes,
            z=z,
            exemplar_layers=self.layers,
            sketch=sketch,
            noise=split_maps(noise, self.network.noise_sizes),
            return_dict=False,
        )
        return predicted * mask + image * (1 - mask)


class Render(nn.Module):
    """Picture, mask, drawings, edited codes, noise maps of prior and refiner -> edited picture."""

    def __init__(self, pipeline: FaceEditPipeline) -> None:
        super().__init__()
        self.aggregation, self.prior, self.refiner = (
            pipeline.aggregation,
            pipeline.prior,
            pipeline.refiner,
        )
        self.levels = len(self.refiner.channels) - 1
        self.prior_sizes = self.prior.noise_sizes[: 2 * self.levels + 1]

    @property
    def noise_sizes(self) -> list[int]:
        """Sides of all noise maps, the prior's first."""
        return [*self.prior_sizes, *self.refiner.noise_sizes]

    def forward(
        self,
        image: Tensor,
        mask: Tensor,
        sketch: Tensor,
        semantics: Tensor,
        color: Tensor,
        codes: Tensor,
        noise: Tensor,
    ) -> Tensor:
        maps = split_maps(noise, self.noise_sizes)
        features = self.aggregation(image, mask, sketch, semantics, color)
        _, bank, _ = self.prior(
            w_plus=codes,
            noise=pad_maps(maps[: len(self.prior_sizes)], self.prior),
            stop_at=self.levels,
            feature_layer="conv",
            return_dict=False,
        )
        predicted = self.refiner(features, codes, bank, noise=maps[len(self.prior_sizes) :])
        return predicted * mask + image * (1 - mask)


class MatchTones(nn.Module):
    """Filled picture, picture, mask -> the filled picture without steps in tone along the rim of the hole."""

    def __init__(self, fades: bool) -> None:
        super().__init__()
        self.fades = fades

    def forward(self, fill: Tensor, image: Tensor, mask: Tensor) -> Tensor:
        return tones.match_tones(fill, image, mask, fades=self.fades)


def tones_graph(size: int, *, fades: bool) -> Graph:
    """The graph of `MatchTones`."""
    picture = (3, size, size)
    inputs = (
        Port("fill", picture, PICTURE),
        Port("image", picture, PICTURE),
        Port("mask", (1, size, size), MASK),
    )
    return Graph("tones", MatchTones(fades), inputs, Port("matched", picture, PICTURE))


def plan_restoring(pipeline: FaceRestorePipeline) -> Plan:
    """The graphs of restoration: style encoder, denoising (where there is some), restorer with its prior."""
    config, encoder = pipeline.restorer.config, pipeline.style_encoder.config
    size, codes_shape = config.sample_size, (encoder.num_styles, encoder.style_dim)
    face, codes = Port("face", (3, size, size), PICTURE), Port("style_codes", codes_shape)
    latents, z = Port("latents", codes_shape, NOISE), Port("z", (config.style_dim,), NOISE)
    graphs = [Graph("style_encoder", Encode(pipeline.style_encoder), (face,), codes)]
    randomness = [latents, z]
    scheduler = pipeline.plan_steps(None)
    if pipeline.code_diffuser is not None and scheduler is not None:
        denoise = Denoise(pipeline.code_diffuser, scheduler)
        given = [latents, codes]
        if denoise.num_noises:
            given.append(Port("step_noise", (denoise.num_noises, *codes_shape), NOISE))
            randomness.append(given[-1])
        graphs.append(Graph("code_diffuser", denoise, tuple(given), Port("clean_codes", codes_shape)))
    restore = Restore(pipeline)
    noise = Port("noise", (count_pixels(restore.noise_sizes),), NOISE)
    inputs = (face, Port("codes", codes_shape), z, noise, Port("fidelity", (), "0 to 1"))
    graphs.append(Graph("restorer", restore, inputs, Port("restored", (3, size, size), PICTURE)))
    settings = {
        "fidelity": float(pipeline.config["fidelity"]),
        "self_ensemble": bool(pipeline.config["self_ensemble"]),
    }
    return Plan(
        "face-restore", size, tuple(graphs), (*randomness, noise), tuple(restore.noise_sizes), settings
    )


def plan_inpainting(pipeline: FaceInpaintPipeline) -> Plan:
    """The graph of one reasoning step, and that of tones where the model matches them."""
    config = pipeline.residual_inpainter.config
    size, picture = config.sample_size, (3, config.sample_size, config.sample_size)
    noise = Port("noise", (2, size // 2, size // 2), NOISE)
    z = [Port("z", (config.style_dim,), NOISE)] if config.style_dim else []
    mask = Port("mask", (1, size, size), MASK)
    inputs = (Port("fill", picture, UNBOUNDED), Port("image", picture, PICTURE), mask, noise, *z)
    step = Graph("reasoning_step", Reason(pipeline.residual_inpainter), inputs, Port("next_fill", picture))
    matched = bool(pipeline.config["match_tones"])
    graphs = (step, tones_graph(size, fades=False)) if matched else (step,)
    settings = {"steps": pipeline.config["num_inference_steps"]}
    return Plan("face-inpaint", size, graphs, (*z, noise), settings=settings)


def plan_exemplar(pipeline: ExemplarInpaintPipeline) -> Plan:
    """The graphs of filling after an exemplar: style encoder, generator, tones where the model matches them."""
    network = pipeline.multi_style_generator
    size, dim = network.config.sample_size, network.config.style_dim
    first, count = pipeline.code_range
    picture, plane = (3, size, size), (1, size, size)
    codes = Port("style_codes", (count - first, dim))
    z, noise = Port("z", (dim,), NOISE), Port("noise", (count_pixels(network.noise_sizes),), NOISE)
    encode = Encode(pipeline.style_encoder, (first, count))
    inputs = [Port("image", picture, PICTURE), Port("mask", plane, MASK), codes, z, noise]
    if network.config.use_sketch:
        inputs.append(Port("sketch", plane, "0 or 1, 1 = stroke"))
    graphs = [
        Graph("style_encoder", encode, (Port("exemplar", picture, PICTURE),), codes),
        Graph("generator", FillAfterExemplar(network, first), tuple(inputs), Port("fill", picture)),
    ]
    if pipeline.config["match_tones"]:
        graphs.append(tones_graph(size, fades=True))
    return Plan("exemplar-inpaint", size, tuple(graphs), (z, noise), tuple(network.noise_sizes))


def plan_editing(pipeline: FaceEditPipeline) -> Plan:
    """The graphs of editing: style encoder, latent warper, what renders, tones where the model matches them."""
    size, dim = pipeline.refiner.config.sample_size, pipeline.prior.config.style_dim
    picture, plane = (3, size, size), (1, size, size)
    codes_shape = (pipeline.prior.num_styles, dim)
    render = Render(pipeline)
    drawn = (
        Port("sketch", plane, "0 or 1, 1 = stroke"),
        Port("semantics", (19, size, size), "one-hot, all 0 where no class is drawn"),
        Port("color", picture, "-1 to 1, 0 where no colour is painted"),
    )
    z, noise = Port("z", (dim,), NOISE), Port("noise", (count_pixels(render.noise_sizes),), NOISE)
    seen = Port(
        "seen", (26, size, size), "picture (0 in the hole), sketch, semantics, color, one after another"
    )
    codes = Port("codes", codes_shape)
    image, mask = Port("image", picture, PICTURE), Port("mask", plane, MASK)
    warp = (Port("target", codes_shape), Port("source", codes_shape))
    graphs = [
        Graph("style_encoder", Encode(pipeline.style_encoder), (seen,), codes),
        Graph("latent_warper", pipeline.latent_warper, warp, Port("warped", codes_shape)),
        Graph("renderer", render, (image, mask, *drawn, codes, noise), Port("fill", picture)),
    ]
    if pipeline.config["match_tones"]:
        graphs.append(tones_graph(size, fades=True))
    directions = pipeline.directions
    attributes = {} if directions is None else {name: directions.direction(name) for name in directions.names}
    return Plan("face-edit", size, tuple(graphs), (z, noise), tuple(render.noise_sizes), {}, attributes)


PLANS: dict[type[DiffusionPipeline], Callable[..., Plan]] = {
    FaceRestorePipeline: plan_restoring,
    FaceInpaintPipeline: plan_inpainting,
    ExemplarInpaintPipeline: plan_exemplar,
    FaceEditPipeline: plan_editing,
}


def plan_export(pipeline: DiffusionPipeline) -> Plan:
    """The graphs of a pipeline, whose networks are set to inference in float32 on the processor.

    Raises:
        ValueError: there is no export of such a pipeline.
    """
    make = PLANS.get(type(pipeline))
    if make is None:
        known = ", ".join(kind.__name__ for kind in PLANS)
        what = "{found} cannot be exported"
        advice = "Name a model of one of these pipelines: {known}"
        raise Refusal("setting", what, advice, found=type(pipeline).__name__, known=known)
    for network in pipeline.components.values():
        if isinstance(network, VerifiedModelMixin):
            network.eval().to("cpu", torch.float32)
    return make(pipeline)
