"""RestoreAutoEncoder: reference outputs of the published size, and how a tiny one behaves."""

import pytest
import torch

from facekit.convert.stylegan2 import restorer_state
from facekit.models.layers.noise import NoiseInjection
from facekit.models.restorer import RestoreAutoEncoder
from facekit.models.stylegan2 import StyleGAN2Generator

from .style_parity import PARITY, assert_close, assert_summary, draw, face_sized_image, fill, goldens

TINY = {
    "sample_size": 32,
    "style_dim": 16,
    "channel_base": 256,
    "max_channels": 16,
    "global_dim": 24,
    "num_mapping_layers": 2,
}


@pytest.fixture
def tiny() -> RestoreAutoEncoder:
    torch.manual_seed(0)
    return with_noise(RestoreAutoEncoder(**TINY).eval(), 0.2)


def with_noise(model: RestoreAutoEncoder, strength: float) -> RestoreAutoEncoder:
    for module in model.modules():
        if isinstance(module, NoiseInjection):
            torch.nn.init.constant_(module.strength, strength)
    return model


def inputs(batch: int = 1) -> dict:
    prior = StyleGAN2Generator(32, 16, 256, 16, 2)
    with torch.no_grad():
        features = prior(torch.randn(batch, 16)).features
    return {
        "image": torch.rand(batch, 3, 32, 32) * 2 - 1,
        "style_codes": torch.randn(batch, 9, 16),
        "features": features,
        "z": torch.randn(batch, 16),
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
@torch.inference_mode()
def test_published_network() -> None:
    stored, image = goldens("vspbfr"), face_sized_image()
    z = stored["z"]
    model = RestoreAutoEncoder().eval()
    model.load_state_dict(restorer_state(fill(PARITY / "vspbfr" / "restorer.json", 0)))
    assert sum(p.numel() for p in model.parameters()) == 112_550_773
    assert_close(model.mapping(z), stored["mapping.restorenet"], "mapping.restorenet")
    codes = 0.8 * draw("golden.restore.w", (1, 18, 512), 0)
    features = [
        0.5 * draw(f"golden.restore.de_feat{k}", (1, channels, 4 * 2**k, 4 * 2**k), 0)
        for k, channels in enumerate((512, 512, 512, 512, 512, 256, 128, 64))
    ]
    names = {"stem": "stem", "bottleneck": "final_layer", "conv": "conv1", "to_global": "x_global"}
    names |= {"from_global": "final_transfer", "to_rgb": "to_rgb1"}
    for k in range(7):
        names |= {
            f"encoder.{k}.smart": f"encoder_convs.{2 * k}",
            f"encoder.{k}.down": f"encoder_convs.{2 * k + 1}",
        }
        names |= {f"decoder.{k}.up": f"convs.{2 * k}", f"decoder.{k}.smart": f"convs.{2 * k + 1}"}
    compared = []

    def compare(name: str, output: torch.Tensor) -> None:
        compared.append(name)
        if name in stored:
            assert_close(output, stored[name], name)
        elif output.ndim == 4:
            assert_summary(output, stored, name)

    hooks = [
        model.get_submodule(ours).register_forward_hook(
            lambda module, args, output, name=name: compare(f"restore.{name}", output)
        )
        for ours, name in names.items()
    ]
    assert_summary(model(image, codes, features, z[:1]).image, stored, "restore.output", 3, 256)
    assert len(compared) == 34
    for hook in hooks:
        hook.remove()

    mixed = model(image, codes, features, [z[:1], z[1:]], crossover=5).image
    assert_summary(mixed, stored, "restore.output_mixed5", 3, 128)
    with_noise(model, 0.1)
    torch.manual_seed(7)
    noisy = model(image, codes, features, z[:1]).image
    assert_summary(noisy, stored, "restore.output_noise0.1_seed7", 3, 128)


def test_shapes_batches_and_seeds(tiny: RestoreAutoEncoder) -> None:
    arguments = inputs(2)
    with torch.inference_mode():
        first = tiny(**arguments, generator=torch.Generator().manual_seed(4)).image
        again = tiny(**arguments, generator=torch.Generator().manual_seed(4), return_dict=False)[0]
        with_noise(tiny, 0.0)
        both = tiny(**arguments).image
        single = {
            key: [f[1:] for f in value] if key == "features" else value[1:]
            for key, value in arguments.items()
        }
        one = tiny(**single).image
    assert first.shape == (2, 3, 32, 32)
    assert torch.equal(first, again)
    assert not torch.equal(first, both)
    torch.testing.assert_close(both[1:], one, rtol=1e-4, atol=1e-4)


def test_inputs_are_not_overwritten(tiny: RestoreAutoEncoder) -> None:
    arguments = inputs()
    kept = [t.clone() for t in (arguments["image"], arguments["style_codes"], *arguments["features"])]
    with torch.inference_mode():
        tiny(**arguments)
    for before, after in zip(
        kept, (arguments["image"], arguments["style_codes"], *arguments["features"]), strict=True
    ):
        assert torch.equal(before, after)


@torch.inference_mode()
def test_z_is_drawn_first_mixed_and_truncated(tiny: RestoreAutoEncoder) -> None:
    arguments = inputs()
    arguments.pop("z")
    with_noise(tiny, 0.0)
    generator = torch.Generator().manual_seed(9)
    drawn = tiny(**arguments, generator=generator).image
    z = torch.randn(1, 16, generator=torch.Generator().manual_seed(9))
    assert torch.equal(drawn, tiny(**arguments, z=z).image)
    z2, centre = torch.randn(1, 16), torch.randn(16)
    styles = tiny.random_styles([z, z2], crossover=2)
    assert styles.shape == (1, 8, 16) and torch.equal(styles[:, 1], tiny.mapping(z))
    assert torch.equal(styles[:, 2], tiny.mapping(z2))
    truncated = tiny.random_styles(z, truncation_psi=0.0, truncation_latent=centre)
    torch.testing.assert_close(truncated, centre.expand(1, 8, 16))
    with pytest.raises(ValueError, match="needs truncation_latent"):
        tiny.random_styles(z, truncation_psi=0.5)


@torch.inference_mode()
def test_which_code_guides_what(tiny: RestoreAutoEncoder) -> None:
    """Each of the codes 0 to 7 changes the picture; code 8 is not of this network."""
    with_noise(tiny, 0.0)
    arguments = inputs()
    before = tiny(**arguments).image
    for index in range(9):
        codes = arguments["style_codes"].clone()
        codes[:, index] += 1
        changed = not torch.allclose(tiny(**arguments | {"style_codes": codes}).image, before, atol=1e-6)
        assert changed == (index < 8), index


@pytest.mark.parametrize(
    ("switch", "unneeded"),
    [("use_smart", None), ("use_style_codes", "style_codes"), ("use_prior_features", "features")],
)
def test_ablations_of_table_3_3(switch: str, unneeded: str | None) -> None:
    model = RestoreAutoEncoder(**TINY, **{switch: False}).eval()
    arguments = inputs()
    if unneeded:
        arguments.pop(unneeded)
    with torch.inference_mode():
        assert model(**arguments).image.shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("image", torch.zeros(1, 3, 64, 64), r"image must have the shape \[B, 3, 32, 32\]"),
        ("style_codes", None, r"style_codes must have the shape \[1, 8, 16\], not None"),
        ("style_codes", torch.zeros(2, 8, 16), r"not \[2, 8, 16\]"),
        ("features", None, "4 prior features"),
        ("features", [torch.zeros(1, 16, 4 * 2**k, 4 * 2**k) for k in range(4)], "prior feature 3"),
    ],
)
def test_wrong_inputs_are_refused(tiny: RestoreAutoEncoder, name: str, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**inputs() | {name: value})


