"""Style encoder, code diffuser and identity encoder, small: shapes, subsets, gradients, precision."""

from pathlib import Path

import pytest
import torch

from facekit.convert.encoders import code_diffuser_state, style_encoder_state
from facekit.models.code_diffuser import CodeDiffuser
from facekit.models.fast.ir_se import convolve_and_normalize
from facekit.models.identity_encoder import IdentityEncoder
from facekit.models.style_encoder import PATCH_PRODUCT_LIMIT, StyleEncoder, convolve_strided


def tiny_encoder(**config: object) -> StyleEncoder:
    torch.manual_seed(0)
    sizes = {
        "sample_size": 64,
        "num_styles": 10,
        "stem_channels": 8,
        "channels": (8, 12, 16, 16),
        "num_blocks": (1, 1, 2, 1),
        "se_reduction": 4,
        "style_dim": 24,
    }
    encoder = StyleEncoder(**(sizes | config)).eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
            torch.nn.init.normal_(module.running_mean, std=0.2)
            torch.nn.init.normal_(module.bias, std=0.2)
    torch.nn.init.normal_(encoder.latent_avg)
    return encoder


@pytest.fixture()
def image() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)


@pytest.mark.parametrize("reading", ["e4e", "psp"])
@pytest.mark.parametrize("styles", [(0, 1), (0, 5), (2, 4), (4, 9), (7, 10)])
def test_a_subset_of_codes_equals_those_rows(
    image: torch.Tensor, reading: str, styles: tuple[int, int]
) -> None:
    encoder = tiny_encoder(reading=reading)
    with torch.no_grad():
        every = encoder(image)
        assert every.shape == (2, 10, 24)
        torch.testing.assert_close(encoder(image, styles=styles), every[:, slice(*styles)])


def test_heads_that_are_not_wanted_do_not_run(image: torch.Tensor) -> None:
    encoder = tiny_encoder(reading="psp")
    ran = []
    for index, heads in enumerate(encoder.heads):
        heads.register_forward_pre_hook(lambda module, args, index=index: ran.append((index, *args[1:])))
    encoder(image, styles=(4, 9))
    assert ran == [(1, 1, 4), (2, 0, 2)]


def test_e4e_adds_every_delta_to_the_first_code(image: torch.Tensor) -> None:
    e4e, psp = tiny_encoder(), tiny_encoder(reading="psp")
    psp.load_state_dict(e4e.state_dict())
    with torch.no_grad():
        raw = psp(image, add_average=False)
        codes = e4e(image, add_average=False)
    torch.testing.assert_close(codes[:, :1], raw[:, :1])
    torch.testing.assert_close(codes[:, 1:], raw[:, 1:] + raw[:, :1])


@pytest.mark.parametrize("stage", [0, 1, 4, 9])
def test_progressive_stages(image: torch.Tensor, stage: int) -> None:
    encoder = tiny_encoder()
    with torch.no_grad():
        every, codes = encoder(image, add_average=False), encoder(image, stage=stage, add_average=False)
        later = encoder(image, styles=(3, 10), stage=stage, add_average=False)
    torch.testing.assert_close(codes[:, : stage + 1], every[:, : stage + 1])
    torch.testing.assert_close(codes[:, stage + 1 :], every[:, :1].expand(-1, 9 - stage, -1))
    torch.testing.assert_close(later, codes[:, 3:])


def test_missing_heads_and_fewer_styles(image: torch.Tensor) -> None:
    whole = tiny_encoder(reading="psp")
    part = tiny_encoder(reading="psp", first_style=4)
    state = whole.state_dict()
    for key in [key for key in state if key.startswith("heads.")]:
        level = int(key.split(".")[1])
        state[key] = state[key][{0: 3, 1: 1, 2: 0}[level] :]
        if not len(state[key]):
            del state[key]
    part.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(part(image), whole(image)[:, 4:])
    assert tiny_encoder(num_styles=2)(image).shape == (2, 2, 24)
    with pytest.raises(ValueError, match="within"):
        part(image, styles=(0, 3))


def test_other_sizes_and_many_channels() -> None:
    encoder = tiny_encoder(in_channels=26)
    assert encoder(torch.zeros(1, 26, 100, 80)).shape == (1, 10, 24)
    with pytest.raises(ValueError, match=r"\[B, 26, H, W\], got \[1, 3, 64, 64\]"):
        encoder(torch.zeros(1, 3, 64, 64))


def test_gradients_reach_every_parameter(image: torch.Tensor) -> None:
    encoder = tiny_encoder().train()
    encoder(image).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in encoder.parameters())
    assert all(p.grad.abs().max() > 0 for p in encoder.parameters())


def test_folding_the_normalisation_changes_nothing() -> None:
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv2d(6, 8, 3, 2, 1, bias=False), torch.nn.BatchNorm2d(8).eval()
    for tensor in (norm.weight, norm.running_var):
        torch.nn.init.uniform_(tensor, 0.5, 2.0)
    for tensor in (norm.bias, norm.running_mean):
        torch.nn.init.normal_(tensor)
    x = torch.randn(2, 6, 40, 40)
    with torch.no_grad():
        torch.testing.assert_close(convolve_and_normalize(x, conv, norm), norm(conv(x)), rtol=1e-5, atol=1e-5)
        # A norm without statistics of its own takes those of the map: there is nothing to fold.
        norm = torch.nn.BatchNorm2d(norm.num_features, track_running_stats=False).eval()
        assert torch.equal(convolve_and_normalize(x, conv, norm), norm(conv(x)))


