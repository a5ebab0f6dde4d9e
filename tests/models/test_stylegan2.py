"""StyleGAN2 generator, mapping network and discriminator: reference outputs, and how a tiny one behaves."""

import cv2
import pytest
import torch
import torch.nn.functional as F

from facekit.convert.stylegan2 import discriminator_state, generator_state
from facekit.models.layers.noise import NoiseInjection
from facekit.models.stylegan2 import MappingNetwork, StyleGAN2Generator
from facekit.models.stylegan2_discriminator import StyleGAN2Discriminator

from .style_parity import (
    PARITY,
    SHARED,
    assert_close,
    assert_summary,
    draw,
    face_sized_image,
    fill,
    goldens,
)

TINY = {"sample_size": 32, "style_dim": 16, "channel_base": 256, "max_channels": 16, "num_mapping_layers": 2}


@pytest.fixture(scope="module")
def published() -> StyleGAN2Generator:
    """The 1024 generator with the reference weights."""
    state = fill(PARITY / "vspbfr" / "stylegan2.json", 0)
    state = {key.removeprefix("decoder."): value for key, value in state.items()}
    with torch.device("meta"):
        model = StyleGAN2Generator()
    average = draw("average", (18, 512), 0)
    model.load_state_dict(generator_state(state, average), assign=True)
    assert torch.equal(model.latent_avg, average)
    for module in model.modules():
        if hasattr(module, "kernel"):
            module.kernel = torch.outer(*[torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8] * 2)
    return model.eval()


@pytest.fixture
def tiny() -> StyleGAN2Generator:
    torch.manual_seed(0)
    model = StyleGAN2Generator(**TINY).eval()
    for module in model.modules():
        if isinstance(module, NoiseInjection):
            torch.nn.init.constant_(module.strength, 0.2)
    return model