def test_training_uses_dropout_and_reaches_every_parameter(tiny: RestoreAutoEncoder) -> None:
    with_noise(tiny, 0.0).train()
    arguments = inputs(2)
    first, second = tiny(**arguments).image, tiny(**arguments).image
    assert not torch.equal(first, second)
    (first + second).square().mean().backward()
    missing = [name for name, p in tiny.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not missing


def test_save_load_and_half_precision(tiny: RestoreAutoEncoder, tmp_path) -> None:
    arguments = inputs()
    tiny.save_pretrained(tmp_path)
    with torch.inference_mode():
        expected = tiny(**arguments, generator=torch.Generator().manual_seed(0)).image
        loaded = RestoreAutoEncoder.from_pretrained(tmp_path).eval()
        image = loaded(**arguments, generator=torch.Generator().manual_seed(0)).image
        torch.testing.assert_close(image, expected, rtol=1e-3, atol=1e-4)
        for dtype, most in ((torch.bfloat16, 0.06), (torch.float16, 0.01)):
            half = RestoreAutoEncoder.from_pretrained(tmp_path, torch_dtype=dtype).eval()
            image = half(**arguments, generator=torch.Generator().manual_seed(0)).image
            assert image.dtype == dtype and image.isfinite().all()
            assert (image.float() - expected).square().mean().sqrt() / expected.std() < most


@pytest.mark.parametrize("options", [{}, {"form": "thesis"}, {"form": "thesis", "use_smart": False}], ids=str)
@torch.no_grad()
def test_noise_maps_take_the_place_of_drawn_ones(options: dict) -> None:
    torch.manual_seed(0)
    model = with_noise(RestoreAutoEncoder(**TINY, use_prior_features=False, **options).eval(), 0.2)
    given = inputs() | {"features": None}
    drawn = model(**given, generator=torch.Generator().manual_seed(1)).image
    generator = torch.Generator().manual_seed(1)
    maps = [torch.randn(1, 1, size, size, generator=generator) for size in model.noise_sizes]
    assert torch.equal(model(**given, noise=maps).image, drawn)
    maps[-1] = maps[-1] + 1
    assert not torch.equal(model(**given, noise=maps).image, drawn)
    with pytest.raises(ValueError, match="noise maps are needed"):
        model(**given, noise=maps[1:])
