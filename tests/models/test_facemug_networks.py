"""FACEMUG's networks: published sizes, empty modalities, gradients, saving, half precision, refusals."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode

from facekit import (
    LatentWarper,
    MultimodalAggregation,
    RefinementAutoEncoder,
    StyleDirections,
    StyleGAN2Generator,
)
from facekit.conditions.guidance import encoder_input
from facekit.models.layers.noise import NoiseInjection

TINY = {"sample_size": 32, "style_dim": 16, "channel_base": 256, "max_channels": 16}
REFINER = TINY | {"in_channels": 8, "global_dim": 24}


def count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def modalities(size: int = 32) -> dict[str, torch.Tensor]:
    mask = torch.zeros(2, 1, size, size)
    mask[..., 8:24, 8:20] = 1
    return {
        "image": torch.rand(2, 3, size, size) * 2 - 1,
        "mask": mask,
        "sketch": torch.rand(2, 1, size, size).round(),
        "semantics": F.one_hot(torch.randint(0, 19, (2, size, size)), 19).permute(0, 3, 1, 2).float(),
        "color": torch.rand(2, 3, size, size) * 2 - 1,
    }


@pytest.fixture
def networks() -> tuple[MultimodalAggregation, RefinementAutoEncoder, StyleGAN2Generator]:
    """Aggregation, refiner and a prior of larger pictures, which is not trained."""
    torch.manual_seed(0)
    prior = StyleGAN2Generator(**TINY | {"sample_size": 64}, num_mapping_layers=1).eval()
    made = MultimodalAggregation(8).eval(), RefinementAutoEncoder(**REFINER).eval(), prior
    for network in made[:2]:
        for name, parameter in network.named_parameters():
            if name.endswith(("bias", "strength")):
                parameter.data.add_(0.1 * torch.randn_like(parameter))
    return *made[:2], prior.requires_grad_(False)


Networks = tuple[MultimodalAggregation, RefinementAutoEncoder, StyleGAN2Generator]


def test_published_size() -> None:
    # Shapes alone, without memory or arithmetic.
    with FakeTensorMode():
        warper, aggregation, refiner = LatentWarper(), MultimodalAggregation(), RefinementAutoEncoder()
        codes = torch.empty(2, 18, 512)
        assert warper(codes, codes).shape == (2, 18, 512)
        image, mask = torch.empty(2, 3, 256, 256), torch.empty(2, 1, 256, 256)
        classes = torch.empty(2, 19, 256, 256)
        features = aggregation(image, mask, mask, classes, image)
        assert features.shape == (2, 64, 256, 256)
        sides = [4, 8, 16, 32, 64, 128, 256]
        widths = [512, 512, 512, 512, 512, 256, 128]
        bank = [torch.empty(2, c, s, s) for c, s in zip(widths, sides, strict=True)]
        encoded = refiner.encode(features)
        assert encoded.global_code.shape == (2, 1024)
        assert [tuple(x.shape[1:]) for x in encoded.skips] == [tuple(x.shape[1:]) for x in bank]
        assert refiner(features, codes, bank, noise="fixed").shape == (2, 3, 256, 256)
        prior = StyleGAN2Generator()
        given = prior(w_plus=codes, noise="fixed", stop_at=6, feature_layer="conv").features
        assert [x.shape for x in given] == [x.shape for x in bank]
    assert [count(block) for block in warper.blocks] == [2_625_536] * 4
    assert count(aggregation) == 202_816 and count(refiner) == 114_160_913
    assert refiner.decoder[0].up.conv.modulation.affine.weight.shape == (512, 1536)
    assert refiner.decoder[0].fusion.gate.conv.modulation.affine.weight.shape == (512, 512)


@pytest.mark.parametrize("size", [4, 7, 8, 32])
def test_modalities_left_out_count_as_zeros(networks: Networks, size: int) -> None:
    aggregation, given = networks[0], modalities(32)
    given = {name: value[..., :size, :size] for name, value in given.items()}
    sides = []
    aggregation.blocks["sketch"].register_forward_hook(lambda _m, x, _y: sides.append(x[0].shape[2]))
    for kept in ((), ("sketch",), ("semantics", "color")):
        some = {name: given[name] for name in ("image", "mask", *kept)}
        zeros = {name: value if name in some else torch.zeros_like(value) for name, value in given.items()}
        torch.testing.assert_close(aggregation(**some), aggregation(**zeros), rtol=1e-4, atol=1e-5)
    # What is left out is computed on a few pixels.
    few = min(size, 7)
    assert sides == [few, size, size, size, few, size]
    hidden = given | {"image": torch.where(given["mask"] > 0, 7.0, given["image"])}
    torch.testing.assert_close(aggregation(**hidden), aggregation(**given))


@pytest.mark.parametrize("skips", [False, True])
def test_training_reaches_every_parameter_and_the_codes(networks: Networks, skips: bool) -> None:
    aggregation, _, prior = networks
    refiner, warper = RefinementAutoEncoder(**REFINER, skips=skips), LatentWarper(10, 16)
    source = torch.randn(2, 10, 16)
    codes = warper(torch.randn(2, 10, 16), source)
    codes.retain_grad()
    bank = prior(w_plus=codes, stop_at=3, feature_layer="conv").features
    refiner(aggregation(**modalities()), codes, bank).square().mean().backward()
    for network in (aggregation, refiner, warper):
        missing = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
        assert not missing
        still = [n for n, p in network.named_parameters() if not p.grad.abs().sum()]
        assert not still
    assert all(p.grad is None for p in prior.parameters())
    # The prior alone carries gradients to the codes: the refiner's own styles are cut off here.
    refiner.eval()
    start = torch.randn(2, 10, 16, requires_grad=True)
    bank = prior(w_plus=start, noise="fixed", stop_at=3, feature_layer="conv").features
    refiner(aggregation(**modalities()), start.detach(), bank).square().mean().backward()
    assert start.grad[:, :7].abs().sum(2).min() > 0 and not start.grad[:, 7:].any()


@torch.inference_mode()
def test_one_encoding_serves_many_codes(networks: Networks) -> None:
    aggregation, refiner, prior = networks
    features, codes = aggregation(**modalities())[:1], torch.randn(3, 10, 16)
    bank = prior(w_plus=codes, noise="fixed", stop_at=3, feature_layer="conv").features
    encoded = refiner(features, None, None, encode_only=True)
    assert torch.equal(encoded.bottom, refiner.encode(features).bottom)
    together = refiner(None, codes, bank, noise="fixed", encoded=encoded)
    again = refiner(features, codes, bank, noise="fixed")
    assert torch.equal(together, again)
    for row in range(3):
        one = slice(row, row + 1)
        alone = refiner(features, codes[one], [x[one] for x in bank], noise="fixed")
        torch.testing.assert_close(alone, together[one], rtol=1e-3, atol=1e-4)
    drawn = [
        refiner(features, codes, bank, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    ]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    for module in refiner.modules():
        if isinstance(module, NoiseInjection):
            module.strength.zero_()
    silent = refiner(features, codes, bank, noise="none")
    torch.testing.assert_close(silent, refiner(features, codes, bank), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("fusion", ["add", "gated", "no_bank"])
def test_ablated_refiners_are_saved_and_say_what_they_are(
    networks: Networks, tmp_path: Path, fusion: str
) -> None:
    """Thesis Table 6.6, (B), (C), (E)."""
    aggregation, _, prior = networks
    refiner = RefinementAutoEncoder(**REFINER, fusion=fusion).eval()
    refiner.save_pretrained(tmp_path)
    loaded = RefinementAutoEncoder.from_pretrained(tmp_path).eval()
    assert loaded.config.fusion == fusion
    features, codes = aggregation(**modalities()), torch.randn(2, 10, 16)
    bank = prior(w_plus=codes, noise="fixed", stop_at=3, feature_layer="conv").features
    expected = refiner(features, codes, bank, noise="fixed")
    assert torch.equal(loaded(features, codes, bank, noise="fixed"), expected)
    without = loaded(features, codes, [torch.zeros_like(x) for x in bank], noise="fixed")
    assert torch.equal(without, expected) == (fusion == "no_bank")


def test_another_fusion_is_refused() -> None:
    with pytest.raises(ValueError, match="fusion is 'mean'; choose one of style, add, gated, no_bank"):
        RefinementAutoEncoder(**REFINER, fusion="mean")


@torch.inference_mode()
def test_saved_loaded_and_half_precision(networks: Networks, tmp_path: Path) -> None:
    aggregation, refiner, prior = networks
    given, codes = modalities(), torch.randn(2, 10, 16)
    warper = LatentWarper(10, 16).eval()
    directions = StyleDirections.from_tensors({"smile": torch.randn(16)}, 10)
    parts = {"a": aggregation, "g": refiner, "h": warper, "d": directions}
    for name, part in parts.items():
        part.save_pretrained(tmp_path / name)
    loaded = {name: type(part).from_pretrained(tmp_path / name).eval() for name, part in parts.items()}

    def run(a: torch.nn.Module, g: torch.nn.Module, h: torch.nn.Module, d: torch.nn.Module) -> torch.Tensor:
        moved = d(h(codes, codes.flip(0)), {"smile": 2.0})
        bank = prior(w_plus=moved, noise="fixed", stop_at=3, feature_layer="conv").features
        return g(a(**given), moved, bank, noise="fixed")

    expected = run(*parts.values())
    torch.testing.assert_close(run(*loaded.values()), expected, rtol=1e-4, atol=1e-5)
    assert loaded["d"].names == ("smile",)
    half = run(loaded["a"].bfloat16(), loaded["g"].bfloat16(), loaded["h"], loaded["d"])
    assert half.dtype == torch.bfloat16 and half.isfinite().all()
    assert (half.float() - expected).square().mean().sqrt() < 0.05 * expected.std()
    kept = LatentWarper.from_pretrained(tmp_path / "h", torch_dtype=torch.bfloat16)
    assert kept.blocks[0].channel_query.weight.dtype == torch.float32


def test_training_under_autocast(networks: Networks) -> None:
    aggregation, refiner, prior = networks
    codes = torch.randn(2, 10, 16)
    with torch.autocast("cpu", torch.bfloat16):
        bank = prior(w_plus=codes, stop_at=3, feature_layer="conv").features
        picture = refiner(aggregation(**modalities()), codes, bank)
    picture.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in refiner.parameters())


def test_encoder_input() -> None:
    given = modalities()
    del given["mask"]
    whole = encoder_input(**given)
    assert whole.shape == (2, 26, 32, 32)
    for name, start, stop in (("image", 0, 3), ("sketch", 3, 4), ("semantics", 4, 23), ("color", 23, 26)):
        assert torch.equal(whole[:, start:stop], given[name])
        alone = encoder_input(**{name: given[name]})
        assert torch.equal(alone[:, start:stop], given[name])
        assert not alone[:, :start].any() and not alone[:, stop:].any()
    with pytest.raises(ValueError, match="at least one of image"):
        encoder_input()
    with pytest.raises(ValueError, match=r"sketch must have the shape \[2, 1, 32, 32\]"):
        encoder_input(given["image"], given["image"])


def test_wrong_codes_and_directions_are_refused() -> None:
    warper, codes = LatentWarper(10, 16), torch.zeros(2, 10, 16)
    for target, source in ((codes, codes[:1]), (codes[:, :9], codes[:, :9]), (codes[0], codes[0])):
        with pytest.raises(ValueError, match=r"must both be \[B, 10, 16\]"):
            warper(target, source)
    directions = StyleDirections.from_tensors({"smile": torch.ones(16), "age": torch.ones(12, 16)}, 10)
    with pytest.raises(ValueError, match="no attribute 'simle' is known here; known: smile, age"):
        directions.shift({"simle": 1.0})
    with pytest.raises(ValueError, match="known: none"):
        StyleDirections(num_styles=10, style_dim=16).direction("smile")
    for weight in (float("nan"), float("inf"), "2"):
        with pytest.raises(ValueError, match="'smile' must be a finite number"):
            directions.shift({"smile": weight})
    with pytest.raises(ValueError, match=r"codes must have the shape \[B, 10, 16\]"):
        directions(codes[:, :9], {"smile": 1.0})
    for wrong in (torch.zeros(9, 16), torch.zeros(2, 2, 16)):
        with pytest.raises(ValueError, match="direction 'pose' must have the shape"):
            StyleDirections.from_tensors({"pose": wrong}, 10)
    with pytest.raises(ValueError, match="not finite"):
        StyleDirections.from_tensors({"pose": torch.full((16,), torch.nan)}, 10)
    with pytest.raises(ValueError, match="at least one direction"):
        StyleDirections.from_tensors({})
    with pytest.raises(ValueError, match="must differ"):
        StyleDirections(("smile", "smile"))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"image": torch.zeros(2, 4, 32, 32)}, r"image must have the shape \[B, 3, H, W\]"),
        ({"mask": torch.zeros(2, 1, 16, 16)}, r"mask must have the shape \[2, 1, 32, 32\]"),
        ({"sketch": torch.zeros(1, 1, 32, 32)}, r"sketch must have the shape \[2, 1, 32, 32\]"),
        ({"semantics": torch.zeros(2, 18, 32, 32)}, r"semantics must have the shape \[2, 19, 32, 32\]"),
        ({"color": torch.zeros(2, 1, 32, 32)}, r"color must have the shape \[2, 3, 32, 32\]"),
    ],
)
def test_wrong_maps_are_refused(networks: Networks, changed: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        networks[0](**modalities() | changed)


def test_wrong_guides_are_refused(networks: Networks) -> None:
    refiner = networks[1]
    bank = [torch.zeros(1, c, 4 * 2**k, 4 * 2**k) for k, c in enumerate(refiner.channels)]
    right = {"features": torch.zeros(1, 8, 32, 32), "w_plus": torch.zeros(1, 8, 16), "bank": bank}
    for changed, message in (
        ({"features": None}, "either features or"),
        ({"features": None, "encode_only": True}, "encode_only needs features"),
        ({"w_plus": None}, "give w_plus and bank"),
        ({"bank": None}, "give w_plus and bank"),
        ({"features": torch.zeros(1, 8, 16, 16)}, r"features must have the shape \[B, 8, 32, 32\]"),
        ({"features": torch.zeros(2, 8, 32, 32)}, "2 encoded faces do not fit 1"),
        ({"w_plus": torch.zeros(1, 7, 16)}, r"\[B, 8 or more, 16\], not \[1, 7, 16\]"),
        ({"bank": bank[:3]}, 'are needed, not 3; the prior gives them with feature_layer="conv"'),
        ({"bank": bank[::-1]}, r"prior feature 0 must have the shape \[1, 16, 4, 4\]"),
        ({"noise": "loud"}, "not 'loud'"),
        ({"noise": []}, "8 noise maps are needed, 0"),
    ):
        with pytest.raises(ValueError, match=message):
            refiner(**right | changed)
    with pytest.raises(ValueError, match="power of two"):
        RefinementAutoEncoder(**REFINER | {"sample_size": 48})