@torch.inference_mode()
def test_published_mapping_and_first_features(published: StyleGAN2Generator) -> None:
    stored = goldens("vspbfr")
    assert sum(p.numel() for p in published.parameters()) == 30_370_060
    assert_close(published.mapping(stored["z"]), stored["mapping.stylegan"], "mapping.stylegan")
    output = published(w_plus=0.8 * draw("golden.stylegan.w", (1, 18, 512), 0), stop_at=4)
    assert output.image is None and len(output.features) == 5
    for level, feature in enumerate(output.features):
        assert_summary(feature, stored, f"stylegan.feat{level}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@torch.inference_mode()
def test_published_image(published: StyleGAN2Generator) -> None:
    stored = goldens("vspbfr")
    w_plus = 0.8 * draw("golden.stylegan.w", (1, 18, 512), 0)
    output = published(w_plus=w_plus)
    for level, feature in enumerate(output.features):
        assert_summary(feature, stored, f"stylegan.feat{level}")
    assert_summary(output.image, stored, "stylegan.image1024", 3, 64)
    assert_summary(F.adaptive_avg_pool2d(output.image, 512), stored, "stylegan.image512", 3, 128)
    strengths = [m.strength for m in published.modules() if isinstance(m, NoiseInjection)]
    for strength in strengths:
        strength.fill_(0.1)
    noisy = published(w_plus=w_plus, noise="fixed").image
    for strength in strengths:
        strength.zero_()
    assert_summary(noisy, stored, "stylegan.image1024_buffernoise0.1", 3, 64)


def reference_image(name: str) -> torch.Tensor:
    pixels = cv2.imread(str(PARITY / "exegan" / f"{name}.png"))[..., ::-1].copy()
    return (torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.5


def r1_penalty(model: StyleGAN2Discriminator, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    image = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(image).sum(), image)
    return gradient.square().sum((1, 2, 3)).mean(), gradient


@pytest.fixture(scope="module")
def discriminator_256() -> StyleGAN2Discriminator:
    model = StyleGAN2Discriminator(256).eval()
    model.load_state_dict(discriminator_state(fill(PARITY / "exegan" / "discriminator_256.json", 0)))
    return model


@torch.inference_mode()
def test_published_discriminator_256(discriminator_256: StyleGAN2Discriminator) -> None:
    stored = goldens("exegan")
    assert sum(p.numel() for p in discriminator_256.parameters()) == 28_864_129
    both = torch.cat([reference_image("gt"), reference_image("exemplar_a")])
    assert_close(discriminator_256(both), stored["disc.logit_b2_gt_exa"], "two images")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_published_discriminator_256_in_training(discriminator_256: StyleGAN2Discriminator) -> None:
    stored, model = goldens("exegan"), discriminator_256
    both = torch.cat([reference_image("gt"), reference_image("exemplar_a")])
    assert_close(1e3 * r1_penalty(model, both)[0], 1e3 * stored["loss.r1_b2_gt_exa"], "R1")
    with torch.inference_mode():
        real = model(both[:1])
    assert_close(real, stored["disc.logit_b1_gt"], "one image")
    if "in.exemplar_b" not in stored:
        return
    mask = stored["in.mask"]
    composite = stored["gen.pred"] * mask + stored["in.gt"] * (1 - mask)
    four = torch.cat([both, stored["in.exemplar_b"], composite.clamp(-1, 1)])
    with torch.inference_mode():
        assert_close(model(four), stored["disc.logit_b4"], "four images")
        assert_close(model(torch.cat([four, four.flip(3)])), stored["disc.logit_b8"], "eight images")
        fake = model(composite)
    d_loss = F.softplus(-real).mean() + F.softplus(fake).mean()
    assert_close(d_loss, stored["loss.d_logistic"], "discriminator loss")
    assert_close(F.softplus(-fake).mean(), stored["loss.g_nonsaturating"], "generator loss")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_published_discriminator_512() -> None:
    stored, image = goldens("vspbfr"), face_sized_image()
    if "image" in stored:
        assert torch.equal(image, stored["image"])
    model = StyleGAN2Discriminator(512).eval()
    model.load_state_dict(discriminator_state(fill(PARITY / "vspbfr" / "discriminator.json", 0)))
    images = torch.cat([image, image.flip(3), -image, image.flip(2)])
    with torch.inference_mode():
        for count in (2, 4):
            assert_close(model(images[:count]), stored[f"disc.b{count}"], f"{count} images")
        real, fake = model(images[:1]), model(images[1:2])
    assert_close(real, stored["disc.b1"], "one image")
    assert_close(F.softplus(-real).mean() + F.softplus(fake).mean(), stored["disc.d_loss"], "D loss")
    assert_close(F.softplus(-fake).mean(), stored["disc.g_loss"], "G loss", atol=1e-6)
    penalty, gradient = r1_penalty(model, image)
    assert_close(penalty, stored["disc.r1"], "R1")
    # The usual absolute tolerance says nothing about numbers of the order of 1e-4, and an activation within
    # rounding of zero may pass single pixels the other slope; so the whole map is compared.
    expected = stored["disc.r1_grad.sub"]
    difference = gradient[:, :, ::16, ::16] - expected
    assert difference.norm() < 1e-3 * expected.norm()
    assert_close(gradient.abs().sum(), stored["disc.r1_grad.stats"][2], "R1 gradient")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not SHARED.exists(), reason="the full reference outputs are not beside this checkout")
@torch.inference_mode()
def test_published_discriminator_512_of_exemplar_inpainting() -> None:
    stored = goldens("exegan")
    model = StyleGAN2Discriminator(512).eval()
    model.load_state_dict(discriminator_state(fill(SHARED / "exegan" / "discriminator_512.json", 0)))
    enlarged = F.interpolate(stored["in.gt"], scale_factor=2)
    assert_close(model(enlarged), stored["disc512.logit_b1_gt"], "512 pixels")


def test_unknown_keys_are_named() -> None:
    with pytest.raises(ValueError, match=r"1 keys do not belong .* 'extra\.weight'"):
        discriminator_state({"final_conv.1.bias": torch.zeros(1), "extra.weight": torch.zeros(1)})


def test_shapes_and_reproducible_noise(tiny: StyleGAN2Generator) -> None:
    z = torch.randn(3, 16)
    with torch.inference_mode():
        first = tiny(z, generator=torch.Generator().manual_seed(1))
        again = tiny(w_plus=first.w_plus, generator=torch.Generator().manual_seed(1))
        other = tiny(z, generator=torch.Generator().manual_seed(2))
        fixed = tiny(z, noise="fixed")
        one = tiny(z[1:2], noise="fixed")
        maps = [tiny.get_buffer(f"noise_{i}") for i in range(7)]
        listed = tiny(z, noise=maps)
    assert first.image.shape == (3, 3, 32, 32)
    assert [list(f.shape) for f in first.features] == [
        [3, 16, 4, 4],
        [3, 16, 8, 8],
        [3, 16, 16, 16],
        [3, 8, 32, 32],
    ]
    assert torch.equal(first.image, again.image) and not torch.equal(first.image, other.image)
    torch.testing.assert_close(fixed.image[1:2], one.image, rtol=1e-4, atol=1e-4)
    assert torch.equal(fixed.image, listed.image)


def test_stopping_early_computes_nothing_beyond(tiny: StyleGAN2Generator) -> None:
    called = []
    for name, module in tiny.named_modules():
        if name.endswith(("up", "conv", "to_rgb")) and "." in name and not name.endswith(".conv.conv"):
            module.register_forward_hook(lambda *_, name=name: called.append(name))
    w_plus = torch.randn(1, 8, 16)
    with torch.inference_mode():
        full = tiny(w_plus=w_plus, noise="fixed")
        called.clear()
        stopped = tiny(w_plus=w_plus, noise="fixed", stop_at=2)
    assert stopped.image is None and len(stopped.features) == 3
    assert torch.equal(stopped.features[2], full.features[2])
    assert not [
        name for name in called if name.startswith("levels.2") or "to_rgb" in name or name == "levels.1.conv"
    ]


def test_without_noise_or_pictures(tiny: StyleGAN2Generator) -> None:
    z = torch.randn(2, 16)
    silent = [torch.zeros(1, 1, side, side) for side in (4, 8, 8, 16, 16, 32, 32)]
    with torch.no_grad():
        expected = tiny(z, noise=silent)
        assert torch.equal(tiny(z, noise="none").image, expected.image)
        assert not torch.equal(tiny(z, noise="fixed").image, expected.image)
        codes = tiny(z, truncation_psi=0.5, codes_only=True)
        assert (codes.image, codes.features) == (None, [])
        assert torch.equal(codes.w_plus, tiny(z, truncation_psi=0.5).w_plus)


def test_style_mixing_and_truncation(tiny: StyleGAN2Generator) -> None:
    z1, z2 = torch.randn(2, 2, 16)
    with torch.no_grad():
        mixed = tiny([z1, z2], crossover=3, stop_at=0).w_plus
        w1, w2 = tiny.mapping(z1), tiny.mapping(z2)
        assert torch.equal(mixed[:, 2], w1) and torch.equal(mixed[:, 3], w2)
        tiny.latent_avg += tiny.mean_style(64, torch.Generator().manual_seed(0))
        half = tiny(z1, truncation_psi=0.5, stop_at=0).w_plus
        centre = tiny.latent_avg[None]
        torch.testing.assert_close(half, centre + 0.5 * (w1[:, None] - centre))
        none = tiny([z1, z2], crossover=3, truncation_psi=0.0, stop_at=0).w_plus
        torch.testing.assert_close(none, centre.expand_as(none))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "either z or w_plus"),
        ({"z": torch.zeros(1, 16), "w_plus": torch.zeros(1, 8, 16)}, "either z or w_plus"),
        ({"z": torch.zeros(1, 15)}, r"shape \[B, 16\], not \[1, 15\]"),
        ({"w_plus": torch.zeros(1, 7, 16)}, r"shape \[B, 8, 16\], not \[1, 7, 16\]"),
        ({"z": [torch.zeros(1, 16)] * 2}, "crossover from 1 to 7, not None"),
        ({"z": [torch.zeros(1, 16)] * 3}, "one or two z are mixed, not 3"),
        ({"z": torch.zeros(1, 16), "stop_at": 4}, "level from 0 to 3, not 4"),
        ({"z": torch.zeros(1, 16), "noise": "some"}, "not 'some'"),
        ({"z": torch.zeros(1, 16), "noise": []}, "7 noise maps are needed, 0"),
    ],
)
def test_wrong_arguments_are_refused(tiny: StyleGAN2Generator, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**arguments)


