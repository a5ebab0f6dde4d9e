"""FACEMUG's networks against the equations of thesis chapter 6, each written out plainly here."""

import math

import pytest
import torch
import torch.nn.functional as F

from facekit.models.latent_warper import LatentWarper
from facekit.models.layers.code_blocks import CodeModulationBlock
from facekit.models.layers.linear import ConvLayer
from facekit.models.layers.modulated import ModulatedConv2d, StyledConv
from facekit.models.layers.noise import NoiseInjection
from facekit.models.layers.style_fusion import StyleFusion
from facekit.models.multimodal import MultimodalAggregation, ResidualBlock
from facekit.models.refiner import RefinementAutoEncoder
from facekit.models.style_directions import StyleDirections
from facekit.models.stylegan2 import StyleGAN2Generator

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
TINY = {"sample_size": 16, "style_dim": 6, "channel_base": 64, "max_channels": 8}


def stir(module: torch.nn.Module) -> torch.nn.Module:
    """Biases and noise strengths that begin at zero get values, so that they count."""
    for name, parameter in module.named_parameters():
        if name.endswith(("bias", "strength")):
            parameter.data.add_(0.3 * torch.randn_like(parameter))
    return module.eval()


def leaky(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, 0.2 * x)


# Eq. 6.2 and 6.15: codes.


def mlp(module: torch.nn.Module, code: torch.Tensor) -> torch.Tensor:
    """FC, LayerNorm, leaky ReLU sqrt(2), FC of one code [D]."""
    hidden = module.linear1.weight @ code + module.linear1.bias
    hidden = (hidden - hidden.mean()) / torch.sqrt(hidden.var(unbiased=False) + 1e-5)
    hidden = leaky(hidden * module.norm.weight + module.norm.bias) * math.sqrt(2)
    return module.linear2.weight @ hidden + module.linear2.bias


