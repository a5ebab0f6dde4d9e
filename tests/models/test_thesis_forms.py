"""The thesis's forms of networks against its equations, each written out here in loops as the thesis prints it."""

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facekit.models.base import VerifiedModelMixin
from facekit.models.code_diffuser import CodeDiffuser
from facekit.models.fast.fold import fold
from facekit.models.latent_warper import LatentWarper
from facekit.models.layers.code_blocks import CodeModulationBlock, ModulationMLP, ThesisTACCBlock
from facekit.models.layers.linear import EqualizedConv2d
from facekit.models.layers.modulated import StyledConv
from facekit.models.layers.smart import ThesisSMART
from facekit.models.refiner import RefinementAutoEncoder
from facekit.models.restorer import RestoreAutoEncoder
from facekit.models.stylegan2 import StyleGAN2Generator

from .style_parity import textbook_modulated_conv, textbook_resample
from .test_facemug_equations import conv_layer, fusion

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
WIDTH = {"style_dim": 6, "channel_base": 64, "max_channels": 8}
RESTORER = {"sample_size": 16, "global_dim": 5, "num_mapping_layers": 1, "form": "thesis", **WIDTH}
REFINER = {"sample_size": 16, "in_channels": 3, "global_dim": 5, "form": "thesis", **WIDTH}


def stir(module: nn.Module) -> nn.Module:
    """Biases and noise strengths that begin at zero get values, so that they count."""
    for name, parameter in module.named_parameters():
        if name.endswith(("bias", "strength")):
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return module.eval()


def phi(x: Tensor) -> Tensor:
    """LeakyReLU of slope 0.2."""
    return torch.where(x > 0, x, 0.2 * x)


# Eq. 3.4


def softmax(scores: list[float]) -> list[float]:
    return [math.exp(score) / sum(map(math.exp, scores)) for score in scores]


def mlp(module: ModulationMLP, code: Tensor) -> Tensor:
    """MLP([w, t]): two fully connected layers, with phi between them."""
    return (
        module.linear2.weight @ phi(module.linear1.weight @ code + module.linear1.bias) + module.linear2.bias
    )


def normalize(code: Tensor) -> Tensor:
    return (code - code.mean()) / torch.sqrt(code.var(unbiased=False) + 1e-5)


def tacc_by_loops(block: ThesisTACCBlock, initial: Tensor, time: int, delta: Tensor) -> Tensor:
    """Eq. 3.4 with the thesis's matrices: initial codes and Delta_(i-1), both 512 x N -> Delta_i."""
    dim, count = delta.shape
    given = torch.cat([initial, torch.full((1, count), float(time))])  # [w, t]
    w_q, w_k, w_v = (
        block.channel_query.weight @ given,
        block.channel_key.weight @ delta,
        block.channel_value.weight @ delta,
    )
    # a^c = w^v Softmax(w^qT w^k / tau_1), N x N, tau_1 = sqrt(N)
    a_c = torch.zeros(dim, count)
    for column in range(count):
        shares = softmax([float(w_q[:, row] @ w_k[:, column]) / math.sqrt(count) for row in range(count)])
        for row in range(count):
            a_c[:, column] += w_v[:, row] * shares[row]
    w_q, w_k, w_v = (
        block.position_query.weight @ given,
        block.position_key.weight @ delta,
        block.position_value.weight @ delta,
    )
    # a^p = Softmax(w^q w^kT / tau_2) w^v, 512 x 512, tau_2 = sqrt(512)
    a_p = torch.zeros(dim, count)
    for row in range(dim):
        shares = softmax([float(w_q[row] @ w_k[column]) / math.sqrt(dim) for column in range(dim)])
        for column in range(dim):
            a_p[row] += shares[column] * w_v[column]
    result = torch.zeros(dim, count)
    for i in range(count):
        xi = 1 / (1 + torch.exp(-mlp(block.scale, given[:, i])))
        mu = phi(mlp(block.shift, given[:, i]))
        result[:, i] = normalize(a_c[:, i] + a_p[:, i]) * (xi + 1) + mu
    return result