def test_generator_is_saved_and_loaded(tiny: StyleGAN2Generator, tmp_path) -> None:
    tiny.save_pretrained(tmp_path)
    loaded = StyleGAN2Generator.from_pretrained(tmp_path).eval()
    z = torch.randn(1, 16)
    with torch.inference_mode():
        actual, expected = loaded(z, noise="fixed").image, tiny(z, noise="fixed").image
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    assert MappingNetwork(8, 2)(torch.randn(4, 8)).shape == (4, 8)


def test_training_step_reaches_every_parameter(tiny: StyleGAN2Generator) -> None:
    tiny.train()
    discriminator = StyleGAN2Discriminator(32, 256, 16)
    output = tiny(torch.randn(4, 16))
    F.softplus(-discriminator(output.image)).mean().backward()
    missing = [name for name, p in tiny.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not missing

    real = torch.randn(4, 3, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(discriminator(real).sum(), real, create_graph=True)
    discriminator.zero_grad()
    gradient.square().sum((1, 2, 3)).mean().backward()
    assert discriminator.blocks[0].conv1.conv.weight.grad.abs().sum() > 0


def test_discriminator_refuses_other_sizes() -> None:
    model = StyleGAN2Discriminator(32, 256, 16)
    with pytest.raises(ValueError, match=r"\[B, 3, 32, 32\], not \[1, 3, 16, 16\]"):
        model(torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.inference_mode()
def test_half_precision_pictures(tiny: StyleGAN2Generator, dtype: torch.dtype) -> None:
    z = torch.randn(1, 16)
    expected = tiny(z, noise="fixed").image
    half = tiny.to(dtype)(z, noise="fixed").image
    assert half.dtype == dtype and half.isfinite().all()
    error = (half.float() - expected).square().mean().sqrt() / expected.std()
    assert error < (0.05 if dtype == torch.bfloat16 else 0.01)