def block_by_loops(block: CodeModulationBlock, residual: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    """Eq. 6.15 for one face: w^r and Delta_(i-1), both [t, D] -> Delta_i [t, D]."""
    count, dim = residual.shape
    query, key, value = (
        [layer.weight @ code for code in codes]
        for layer, codes in (
            (block.channel_query, residual),
            (block.channel_key, offsets),
            (block.channel_value, offsets),
        )
    )
    channel = torch.zeros(count, dim)
    for i in range(count):
        scores = [math.exp(float(query[i] @ key[j]) / math.sqrt(count)) for j in range(count)]
        for j in range(count):
            channel[i] += scores[j] / sum(scores) * value[j]
    query, key, value = (
        torch.stack([layer.weight @ code for code in codes])
        for layer, codes in (
            (block.position_query, residual),
            (block.position_key, offsets),
            (block.position_value, offsets),
        )
    )
    position = torch.zeros(count, dim)
    for column in range(dim):
        scores = [math.exp(float(query[:, row] @ key[:, column]) / math.sqrt(dim)) for row in range(dim)]
        for row in range(dim):
            position[:, column] += scores[row] / sum(scores) * value[:, row]
    result = torch.zeros(count, dim)
    for i in range(count):
        mixed = position[i] + channel[i]
        mixed = (mixed - mixed.mean()) / torch.sqrt(mixed.var(unbiased=False) + 1e-5)
        gate = 1 / (1 + torch.exp(-mlp(block.scale, residual[i])))
        result[i] = mixed * (gate + 1) + leaky(mlp(block.shift, residual[i]))
    return result


@torch.no_grad()
def test_latent_warper() -> None:
    torch.manual_seed(0)
    warper = stir(LatentWarper(5, 6))
    target, source = torch.randn(2, 5, 6), torch.randn(2, 5, 6)
    warped = warper(target, source)
    for b in range(2):
        residual, offsets = target[b] - source[b], source[b]
        for block in warper.blocks:
            offsets = block_by_loops(block, residual, offsets)
        torch.testing.assert_close(warped[b], offsets + source[b], **CLOSE)


@torch.no_grad()
def test_attribute_shift() -> None:
    """Eq. 6.3."""
    smile, age = torch.randn(6), torch.randn(9, 6)
    directions = StyleDirections.from_tensors({"smile": smile, "age": age}, num_styles=5)
    codes = torch.randn(2, 5, 6)
    moved = directions(codes, {"smile": 2.0, "age": -0.5})
    for b in range(2):
        for i in range(5):
            expected = codes[b, i] + 2.0 * smile - 0.5 * age[i]
            torch.testing.assert_close(moved[b, i], expected, **CLOSE)
    assert torch.equal(directions.shift({}), torch.zeros(5, 6))
    assert torch.equal(directions.direction("age"), age[:5])


# Eq. 6.16 and 6.17: aggregation.


def conv_layer(layer: ConvLayer, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
    """Equalised convolution, bias, leaky ReLU sqrt(2)."""
    weight = layer.conv.weight / math.sqrt(layer.conv.weight[0].numel())
    if stride == 2:
        x = F.conv2d(F.pad(x, [2] * 4), fir(x.shape[1]), groups=x.shape[1])
        y = F.conv2d(x, weight, stride=2)
    else:
        y = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    if layer.activate is None:
        return y
    return leaky(y + layer.activate.bias.view(1, -1, 1, 1)) * math.sqrt(2)


def fir(channels: int) -> torch.Tensor:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return torch.outer(taps, taps).repeat(channels, 1, 1, 1)


def residual_block(block: ResidualBlock, x: torch.Tensor) -> torch.Tensor:
    skip = F.conv2d(x, block.skip.weight / math.sqrt(x.shape[1]))
    return (conv_layer(block.conv2, conv_layer(block.conv1, x)) + skip) / math.sqrt(2)


def modalities(size: int = 12) -> dict[str, torch.Tensor]:
    mask = torch.zeros(2, 1, size, size)
    mask[:, :, 3:9, 2:10] = 1
    classes = torch.randint(0, 19, (2, size, size))
    return {
        "image": torch.rand(2, 3, size, size) * 2 - 1,
        "mask": mask,
        "sketch": torch.rand(2, 1, size, size).round(),
        "semantics": F.one_hot(classes, 19).permute(0, 3, 1, 2).float() * mask,
        "color": (torch.rand(2, 3, size, size) * 2 - 1) * mask,
    }


@torch.no_grad()
@pytest.mark.parametrize("mask_channel", [True, False])
def test_aggregation(mask_channel: bool) -> None:
    torch.manual_seed(0)
    network = stir(MultimodalAggregation(4, mask_channel))
    given = modalities()
    masked = given["image"] * (1 - given["mask"])
    inputs = {"image": torch.cat([masked, given["mask"] - 0.5], 1) if mask_channel else masked}
    inputs |= {name: given[name] for name in ("sketch", "semantics", "color")}
    features = [residual_block(network.blocks[name], value) for name, value in inputs.items()]
    scores = [residual_block(network.score, feature) for feature in features]
    expected = torch.zeros(2, 4, 12, 12)
    for b in range(2):
        for v in range(12):
            for u in range(12):
                exponentials = [math.exp(float(score[b, 0, v, u])) for score in scores]
                for exponential, feature in zip(exponentials, features, strict=True):
                    expected[b, :, v, u] += feature[b, :, v, u] * exponential / sum(exponentials)
    torch.testing.assert_close(network(**given), expected, **CLOSE)


# Eq. 6.6 to 6.8: refinement.


def modulated(layer: ModulatedConv2d, x: torch.Tensor, style: torch.Tensor, up: bool = False) -> torch.Tensor:
    """StyleGAN2's modulated, demodulated convolution, a kernel per sample and output channel."""
    affine, rows = layer.modulation.affine, []
    for b in range(len(x)):
        scale = affine.weight @ style[b] / math.sqrt(style.shape[1]) + affine.bias
        kernels = []
        for kernel in layer.weight:
            kernel = kernel * scale[:, None, None] / math.sqrt(kernel.numel())
            kernels.append(kernel / torch.sqrt((kernel**2).sum() + 1e-8))
        weight = torch.stack(kernels)
        if up:
            y = F.conv_transpose2d(x[b : b + 1], weight.transpose(0, 1), stride=2)
            y = F.conv2d(F.pad(y, [1] * 4), 4 * fir(len(weight)), groups=len(weight))
        else:
            y = F.conv2d(x[b : b + 1], weight, padding=1)
        rows.append(y)
    return torch.cat(rows)


def style_layer(
    layer: StyledConv, x: torch.Tensor, style: torch.Tensor, noise: torch.Tensor, up: bool = False
) -> torch.Tensor:
    """SC, and UP before its activation."""
    y = modulated(layer.conv, x, style, up) + layer.noise.strength * noise
    return leaky(y + layer.activate.bias.view(1, -1, 1, 1)) * math.sqrt(2)


def fusion(
    block: StyleFusion,
    decoded: torch.Tensor,
    encoded: torch.Tensor,
    prior: torch.Tensor,
    style: torch.Tensor,
) -> torch.Tensor:
    def gate(layer: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
        return modulated(layer.conv, x, style) + layer.bias.view(1, -1, 1, 1)

    # Eq. 6.7
    intermediate = (1 / (1 + torch.exp(-gate(block.gate, decoded))) + 1) * encoded
    intermediate = intermediate + leaky(gate(block.shift, decoded))
    # Eq. 6.8
    share = 1 / (1 + torch.exp(-gate(block.prior_gate, prior)))
    return share * prior + (1 - share) * intermediate


def refine(
    network: RefinementAutoEncoder, features: torch.Tensor, codes: torch.Tensor, bank: list[torch.Tensor]
) -> torch.Tensor:
    """Eq. 6.6 as a ladder; every index is the thesis's, counted from one."""
    count = network.num_styles
    # The encoder's maps F_k^en, k = 1..n.
    encoded, x = {}, conv_layer(network.stems[0], features)
    for k, level in enumerate(network.encoder):
        encoded[2 * k + 1] = conv_layer(level.conv, x)
        x = encoded[2 * k + 2] = conv_layer(level.down, encoded[2 * k + 1], stride=2)
    encoded[count - 1] = conv_layer(network.kept, x)
    encoded[count] = conv_layer(network.bottleneck, encoded[count - 1])
    weight = network.to_global.weight / math.sqrt(network.to_global.weight.shape[1])
    code = leaky(encoded[count].flatten(1) @ weight.t() + network.to_global.bias) * math.sqrt(2)

    prior = {2 * k + 1: feature for k, feature in enumerate(bank)}
    decoded, fused = {0: conv_layer(network.conv, encoded[count])}, {}
    for i in range(1, count + 1):
        style = torch.cat([codes[:, i - 1], code], 1)
        noise = network.get_buffer(f"noise_{i - 1}")
        level = network.decoder[(i - 1) // 2]
        if i % 2 == 1:
            decoded[i] = style_layer(level.up, decoded[i - 1], style, noise, up=i > 1)
            fused[i] = fusion(level.fusion, decoded[i], encoded[count - i], prior[i], codes[:, i])
        else:
            decoded[i] = style_layer(level.conv, fused[i - 1], style, noise)
    head = network.to_rgb
    return F.conv2d(decoded[count], head.weight / math.sqrt(head.weight.shape[1]), head.bias)


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 2])
def test_refinement(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = stir(RefinementAutoEncoder(**TINY, in_channels=3, global_dim=5))
    prior = StyleGAN2Generator(**TINY | {"sample_size": 32}, num_mapping_layers=1).eval()
    features, codes = torch.randn(batch, 3, 16, 16), torch.randn(batch, 8, 6)
    bank = prior(w_plus=codes, noise="fixed", feature_layer="conv", stop_at=2).features
    kept = [feature.clone() for feature in bank]
    expected = refine(network, features, codes, bank)
    actual = network(features, codes, bank, noise="fixed")
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)
    # Large maps go band by band, and the bank, which others hold too, stays as it was.
    monkeypatch.setattr("facekit.models.fast.bands.BANDS_FROM_BYTES", 1)
    monkeypatch.setattr("facekit.models.fast.bands.BAND_BYTES", 512)
    actual = network(features, codes, bank, noise="fixed")
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(bank, kept, strict=True))
    with torch.enable_grad():
        torch.testing.assert_close(
            network(features, codes, bank, noise="fixed"), expected, rtol=1e-3, atol=1e-4
        )


@torch.no_grad()
def test_bank_is_the_second_convolution_of_every_size() -> None:
    """F_1, F_3, ... of thesis 6.2.5, and what the restorer reads stays as it was."""
    torch.manual_seed(0)
    prior = StyleGAN2Generator(**TINY, num_mapping_layers=1).eval()
    codes, taps = torch.randn(2, 6, 6), []
    for layer in (prior.conv, *(level.conv for level in prior.levels)):
        layer.register_forward_hook(lambda _m, _a, output: taps.append(output.clone()))
    whole = prior(w_plus=codes, noise="fixed", feature_layer="conv")
    assert len(whole.features) == 3 and whole.image is not None
    for feature, tap in zip(whole.features, taps, strict=True):
        assert torch.equal(feature, tap)
    stopped = prior(w_plus=codes, noise="fixed", feature_layer="conv", stop_at=1)
    assert stopped.image is None and len(stopped.features) == 2
    torch.testing.assert_close(stopped.features[1], taps[1])
    plain = prior(w_plus=codes, noise="fixed", stop_at=1).features
    torch.testing.assert_close(plain[1], prior.levels[0].up(taps[0], codes[:, 1], prior.noise_1))
    with pytest.raises(ValueError, match="'up', 'conv' or 'every', not 'rgb'"):
        prior(w_plus=codes, feature_layer="rgb")


def test_noise_strengths_count() -> None:
    """`stir` reaches them, so that the ladder above tests the noise too."""
    network = stir(RefinementAutoEncoder(**TINY, in_channels=3, global_dim=5))
    strengths = [m.strength for m in network.modules() if isinstance(m, NoiseInjection)]
    assert len(strengths) == network.num_styles and all(strength.item() for strength in strengths)