@torch.no_grad()
def test_code_diffuser_is_equation_3_4() -> None:
    torch.manual_seed(0)
    diffuser = stir(CodeDiffuser(5, 7, num_blocks=4, form="thesis"))
    codes, initial = torch.randn(2, 5, 7), torch.randn(2, 5, 7)
    steps = torch.tensor([0, 3])  # t = 1 and t = 4 = T
    predicted = diffuser(codes, steps, initial)
    for b in range(2):
        delta = codes[b].T
        for block in diffuser.blocks:
            delta = tacc_by_loops(block, initial[b].T, int(steps[b]) + 1, delta)
        torch.testing.assert_close(predicted[b], delta.T, rtol=1e-3, atol=1e-4)
    assert not torch.allclose(diffuser(codes, 1, initial), diffuser(codes, 2, initial))


# Eq. 6.15: its loops are in test_facemug_equations.py; here the MLPs that the thesis's form has.


@torch.no_grad()
def test_latent_warper_has_the_mlp_of_equation_6_15() -> None:
    torch.manual_seed(0)
    block: CodeModulationBlock = stir(LatentWarper(5, 6, 1, form="thesis")).blocks[0]
    residual, offsets = torch.randn(1, 5, 6), torch.randn(1, 5, 6)
    mixed = block.attend_channels(residual, offsets) + block.attend_positions(residual, offsets)
    for i, code in enumerate(residual[0]):
        xi = 1 / (1 + torch.exp(-mlp(block.scale, code)))
        expected = normalize(mixed[0, i]) * (xi + 1) + phi(mlp(block.shift, code))
        torch.testing.assert_close(block(residual, offsets)[0, i], expected, **CLOSE)


# Eq. 3.7


def convolve(x: Tensor, kernel: Tensor, dilation: int) -> Tensor:
    """One image [in, H, W] by k [out, in, 3, 3], tap by tap; outside the map is zero."""
    out, (height, width) = torch.zeros(len(kernel), *x.shape[1:]), x.shape[1:]
    for row in range(height):
        for column in range(width):
            for i in range(3):
                for j in range(3):
                    y, z = row + (i - 1) * dilation, column + (j - 1) * dilation
                    if 0 <= y < height and 0 <= z < width:
                        out[:, row, column] += kernel[:, :, i, j] @ x[:, y, z]
    return out


def smart_by_loops(layer: ThesisSMART, x: Tensor, style: Tensor) -> Tensor:
    """Eq. 3.7 for one image [in, H, W] and its style prompts [D']."""
    affine = layer.modulation.affine
    s = affine.weight @ style / math.sqrt(len(style)) + affine.bias  # FC
    kernel = torch.zeros_like(layer.weight)
    for o, k in enumerate(layer.weight):
        modulated = k * s[:, None, None]
        kernel[o] = modulated / torch.sqrt((modulated**2).sum())
    maps = [phi(convolve(x, kernel, dilation)) for dilation in (1, 2, 4, 8)]
    return plain_conv(layer.aggregation, torch.cat(maps)[None])[0]


def plain_conv(layer: EqualizedConv2d, x: Tensor) -> Tensor:
    return F.conv2d(x, layer.weight / math.sqrt(layer.weight[0].numel()), layer.bias, padding=1)


@torch.no_grad()
@pytest.mark.parametrize("side", [2, 5, 12])
def test_smart_is_equation_3_7(side: int) -> None:
    torch.manual_seed(0)
    layer = stir(ThesisSMART(3, 4, 5))
    x, style = torch.randn(2, 3, side, side), torch.randn(2, 5)
    for b in range(2):
        torch.testing.assert_close(layer(x, style)[b], smart_by_loops(layer, x[b], style[b]), **CLOSE)


# Eq. 3.5 and 3.6


