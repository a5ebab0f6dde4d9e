"""EXE-GAN's multi-style generator: reference outputs, and how a tiny one behaves."""

import re

import cv2
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from facekit import MultiStyleGenerator, StyleGAN2Discriminator
from facekit.convert.stylegan2 import discriminator_state, multi_style_state
from facekit.losses.path_length import path_length_penalty, path_lengths
from facekit.models.layers.noise import NoiseInjection

from .style_parity import PARITY, assert_close, draw, fill, goldens

FOLDER = PARITY / "exegan"
TINY = {
    "sample_size": 32,
    "style_dim": 16,
    "channel_base": 256,
    "max_channels": 16,
    "global_dim": 24,
    "num_mapping_layers": 2,
}


def picture(name: str) -> torch.Tensor:
    """[1, 3, 256, 256] in [-1, 1], or a mask [1, 1, 256, 256] in {0, 1}."""
    pixels = cv2.imread(str(FOLDER / f"{name}.png"), cv2.IMREAD_UNCHANGED)
    if pixels.ndim == 2:
        return (torch.from_numpy(pixels)[None, None] > 0).float()
    return (torch.from_numpy(pixels[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255 - 0.5) / 0.5


def assert_golden(x: torch.Tensor, stored: dict[str, torch.Tensor], name: str, scale: float = 1) -> None:
    """Compare a map with what is stored of it: whole, or every N-th row and column; at least one is there."""
    found = [key for key in stored if key == name or re.fullmatch(rf"{re.escape(name)}\.sub\d+", key)]
    assert found, f"no reference of {name} is stored"
    for key in found:
        step = int(key.rsplit(".sub", 1)[1]) if key != name else 1
        assert_close(x[..., ::step, ::step] * scale if x.ndim == 4 else x * scale, stored[key], key)


def load(size: int) -> MultiStyleGenerator:
    with torch.device("meta"):
        network = MultiStyleGenerator(size)
    network.load_state_dict(multi_style_state(fill(FOLDER / f"generator_{size}.json", 0)), assign=True)
    for module in network.modules():
        if hasattr(module, "kernel"):
            module.kernel = torch.outer(*[torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8] * 2)
    return network.eval()


@pytest.fixture(scope="module")
def stored() -> dict[str, torch.Tensor]:
    return load_file(FOLDER / "encoders.seed0.safetensors") | goldens("exegan")


@pytest.fixture(scope="module")
def published() -> MultiStyleGenerator:
    """The 256 generator with the reference weights."""
    return load(256)


@pytest.mark.slow
@torch.inference_mode()
def test_published_generator(published: MultiStyleGenerator, stored: dict[str, torch.Tensor]) -> None:
    assert sum(p.numel() for p in published.parameters()) == 79_177_378
    image, mask = picture("gt"), picture("mask")
    for number in (1, 2):
        assert_golden(published.mapping(stored[f"in.z{number}"]), stored, f"mapping.w{number}")

    taps: dict[str, torch.Tensor] = {}
    modules = {"conv1": published.conv, "rgb_4": published.to_rgb}
    for k, level in enumerate(published.levels):
        modules |= {
            f"convs.{2 * k}": level.up,
            f"convs.{2 * k + 1}": level.conv,
            f"rgb_{8 * 2**k}": level.to_rgb,
        }
    hooks = [
        # A copy: the skip is added in place.
        module.register_forward_hook(lambda _m, _a, output, name=name: taps.update({name: output.clone()}))
        for name, module in modules.items()
    ]
    output = published(image, mask, stored["psp.codes_a"], stored["in.z1"])
    for hook in hooks:
        hook.remove()

    w1, w2 = stored["mapping.w1"], stored["mapping.w2"]
    expected = torch.cat([w1[:, None].expand(-1, 4, -1), stored["psp.codes_a"]], 1)
    assert_close(output.w_plus, expected, "mixed codes")
    assert_close(output.encoded.global_code, stored["gen.global_code"], "global code")
    assert_close(output.encoded.bottom, stored["gen.feat_4"], "bottom")
    for k, skip in enumerate(output.encoded.skips):
        size = 8 * 2**k
        assert_close(
            skip[:, ::16, :: size // 8, :: size // 8], stored[f"gen.feat_{size}.sub"], f"skip {size}"
        )
    for name, tap in taps.items():
        if name.startswith("conv"):
            step = max(1, tap.shape[2] // 8)
            assert_close(tap[:, ::32, ::step, ::step], stored[f"gen.act.{name}.sub"], name)
        elif int(name.removeprefix("rgb_")) <= 64:
            assert_golden(tap, stored, f"gen.{name}")
    assert_golden(output.image, stored, "gen.pred")
    composite = output.image * mask + image * (1 - mask)
    assert_golden(composite, stored, "gen.composited")
    assert_golden(composite, stored, "e2e.composited")

    # One encoding, several codes at once.
    two = published(encoded=output.encoded, encode_only=True)
    assert two.image is None and two.encoded is output.encoded
    given = {"encoded": output.encoded, "style_codes": stored["psp.codes_a"]}
    mixed = published(**given, z=[stored["in.z1"], stored["in.z2"]], crossover=2)
    assert torch.equal(mixed.w_plus[:, 1], published.mapping(stored["in.z1"]))
    rows = [
        mixed.w_plus,
        published(**given, z=stored["in.z1"], truncation_psi=0.7, truncation_latent=w2[0]).w_plus,
        published(**given, z=stored["in.z1"], exemplar_strength=0.7).w_plus,
    ]
    images = published(encoded=output.encoded, w_plus=torch.cat(rows)).image
    for row, name in zip(images, ("two_z_inject2", "trunc0.7", "lambda0.3"), strict=True):
        assert_golden(row[None], stored, f"gen.pred_{name}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@torch.inference_mode()
def test_published_noise_and_style_mixing(
    published: MultiStyleGenerator, stored: dict[str, torch.Tensor]
) -> None:
    image, mask, z = picture("gt"), picture("mask"), stored["in.z1"]
    first, second = stored["psp.codes_a"], stored["psp.codes_b"]
    encoded = published(image, mask, encode_only=True).encoded
    for j in (0, 3, 10):
        codes = torch.cat([first[:, :j], second[:, j:]], 1)
        filled = published(encoded=encoded, style_codes=codes, z=z).image
        assert_golden(filled * mask + image * (1 - mask), stored, f"stylemix.j{j}.composited")
    strengths = [m.strength for m in published.modules() if isinstance(m, NoiseInjection)]
    for strength in strengths:
        strength.fill_(0.1)
    noisy = published(encoded=encoded, style_codes=first, z=z, noise="fixed").image
    none = published(encoded=encoded, style_codes=first, z=z, noise="none").image
    for strength in strengths:
        strength.zero_()
    assert_golden(noisy, stored, "gen.pred_noise0.1_buffers")
    assert_golden(none, stored, "gen.pred")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_published_path_lengths(published: MultiStyleGenerator, stored: dict[str, torch.Tensor]) -> None:
    w1 = stored["mapping.w1"]
    w_plus = torch.cat([w1[:, None].expand(-1, 4, -1), stored["psp.codes_a"]], 1).requires_grad_()
    pred = published(picture("gt"), picture("mask"), w_plus=w_plus).image
    lengths = path_lengths(pred, w_plus, draw("ppl.noise", (1, 3, 256, 256), 0))
    assert_close(lengths, stored["loss.path_lengths"], "lengths")
    mean = 0.01 * lengths.mean()
    assert_close(mean, stored["loss.path_mean"], "running mean")
    assert_close(path_length_penalty(lengths, mean), stored["loss.path_penalty_mean0"], "penalty")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@torch.inference_mode()
def test_published_networks_512(stored: dict[str, torch.Tensor]) -> None:
    image, mask = (F.interpolate(picture(name), scale_factor=2) for name in ("gt", "mask"))
    network = load(512)
    assert sum(p.numel() for p in network.parameters()) == 79_792_231
    output = network(image, mask, stored["psp.codes512_a"], stored["in.z1"]).image
    assert_golden(output, stored, "gen512.pred")
    assert_golden(output * mask + image * (1 - mask), stored, "e2e512.composited")
    del network
    discriminator = StyleGAN2Discriminator(512).eval()
    discriminator.load_state_dict(discriminator_state(fill(FOLDER / "discriminator_512.json", 0)))
    assert_close(discriminator(image), stored["disc512.logit_b1_gt"], "discriminator of 512")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@torch.inference_mode()
def test_published_discriminator_on_a_composite(
    published: MultiStyleGenerator, stored: dict[str, torch.Tensor]
) -> None:
    image, mask, both = picture("gt"), picture("mask"), [picture("exemplar_a"), picture("exemplar_b")]
    composite = published(image, mask, stored["psp.codes_a"], stored["in.z1"]).image * mask + image * (
        1 - mask
    )
    network = StyleGAN2Discriminator(256).eval()
    network.load_state_dict(discriminator_state(fill(FOLDER / "discriminator_256.json", 0)))
    four = torch.cat([image, *both, composite.clamp(-1, 1)])
    assert_close(network(four), stored["disc.logit_b4"], "four images")
    assert_close(network(torch.cat([four, four.flip(3)])), stored["disc.logit_b8"], "eight images")
    real, fake = network(image), network(composite)
    assert_close(F.softplus(-real).mean() + F.softplus(fake).mean(), stored["loss.d_logistic"], "D loss")
    assert_close(F.softplus(-fake).mean(), stored["loss.g_nonsaturating"], "G loss")


@pytest.fixture
def tiny() -> MultiStyleGenerator:
    torch.manual_seed(0)
    network = MultiStyleGenerator(**TINY).eval()
    for module in network.modules():
        if isinstance(module, NoiseInjection):
            torch.nn.init.constant_(module.strength, 0.2)
    return network


@pytest.fixture
def face() -> tuple[torch.Tensor, torch.Tensor]:
    """Images [3, 3, 32, 32] and masks [3, 1, 32, 32]."""
    source = torch.Generator().manual_seed(1)
    mask = torch.zeros(3, 1, 32, 32)
    mask[..., 8:24, 8:20] = 1
    return torch.rand(3, 3, 32, 32, generator=source) * 2 - 1, mask


Face = tuple[torch.Tensor, torch.Tensor]


@torch.inference_mode()
def test_shapes_seeds_and_noise(tiny: MultiStyleGenerator, face: Face) -> None:
    image, mask = face

    def run(seed: int, **options: object) -> torch.Tensor:
        codes = torch.ones(3, 4, 16)
        return tiny(image, mask, codes, generator=torch.Generator().manual_seed(seed), **options).image

    assert run(1).shape == (3, 3, 32, 32)
    assert torch.equal(run(1), run(1)) and not torch.equal(run(1), run(2))
    z = torch.randn(3, 16)
    fixed, none = run(1, z=z, noise="fixed"), run(1, z=z, noise="none")
    assert torch.equal(fixed, run(2, z=z, noise="fixed")) and torch.equal(none, run(2, z=z, noise="none"))
    assert not torch.equal(fixed, none) and not torch.equal(run(1, z=z), run(2, z=z))
    maps = [tiny.get_buffer(f"noise_{i}") for i in range(7)]
    assert torch.equal(run(1, z=z, noise=maps), fixed)
    # What lies under the mask is not seen.
    hidden = tiny(torch.where(mask > 0, 7.0, image), mask, torch.ones(3, 4, 16), z, noise="none").image
    assert torch.equal(hidden, none)


@torch.inference_mode()
def test_one_encoding_serves_many_codes(tiny: MultiStyleGenerator, face: Face) -> None:
    image, mask = face
    codes = torch.randn(3, 8, 16)
    encoded = tiny(image, mask, encode_only=True).encoded
    close = {"rtol": 1e-4, "atol": 1e-4}
    whole = tiny(image, mask, w_plus=codes, noise="fixed").image
    torch.testing.assert_close(tiny(encoded=encoded, w_plus=codes, noise="fixed").image, whole, **close)
    one = encoded.rows([1, 1, 1])
    assert len(one.bottom) == 1 and encoded.rows(range(3)) is encoded
    shared = tiny(encoded=one, w_plus=codes, noise="fixed").image
    for row in range(3):
        alone = tiny(image[1:2], mask[1:2], w_plus=codes[row : row + 1], noise="fixed").image
        torch.testing.assert_close(shared[row : row + 1], alone, **close)
    called = []
    tiny.stem.register_forward_hook(lambda *_: called.append("stem"))
    tiny.conv.register_forward_hook(lambda *_: called.append("conv"))
    tiny(encoded=encoded, w_plus=codes)
    tiny(image, mask, encode_only=True)
    assert called == ["conv", "stem"]


@torch.inference_mode()
def test_which_codes_come_from_the_exemplar(tiny: MultiStyleGenerator, face: Face) -> None:
    image, mask = face
    z, codes = torch.randn(3, 16), torch.randn(3, 6, 16)
    given = {"encoded": tiny(image, mask, encode_only=True).encoded, "style_codes": codes, "z": z}
    w = tiny.mapping(z)
    mixed = tiny(**given).w_plus
    assert torch.equal(mixed[:, 4:], codes[:, 2:]) and torch.equal(mixed[:, 3], w)
    mixed = tiny(**given, exemplar_layers=[2, 6]).w_plus
    assert torch.equal(mixed[:, 2], codes[:, 0]) and torch.equal(mixed[:, 6], codes[:, 4])
    assert all(torch.equal(mixed[:, i], w) for i in (0, 1, 3, 4, 5, 7))
    mixed = tiny(**given, exemplar_strength=0.25).w_plus
    torch.testing.assert_close(mixed[:, 5], w + 0.25 * (codes[:, 3] - w))
    assert torch.equal(tiny(**given, exemplar_layers=[]).w_plus, tiny(**given | {"style_codes": None}).w_plus)
    tiny.latent_avg += tiny.mean_style(64, torch.Generator().manual_seed(0))
    mixed = tiny(**given, truncation_psi=0.5).w_plus
    torch.testing.assert_close(mixed[:, 0], tiny.latent_avg + 0.5 * (w - tiny.latent_avg))
    assert torch.equal(mixed[:, 4:], codes[:, 2:])


@torch.inference_mode()
def test_sketch_channel(tiny: MultiStyleGenerator, face: Face) -> None:
    image, mask = face
    w_plus, sketch = torch.randn(3, 8, 16), torch.rand(3, 1, 32, 32).round()
    plain = tiny(image, mask, w_plus=w_plus, noise="fixed").image
    variant = tiny.sketch_variant()
    assert variant.config.use_sketch and not variant.training
    close = {"rtol": 1e-4, "atol": 1e-4}
    untrained = variant(image, mask, w_plus=w_plus, sketch=sketch, noise="fixed").image
    torch.testing.assert_close(untrained, plain, **close)
    variant.stem.conv.weight[:, 4] = 1
    outside = variant(image, mask, w_plus=w_plus, sketch=1 - mask, noise="fixed").image
    torch.testing.assert_close(outside, plain, **close)
    torch.testing.assert_close(variant(image, mask, w_plus=w_plus, noise="fixed").image, plain, **close)
    drawn = variant(image, mask, w_plus=w_plus, sketch=sketch, noise="fixed").image
    assert (drawn - plain).abs().max() > 0.01
    with pytest.raises(ValueError, match="takes no sketch"):
        tiny(image, mask, w_plus=w_plus, sketch=sketch)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": None}, "give image and mask"),
        ({"image": torch.zeros(1, 3, 16, 16)}, r"image must have the shape \[1, 3, 32, 32\]"),
        ({"mask": torch.zeros(1, 1, 16, 16)}, r"mask must have the shape \[1, 1, 32, 32\]"),
        ({"noise": "loud"}, "not 'loud'"),
        ({"noise": []}, "7 noise maps are needed, 0"),
        ({"z": torch.zeros(1, 15)}, r"shape \[B, 16\]"),
        ({"z": [torch.zeros(1, 16)] * 2}, "crossover from 1 to 7"),
        ({"style_codes": torch.zeros(1, 4, 15), "z": torch.zeros(1, 16)}, r"shape \[1, m, 16\]"),
        ({"style_codes": torch.zeros(1, 4, 16), "exemplar_layers": [3]}, "which has 4 to 7"),
        ({"style_codes": torch.zeros(1, 4, 16), "exemplar_layers": [8]}, "which has 4 to 7"),
        ({"w_plus": torch.zeros(1, 7, 16)}, r"w_plus must have the shape \[B, 8, 16\]"),
        (
            {"image": torch.zeros(2, 3, 32, 32), "mask": torch.zeros(2, 1, 32, 32)},
            "2 encoded faces do not fit 1",
        ),
    ],
)
def test_wrong_arguments_are_refused(tiny: MultiStyleGenerator, arguments: dict, message: str) -> None:
    given = {"image": torch.zeros(1, 3, 32, 32), "mask": torch.zeros(1, 1, 32, 32), "z": torch.zeros(1, 16)}
    with pytest.raises(ValueError, match=message):
        tiny(**given | arguments)
    with pytest.raises(ValueError, match=r"0\.\.7, not 8"):
        MultiStyleGenerator(**TINY, first_exemplar_style=8)


def test_training_reaches_every_parameter(tiny: MultiStyleGenerator, face: Face) -> None:
    tiny.train()
    output = tiny(*face, torch.randn(3, 4, 16), torch.randn(3, 16))
    output.image.square().mean().backward()
    missing = [n for n, p in tiny.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not missing
    # The global code is dropped out in training alone.
    first, second = (tiny(*face, encode_only=True).encoded.global_code for _ in range(2))
    assert not torch.equal(first, second) and (first == 0).any()
    tiny.eval()
    first, second = (tiny(*face, encode_only=True).encoded.global_code for _ in range(2))
    assert torch.equal(first, second)


@torch.inference_mode()
def test_saved_loaded_and_half_precision(tiny: MultiStyleGenerator, face: Face, tmp_path) -> None:
    tiny.latent_avg += 1
    tiny.save_pretrained(tmp_path)
    loaded = MultiStyleGenerator.from_pretrained(tmp_path).eval()
    w_plus = torch.randn(1, 8, 16)
    image, mask = face[0][:1], face[1][:1]
    expected = tiny(image, mask, w_plus=w_plus, noise="fixed").image
    actual = loaded(image, mask, w_plus=w_plus, noise="fixed").image
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(loaded.latent_avg, tiny.latent_avg)
    for dtype, limit in ((torch.bfloat16, 0.05), (torch.float16, 0.01)):
        half = loaded.to(dtype)(image, mask, w_plus=w_plus, noise="fixed").image
        assert half.dtype == dtype and half.isfinite().all()
        assert (half.float() - expected).square().mean().sqrt() < limit * expected.std()


@torch.no_grad()
@pytest.mark.parametrize(("size", "count"), [(256, 14), (512, 16), (1024, 18)])
def test_index_set_and_phi_of_equation_5_1(size: int, count: int) -> None:
    """T = {1, ..., 18} at 1024 pixels, phi = [0, 0, 0, 0, 1, ..., 1]; smaller sizes end earlier."""
    torch.manual_seed(0)
    width = {"style_dim": 4, "channel_base": 4 * size, "max_channels": 4, "global_dim": 3}
    network = MultiStyleGenerator(size, num_mapping_layers=1, **width).eval()
    stochastic, exemplar = torch.randn(1, count, 4), torch.randn(1, count, 4)
    phi = [0] * 4 + [1] * (count - 4)
    mixed = network.mixed_codes(stochastic, exemplar)
    for i in range(count):
        assert torch.equal(mixed[:, i], exemplar[:, i] if phi[i] == 1 else stochastic[:, i])
    # An encoder of pSp's kind gives the codes that phi takes, and no others.
    assert torch.equal(network.mixed_codes(stochastic, exemplar[:, 4:]), mixed)
    face, mask = torch.zeros(1, 3, size, size), torch.zeros(1, 1, size, size)
    mask[..., : size // 2] = 1
    outputs = [
        network(face, mask, codes, z=torch.ones(1, 4), noise="fixed") for codes in (exemplar, exemplar[:, 4:])
    ]
    assert outputs[0].image.shape == (1, 3, size, size) and outputs[0].w_plus.shape == (1, count, 4)
    assert torch.equal(outputs[0].image, outputs[1].image)