@pytest.mark.parametrize("size", [2, 8, 5, 64])
def test_the_patch_product_is_the_convolution(size: int) -> None:
    x, weight, bias = torch.randn(2, 4, size, size), torch.randn(6, 4, 3, 3), torch.randn(6)
    expected = torch.nn.functional.conv2d(x, weight, bias, 2, 1)
    torch.testing.assert_close(convolve_strided(x, weight, bias), expected, rtol=1e-4, atol=1e-4)
    assert 2 * 32 * 32 > PATCH_PRODUCT_LIMIT > 2 * 4 * 4


@pytest.mark.parametrize("network", ["encoder", "identity"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near_float32(network: str, dtype: torch.dtype, image: torch.Tensor) -> None:
    torch.manual_seed(2)
    model, inputs = {
        "encoder": lambda: (tiny_encoder(), (image,)),
        "identity": lambda: (IdentityEncoder(32, (1, 1, 1, 1), 8, 16).eval(), (image,)),
    }[network]()
    with torch.no_grad():
        full = model(*inputs)
        half = model.to(dtype)(*(x.to(dtype) if torch.is_tensor(x) else x for x in inputs))
    # Codes are computed in float32 whatever is asked for: fine differences of codes are large ones of faces.
    assert half.dtype == (torch.float32 if network == "encoder" else dtype)
    error = (half.float() - full).norm() / full.norm()
    assert error < (0.05 if dtype == torch.bfloat16 else 0.01)


def test_saved_and_loaded_again(tmp_path: Path, image: torch.Tensor) -> None:
    encoder = tiny_encoder(reading="psp", first_style=2)
    encoder.save_pretrained(tmp_path)
    again = StyleEncoder.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(image), encoder(image))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"reading": "w"}, "reading"),
        ({"sample_size": 100}, "power of two"),
        ({"first_style": 3}, "first_style"),
        ({"reading": "psp", "first_style": 10}, "first_style"),
    ],
)
def test_impossible_encoders_are_refused(config: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_encoder(**config)


def test_style_encoder_stays_in_float32(tmp_path: Path, image: torch.Tensor) -> None:
    """The diffuser amplifies the codes' rounding: loaded in half precision, the encoder gives the same codes."""
    encoder = tiny_encoder()
    encoder.latent_avg.normal_()
    encoder.save_pretrained(tmp_path)
    loaded = StyleEncoder.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    assert {t.dtype for t in loaded.state_dict().values() if t.is_floating_point()} == {torch.float32}
    with torch.no_grad():
        assert torch.equal(loaded(image), encoder(image))


def test_diffuser_stays_in_float32(tmp_path: Path) -> None:
    torch.manual_seed(3)
    diffuser = CodeDiffuser(num_styles=6, style_dim=16)
    diffuser.save_pretrained(tmp_path)
    loaded = CodeDiffuser.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    codes, condition = torch.randn(2, 2, 6, 16).bfloat16().unbind(0)
    output = loaded(codes, 1, condition)
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, diffuser(codes.float(), 1, condition.float()))


def test_diffuser_uses_time_and_condition() -> None:
    torch.manual_seed(3)
    diffuser = CodeDiffuser(num_styles=6, style_dim=16)
    codes, condition = torch.randn(2, 2, 6, 16).unbind(0)
    first = diffuser(codes, 0, condition)
    assert first.shape == codes.shape
    assert not torch.allclose(first, diffuser(codes, 3, condition))
    assert not torch.allclose(first, diffuser(codes, 0, -condition))
    each = diffuser(codes, torch.tensor([0, 3]), condition)
    torch.testing.assert_close(each[:1], first[:1])
    torch.testing.assert_close(each[1:], diffuser(codes, 3, condition)[1:])


def test_diffuser_refuses_other_shapes() -> None:
    diffuser = CodeDiffuser(num_styles=6, style_dim=16)
    with pytest.raises(ValueError, match=r"must both be \[B, 6, 16\]"):
        diffuser(torch.zeros(1, 5, 16), 0, torch.zeros(1, 5, 16))
    with pytest.raises(ValueError, match="must both be"):
        diffuser(torch.zeros(2, 6, 16), 0, torch.zeros(1, 6, 16))


def test_identity_is_one_with_itself(image: torch.Tensor) -> None:
    torch.manual_seed(4)
    network = IdentityEncoder(32, (1, 1, 1, 1), 8, 16).eval()
    embedding = network(image)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(network.similarity(image, image), torch.ones(2))
    assert network.similarity(image[:1], image[1:]) < 1
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\]"):
        network(torch.zeros(1, 1, 32, 32))


def test_unknown_and_missing_keys_are_named() -> None:
    with pytest.raises(ValueError, match="surprise"):
        code_diffuser_state({"att_mapper.0.surprise.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="0 style heads"):
        style_encoder_state({}, torch.zeros(18, 512), 18)
    with pytest.raises(ValueError, match=r"body\.30"):
        style_encoder_state(
            {"body.30.res_layer.1.weight": torch.zeros(1), "styles.0.convs.0.weight": torch.zeros(1)},
            torch.zeros(1, 8),
        )