def style_layer(layer: StyledConv, x: Tensor, style: Tensor, noise: Tensor) -> Tensor:
    """SC: StyleGAN2's style layer, with its gain sqrt(2)."""
    affine = layer.conv.modulation.affine
    scale = style @ affine.weight.t() / math.sqrt(style.shape[1]) + affine.bias
    y = textbook_modulated_conv(x, layer.conv.weight, scale) + layer.noise.strength * noise
    return phi(y + layer.activate.bias.view(1, -1, 1, 1)) * math.sqrt(2)


def restore_by_ladder(
    network: RestoreAutoEncoder, image: Tensor, codes: Tensor, random: Tensor, bank: dict[int, Tensor]
) -> Tensor:
    """Eq. 3.5 and 3.6; every index is the thesis's, counted from one. Noise is drawn as the network draws it."""
    count, source = network.num_styles, torch.Generator().manual_seed(0)

    def noise(size: int) -> Tensor:
        return torch.randn(len(image), 1, size, size, generator=source)

    w = {i: codes[:, i - 1] for i in range(1, count + 1)}
    encoded = {0: plain_conv(network.stem, image)}
    for i in range(1, count + 1):
        style, level = torch.cat([w[i], random], 1), network.encoder[(i - 1) // 2]
        if i % 2 == 1:
            encoded[i] = torch.stack(
                [smart_by_loops(level.smart, x, s) for x, s in zip(encoded[i - 1], style, strict=True)]
            )
        else:
            styled = style_layer(level.down, encoded[i - 1], style, noise(encoded[i - 1].shape[-1]))
            encoded[i] = textbook_resample(styled, down=2, pad=(1, 1))
    fc = network.to_global
    code = encoded[count].flatten(1) @ fc.weight.t() / math.sqrt(fc.weight.shape[1]) + fc.bias
    decoded = {0: plain_conv(network.conv, encoded[count])}
    for i in range(1, count + 1):
        style, level = torch.cat([w[i], random, code], 1), network.decoder[(i - 1) // 2]
        if i % 2 == 1:
            larger = textbook_resample(decoded[i - 1], gain=4, up=2, pad=(2, 1))
            decoded[i] = style_layer(level.up, larger, style, noise(larger.shape[-1]))
        else:
            fused = decoded[i - 1] + encoded[count - i + 1] + bank[i - 1]
            decoded[i] = torch.stack(
                [smart_by_loops(level.smart, x, s) for x, s in zip(fused, style, strict=True)]
            )
    return plain_conv(network.to_rgb, decoded[count])


def prompts(network: RestoreAutoEncoder, batch: int) -> dict[str, Any]:
    """Image, codes, z, and the bank of a prior of twice the size."""
    prior = StyleGAN2Generator(2 * network.config.sample_size, num_mapping_layers=1, **WIDTH).eval()
    codes = torch.randn(batch, prior.num_styles, 6)
    found = prior(w_plus=codes, noise="fixed", stop_at=network.num_levels, feature_layer="every")
    return {
        "image": torch.randn(batch, 3, 16, 16),
        "style_codes": codes,
        "features": found.features,
        "z": torch.randn(batch, 6),
    }


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2])
def test_restorer_is_equations_3_5_and_3_6(batch: int) -> None:
    torch.manual_seed(0)
    network = stir(RestoreAutoEncoder(**RESTORER))
    given = prompts(network, batch)
    bank = {i: feature for i, feature in enumerate(given["features"], start=1)}
    expected = restore_by_ladder(
        network, given["image"], given["style_codes"], network.mapping(given["z"]), bank
    )
    # Folded, and as it is defined.
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            image = network(**given, generator=torch.Generator().manual_seed(0)).image
        torch.testing.assert_close(image.detach(), expected, rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_bank_has_the_map_of_every_layer() -> None:
    """F_1 to F_(N-1) of thesis 3.2.1."""
    torch.manual_seed(0)
    prior = StyleGAN2Generator(16, num_mapping_layers=1, **WIDTH).eval()
    codes, taps = torch.randn(2, 6, 6), []
    layers = [prior.conv, *(layer for level in prior.levels for layer in (level.up, level.conv))]
    for layer in layers:
        layer.register_forward_hook(lambda _m, _a, output: taps.append(output.clone()))
    whole = prior(w_plus=codes, noise="fixed", feature_layer="every")
    assert len(whole.features) == prior.num_styles - 1 == 5
    assert all(torch.equal(feature, tap) for feature, tap in zip(whole.features, taps, strict=True))
    for kind, step in (("up", [0, 1, 3]), ("conv", [0, 2, 4])):
        features = prior(w_plus=codes, noise="fixed", feature_layer=kind).features
        for index, feature in zip(step, features, strict=True):
            torch.testing.assert_close(feature, whole.features[index])
    stopped = prior(w_plus=codes, noise="fixed", feature_layer="every", stop_at=1)
    assert stopped.image is None and len(stopped.features) == 3


# Eq. 6.6: the ladder of the other form, and the fusion, are in test_facemug_equations.py.


def refine_by_ladder(
    network: RefinementAutoEncoder, features: Tensor, codes: Tensor, bank: list[Tensor]
) -> Tensor:
    """Eq. 6.6; every index is the thesis's, counted from one. The encoder's F_n has half the size of F_(n-1)."""
    count = network.num_styles
    encoded, x = {}, conv_layer(network.stems[0], features)
    for k, level in enumerate(network.encoder):
        encoded[2 * k + 1] = conv_layer(level.conv, x)
        x = encoded[2 * k + 2] = conv_layer(level.down, encoded[2 * k + 1], stride=2)
    encoded[count - 1] = conv_layer(network.kept, x)
    encoded[count] = conv_layer(network.bottleneck, encoded[count - 1], stride=2)
    fc = network.to_global
    code = encoded[count].flatten(1) @ fc.weight.t() / math.sqrt(fc.weight.shape[1]) + fc.bias
    code = phi(code) * math.sqrt(2)
    prior = {2 * k + 1: feature for k, feature in enumerate(bank)}
    decoded, fused = {0: conv_layer(network.conv, encoded[count])}, {}
    for i in range(1, count + 1):
        style, level = torch.cat([codes[:, i - 1], code], 1), network.decoder[(i - 1) // 2]
        noise = network.get_buffer(f"noise_{i - 1}")
        if i % 2 == 1:
            styled = style_layer(level.up, decoded[i - 1], style, noise)
            decoded[i] = textbook_resample(styled, gain=4, up=2, pad=(2, 1))
            fused[i] = fusion(level.fusion, decoded[i], encoded[count - i], prior[i], codes[:, i])
        else:
            decoded[i] = style_layer(level.conv, fused[i - 1], style, noise)
    head = network.to_rgb
    return F.conv2d(decoded[count], head.weight / math.sqrt(head.weight.shape[1]), head.bias)


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2])
def test_refiner_is_equation_6_6(batch: int) -> None:
    torch.manual_seed(0)
    network = stir(RefinementAutoEncoder(**REFINER))
    features, codes, bank = edits(network, batch)
    expected = refine_by_ladder(network, features, codes, bank)
    for gradients in (False, True):
        with torch.set_grad_enabled(gradients):
            image = network(features, codes, bank, noise="fixed")
        torch.testing.assert_close(image.detach(), expected, rtol=1e-3, atol=1e-3)


