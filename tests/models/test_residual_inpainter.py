"""GRIG's networks at small sizes: shapes, training, the folded form, saving."""

import pytest
import torch
from torch import nn

from facekit import ForgedPatchDiscriminator, ProjectedDiscriminator, ResidualInpainter
from facekit.losses.adversarial import hinge_discriminator_loss
from facekit.models.layers.residual import CodeModulation
from facekit.models.layers.spectral import SpectralConv2d, initialize_normal

TINY = {
    "sample_size": 64,
    "stem_channels": 8,
    "encoder_channels": (8, 16, 16),
    "dim": 8,
    "num_blocks": (1, 1, 1, 1),
    "num_refinement_blocks": 1,
    "num_heads": (1, 1, 2, 2),
}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tiny(**options) -> ResidualInpainter:
    """A network whose batch statistics, noise strengths and spectral vectors are not the initial ones."""
    torch.manual_seed(0)
    network = ResidualInpainter(**(TINY | options))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.2)
            nn.init.normal_(module.bias, 0.0, 0.2)
            nn.init.normal_(module.running_mean, 0.0, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    nn.init.constant_(network.decoder.up2.conv1.noise_strength, 0.3)
    return network.eval()


def example(batch: int = 2, height: int = 64, width: int = 128):
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(batch, 3, height, width, generator=generator).clamp(-1, 1)
    mask = (torch.rand(batch, 1, height, width, generator=generator) > 0.5).float()
    noise = [torch.randn(batch, 1, height // 2, width // 2, generator=generator) for _ in range(2)]
    return image, mask, noise


def test_published_sizes():
    with torch.device("meta"):
        generator, patch = ResidualInpainter(), ForgedPatchDiscriminator()
    assert sum(p.numel() for p in generator.parameters()) == 31_764_198
    assert sum(p.numel() for p in patch.parameters()) == 2_764_737
    projected = ProjectedDiscriminator()
    assert sum(p.numel() for p in projected.parameters()) == 6_164_736
    assert sum(p.numel() for p in projected.parameters() if p.requires_grad) == 2_829_120


@pytest.mark.parametrize("form", ["published", "thesis"])
@pytest.mark.parametrize("use_transformer", [True, False])
@torch.no_grad()
def test_folded_form_is_the_same_function(use_transformer, form):
    network = tiny(use_transformer=use_transformer, form=form)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    image, mask, noise = example()
    folded = network.fold()
    assert not any(isinstance(m, SpectralConv2d | nn.BatchNorm2d) for m in folded.modules())
    expected = network(image, mask, noise)
    assert expected.std() > 0.01
    torch.testing.assert_close(folded(image, mask, noise), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(folded(image, mask, [n * 0 for n in noise]), expected, atol=1e-4)
    assert folded.config == network.config and folded.dtype == network.dtype
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert network.train().fold() is network


@pytest.mark.parametrize("form", ["published", "thesis"])
@torch.no_grad()
def test_half_precision_stays_close(form):
    network = tiny(form=form)
    image, mask, noise = example()
    expected = network(image, mask, noise)
    for dtype in (torch.bfloat16, torch.float16):
        half = tiny(form=form).to(dtype)
        for called in (half, half.fold()):
            output = called(image.to(dtype), mask, [n.to(dtype) for n in noise])
            assert output.dtype == dtype
            error = (output.float() - expected).square().mean().sqrt() / expected.std()
            assert error < 0.05


def test_mask_and_noise_matter_and_noise_follows_the_generator():
    network = tiny()
    image, mask, _ = example()
    with torch.no_grad():
        first, second = (
            network(image, mask, generator=torch.Generator().manual_seed(seed)) for seed in (3, 3)
        )
        other = network(image, mask, generator=torch.Generator().manual_seed(4))
        inverse = network(image, 1 - mask, generator=torch.Generator().manual_seed(3))
    assert torch.equal(first, second)
    assert not torch.allclose(first, other)
    assert not torch.allclose(first, inverse)


@pytest.mark.parametrize("form", ["published", "thesis"])
@pytest.mark.parametrize("use_transformer", [True, False])
def test_every_parameter_learns_under_autocast(use_transformer, form):
    network = tiny(use_transformer=use_transformer, form=form).train().to(memory_format=torch.channels_last)
    image, mask, noise = example()
    with torch.autocast("cpu", torch.bfloat16):
        residual = network(image, mask, noise)
    residual.float().square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("form", ["published", "thesis"])
def test_saved_network_loads_the_same(tmp_path, form):
    network = tiny(form=form)
    network.save_pretrained(tmp_path)
    loaded = ResidualInpainter.from_pretrained(tmp_path)
    image, mask, noise = example()
    with torch.no_grad():
        torch.testing.assert_close(loaded(image, mask, noise), network(image, mask, noise))
    state = loaded.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_wrong_shapes_are_refused():
    network = tiny()
    image, mask, noise = example()
    for arguments, message in (
        ((image[:, :2], mask, noise), "image must be"),
        ((image[..., :100], mask, noise), "multiples of 64"),
        ((image, mask[:1], noise), "mask must be"),
        ((image, mask, noise[:1]), "noise must be two maps"),
    ):
        with pytest.raises(ValueError, match=message):
            network(*arguments)
    with pytest.raises(ValueError, match="num_heads needs 4 numbers"):
        ResidualInpainter(num_heads=(1, 2))
    with pytest.raises(ValueError, match="attention heads"):
        tiny(num_heads=(3, 1, 1, 1))


@torch.no_grad()
def test_spectral_norm_follows_the_kernel_in_training_only():
    conv = SpectralConv2d(4, 6, 3)
    initialize_normal(conv, std=1.0)
    assert torch.linalg.matrix_norm(conv.normalize_weight().flatten(1), 2).item() == pytest.approx(
        1, abs=0.02
    )
    conv.weight.normal_()
    vectors = conv.u.clone(), conv.v.clone()
    conv.eval().normalize_weight()
    assert torch.equal(conv.u, vectors[0]) and torch.equal(conv.v, vectors[1])
    conv.train()
    for _ in range(50):
        conv.normalize_weight()
    assert not torch.equal(conv.u, vectors[0])
    assert torch.linalg.matrix_norm(conv.normalize_weight().flatten(1), 2).item() == pytest.approx(
        1, abs=1e-3
    )


@pytest.mark.parametrize("form", ["published", "thesis"])
@torch.no_grad()
def test_codes_modulate_the_decoder(tmp_path, form):
    network = tiny(style_dim=6, num_mapping_layers=2, form=form)
    image, mask, noise = example()
    z = torch.randn(2, 6, generator=torch.Generator().manual_seed(2))
    first, second = network(image, mask, noise, z=z), network(image, mask, noise, z=-z)
    assert (first - second).abs().mean() > 0.02 * first.abs().mean()
    # Nothing but the decoder reads them: the same code for both samples changes each alone.
    mixed = network(image, mask, noise, z=torch.stack([z[0], -z[1]]))
    torch.testing.assert_close(mixed, torch.stack([first[0], second[1]]))
    torch.testing.assert_close(network.fold()(image, mask, noise, z=z), first, rtol=1e-4, atol=1e-5)
    half = network.fold().to(torch.bfloat16)
    assert half(*(x.bfloat16() for x in (image, mask)), [n.bfloat16() for n in noise], z=z).isfinite().all()
    network = tiny(style_dim=6, num_mapping_layers=2, form=form)
    network.save_pretrained(tmp_path)
    loaded = ResidualInpainter.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(image, mask, noise, z=z), network(image, mask, noise, z=z))
    # Drawn codes follow the generator, after the noise.
    source = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    drawn = network(image, mask, noise, generator=source)
    source = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    torch.testing.assert_close(drawn, network(image, mask, noise, z=network.draw_codes(2, source)))


@torch.no_grad()
def test_a_code_modulates_by_loops():
    torch.manual_seed(0)
    layer, x, code = CodeModulation(3, 2), torch.randn(2, 2, 3, 4), torch.randn(2, 3)
    expected = torch.empty_like(x)
    for b in range(2):
        affine = [
            sum(layer.affine.weight[k, d] * code[b, d] for d in range(3)) + layer.affine.bias[k]
            for k in range(4)
        ]
        for c in range(2):
            expected[b, c] = x[b, c] * (1 + affine[c]) + affine[2 + c]
    torch.testing.assert_close(layer(x, code), expected)


def test_networks_without_codes_take_and_draw_none():
    network, (image, mask, noise) = tiny(), example()
    source = torch.Generator().manual_seed(0)
    before = source.get_state()
    assert network.draw_codes(2, source) is None and torch.equal(before, source.get_state())
    with pytest.raises(ValueError, match="this one has style_dim 0: leave it out"):
        network(image, mask, noise, z=torch.zeros(2, 6))
    with pytest.raises(ValueError, match=r"z must be \[2, 6\], got \[2, 5\]"):
        tiny(style_dim=6, num_mapping_layers=2)(image, mask, noise, z=torch.zeros(2, 5))


@pytest.mark.parametrize("use_transformer", [True, False])
@torch.no_grad()
def test_every_convolution_of_the_thesis_form_has_unit_spectral_norm(use_transformer):
    """Section 4.2.1: "spectral normalization to all convolution layers", by singular values of what is applied."""
    network = tiny(form="thesis", use_transformer=use_transformer)
    seen = []

    def look(module, inputs, output):
        kernel = module.normalize_weight() if isinstance(module, SpectralConv2d) else module.weight
        seen.append(torch.linalg.svdvals(kernel.flatten(1))[0].item())

    layers = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    for layer in layers:
        initialize_normal(layer, std=1.0)
        layer.register_forward_hook(look)
    network(*example())
    assert len(seen) == len(layers)
    # Fifteen power iterations estimate the norm from below.
    assert all(0.99 < norm < 1.1 for norm in seen), [norm for norm in seen if not 0.99 < norm < 1.1]
    published = tiny(use_transformer=use_transformer)
    plain = [module for module in published.modules() if type(module) is nn.Conv2d]
    assert len(plain) == (4 + 6 + 8 * 6 if use_transformer else 4)


@torch.no_grad()
def test_a_spectral_depthwise_convolution_by_loops():
    torch.manual_seed(0)
    conv = SpectralConv2d(3, 3, 3, padding=1, groups=3, bias=False)
    conv.reset_spectral_vectors(iterations=200)
    conv.eval()
    x = torch.randn(1, 3, 4, 5)
    norm = torch.linalg.svdvals(conv.weight.reshape(3, 9))[0]
    expected = torch.zeros(1, 3, 4, 5)
    for channel in range(3):
        for row in range(4):
            for column in range(5):
                for i in range(3):
                    for j in range(3):
                        y, z = row + i - 1, column + j - 1
                        if 0 <= y < 4 and 0 <= z < 5:
                            weight = conv.weight[channel, 0, i, j] / norm
                            expected[0, channel, row, column] += weight * x[0, channel, y, z]
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-5)


def test_both_forms_have_the_same_parameters():
    with torch.device("meta"):
        published, thesis = ResidualInpainter(), ResidualInpainter(form="thesis")
    assert sum(p.numel() for p in thesis.parameters()) == 31_764_198
    added = thesis.state_dict().keys() - published.state_dict().keys()
    assert not published.state_dict().keys() - thesis.state_dict().keys()
    assert added and all(key.split(".")[-1] in ("u", "v") for key in added)
    for network in (ResidualInpainter, ProjectedDiscriminator):
        with pytest.raises(ValueError, match=r"form must be 'published'.*not 'paper'"):
            network(form="paper")


def test_the_thesis_discriminator_gives_a_scalar():
    """Section 4.2.1: E maps the feature maps to a scalar; Eq. 4.3 then has one term for each picture, by loops."""
    options = {"projection_channels": (8, 8, 16, 16), "discriminator_channels": (8, 16), "input_size": 64}
    torch.manual_seed(0)
    regions = ProjectedDiscriminator(**options).eval()
    whole = ProjectedDiscriminator(**options, form="thesis").eval()
    whole.load_state_dict(regions.state_dict())
    nn.init.normal_(regions.head.weight, 0, 2)
    whole.head.weight.data.copy_(regions.head.weight)
    real, fake = torch.rand(2, 3, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        on_real, on_fake = whole(real), whole(fake)
        assert on_real.shape == (3, 1)
        loss = 0.0
        for judged, sign in ((regions(real), 1), (regions(fake), -1)):
            for logits in judged:
                scalar = sum(logit.item() for logit in logits) / len(logits)
                loss += max(0.0, 1 - sign * scalar) / len(judged)
        assert hinge_discriminator_loss(on_real, on_fake).item() == pytest.approx(loss, rel=1e-4)
        assert hinge_discriminator_loss(regions(real), regions(fake)).item() != pytest.approx(loss, rel=1e-4)


def test_discriminators_return_features_and_freeze_the_classifier():
    image = torch.rand(2, 3, 64, 64) * 2 - 1
    projected = ProjectedDiscriminator(
        projection_channels=(8, 8, 16, 16), discriminator_channels=(8, 16), input_size=64
    ).train()
    before = {key: value.clone() for key, value in projected.projector.state_dict().items()}
    image.requires_grad_(True)
    logits, features = projected(image, return_features=True)
    assert logits.shape == (2, 25) and [f.shape[1] for f in features] == [8, 16]
    logits.mean().backward()
    assert image.grad.abs().sum() > 0
    after = projected.projector.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    assert all(p.grad is None for p in projected.projector.parameters())
    patch = ForgedPatchDiscriminator(base_channels=4)
    scores, features = patch(image.detach(), return_features=True)
    assert scores.shape == patch.label_map(torch.zeros(2, 1, 64, 64)).shape == (2, 1, 6, 6)
    assert len(features) == 4
