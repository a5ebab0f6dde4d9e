"""Every network of the four pipelines at a small width, with a call of it that gives one tensor."""

from collections.abc import Callable

import torch
from torch import nn

from tests.tiny.networks import tiny_arcface_encoder, tiny_bisenet
from tests.tiny.pipelines import (
    tiny_edit_pipeline,
    tiny_exemplar_pipeline,
    tiny_inpaint_pipeline,
    tiny_restore_pipeline,
)

Call = Callable[[nn.Module], torch.Tensor]
Made = tuple[nn.Module, Call]


def source() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=source())


def inpainter() -> Made:
    noise = [random(1, 1, 32, 32)] * 2
    given = random(1, 3, 64, 64), torch.ones(1, 1, 64, 64), noise
    return tiny_inpaint_pipeline().residual_inpainter, lambda network: network(*given)


def folded_inpainter() -> Made:
    """As the pipeline calls it."""
    network, call = inpainter()
    return network, lambda network: call(network.fold())


def prior() -> Made:
    network = tiny_edit_pipeline().prior
    codes = random(1, network.num_styles, 16)
    return network, lambda network: network(w_plus=codes, noise="fixed", return_dict=False)[0]


def restorer() -> Made:
    pipeline = tiny_restore_pipeline()
    network, size = pipeline.restorer, pipeline.restorer.config.sample_size
    codes, z = random(1, network.num_styles, network.config.style_dim), random(1, network.config.style_dim)
    features = pipeline.prior(w_plus=random(1, pipeline.prior.num_styles, z.shape[1]), noise="fixed").features
    features, face = [feature.detach() for feature in features], random(1, 3, size, size)

    def call(network: nn.Module) -> torch.Tensor:
        torch.manual_seed(0)
        return network(face, codes, features, z=z, return_dict=False)[0]

    return network, call


def exemplar_generator() -> Made:
    network = tiny_exemplar_pipeline(use_sketch=True).multi_style_generator
    size, z = network.config.sample_size, random(1, network.config.style_dim)
    face, mask = random(1, 3, size, size), torch.ones(1, 1, size, size)
    mask[..., : size // 2] = 0
    return network, lambda network: network(face, mask, z=z, noise="fixed", return_dict=False)[0]


def refiner() -> Made:
    pipeline = tiny_edit_pipeline()
    codes = random(1, 10, 16)
    bank = pipeline.prior(w_plus=codes, noise="fixed", feature_layer="conv").features
    bank, features = [feature.detach() for feature in bank], random(1, 8, 64, 64)
    return pipeline.refiner, lambda network: network(features, codes, bank, noise="fixed")


def aggregation() -> Made:
    face, mask, sketch = random(1, 3, 64, 64), torch.ones(1, 1, 64, 64), random(1, 1, 64, 64)
    return tiny_edit_pipeline().aggregation, lambda network: network(face, mask * (sketch > 0), sketch)


def style_encoder() -> Made:
    seen = random(1, 26, 64, 64)
    return tiny_edit_pipeline().style_encoder, lambda network: network(seen)


def latent_warper() -> Made:
    target, source = random(2, 10, 16).split(1)
    return tiny_edit_pipeline().latent_warper, lambda network: network(target, source)


def face_parser() -> Made:
    face = random(1, 3, 64, 64)
    return tiny_edit_pipeline(parser=True).face_parser, lambda network: network(face)


def bisenet() -> Made:
    torch.manual_seed(0)
    face = random(1, 3, 64, 64)
    return tiny_bisenet().eval(), lambda network: network(face)


def code_diffuser() -> Made:
    network = tiny_restore_pipeline().code_diffuser
    codes = random(1, network.config.num_styles, network.config.style_dim)
    return network, lambda network: network(codes, torch.tensor([1]), codes.flip(1))


def identity_encoder() -> Made:
    face = random(1, 3, 64, 64)
    return tiny_restore_pipeline().identity_encoder, lambda network: network(face, normalize=False)


def arcface_encoder() -> Made:
    face = random(1, 3, 64, 64)
    return tiny_arcface_encoder().eval(), lambda network: network(face, normalize=False)


NETWORKS: dict[str, Callable[[], Made]] = {
    made.__name__: made
    for made in (
        inpainter,
        folded_inpainter,
        prior,
        restorer,
        exemplar_generator,
        refiner,
        aggregation,
        style_encoder,
        latent_warper,
        face_parser,
        bisenet,
        code_diffuser,
        identity_encoder,
        arcface_encoder,
    )
}