def edits(network: nn.Module, batch: int) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Aggregated features, codes, and the bank of a prior of twice the size."""
    prior = StyleGAN2Generator(32, num_mapping_layers=1, **WIDTH).eval()
    codes = torch.randn(batch, 8, 6)
    bank = prior(w_plus=codes, noise="fixed", feature_layer="conv", stop_at=2).features
    return torch.randn(batch, 3, 16, 16), codes, bank


def test_a_refiner_of_the_thesis_has_no_skips() -> None:
    with pytest.raises(ValueError, match="one convolution at each end: leave out skips"):
        RefinementAutoEncoder(**REFINER, skips=True)


# What holds of every form


def call_diffuser(network: nn.Module) -> Tensor:
    codes = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1))
    return network(codes, 1, codes.flip(1))


def call_warper(network: nn.Module) -> Tensor:
    codes = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(1))
    return network(codes, codes.flip(1))


def call_restorer(network: nn.Module) -> Tensor:
    torch.manual_seed(1)
    return network(**prompts(network, 1), generator=torch.Generator().manual_seed(0)).image


def call_refiner(network: nn.Module) -> Tensor:
    torch.manual_seed(1)
    return network(*edits(network, 1), noise="fixed")


FORMS: dict[str, tuple[Callable[[str], VerifiedModelMixin], Callable[[nn.Module], Tensor]]] = {
    "code diffuser": (lambda form: CodeDiffuser(5, 6, 2, form=form), call_diffuser),
    "latent warper": (lambda form: LatentWarper(5, 6, 2, form=form), call_warper),
    "restorer": (lambda form: RestoreAutoEncoder(**RESTORER | {"form": form}), call_restorer),
    "refiner": (lambda form: RefinementAutoEncoder(**REFINER | {"form": form}), call_refiner),
}


@torch.no_grad()
@pytest.mark.parametrize("kind", FORMS)
def test_the_form_is_kept_and_others_are_refused(kind: str, tmp_path: Path) -> None:
    make, call = FORMS[kind]
    torch.manual_seed(0)
    network = stir(make("thesis"))
    network.save_pretrained(tmp_path)
    loaded = type(network).from_pretrained(tmp_path).eval()
    assert loaded.config.form == "thesis"
    expected = call(network)
    torch.testing.assert_close(call(loaded), expected)
    torch.testing.assert_close(call(fold(network)), expected)
    half = type(network).from_pretrained(tmp_path, torch_dtype=torch.bfloat16).eval()
    assert (call(half).float() - expected).square().mean().sqrt() / expected.std() < 0.1
    other = {name: value.shape for name, value in make("published").state_dict().items()}
    assert other != {name: value.shape for name, value in network.state_dict().items()}
    assert inspect.signature(type(network)).parameters["form"].default == "published"
    with pytest.raises(ValueError, match=r"form must be 'published'.*or 'thesis'.*not 'paper'"):
        make("paper")


@pytest.mark.parametrize(
    "switch", [{}, {"use_smart": False}, {"use_style_codes": False}, {"use_prior_features": False}]
)
def test_training_reaches_every_parameter_of_every_ablation(switch: dict[str, bool]) -> None:
    torch.manual_seed(0)
    network = RestoreAutoEncoder(**RESTORER, **switch).train()
    given = prompts(network, 2)
    first, second = (network(**given, generator=torch.Generator().manual_seed(0)).image for _ in range(2))
    assert torch.equal(first, second), "the thesis's form has no drop-out"
    first.square().mean().backward()
    missing = [
        name for name, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ]
    assert not missing


def test_a_residual_restorer_begins_as_the_identity() -> None:
    network = RestoreAutoEncoder(**RESTORER, residual=True).eval()
    given = prompts(network, 1)
    with torch.no_grad():
        assert torch.equal(network(**given).image, given["image"])


def test_the_other_bank_is_refused() -> None:
    network = RestoreAutoEncoder(**RESTORER)
    prior = StyleGAN2Generator(16, num_mapping_layers=1, **WIDTH)
    given = prompts(network, 1)
    up = prior(w_plus=given["style_codes"], feature_layer="up").features
    with pytest.raises(ValueError, match=r'5 prior features .*not 3; .*feature_layer="every"'):
        network(**given | {"features": up})
    with pytest.raises(ValueError, match=r"prior feature 2 must have the shape \[1, 8, 8, 8\]"):
        network(**given | {"features": [*given["features"][:2], *given["features"]]})
