"""Style encoders, code diffuser and identity encoder against the published networks' outputs."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from facekit.convert.encoders import code_diffuser_state, identity_encoder_state, style_encoder_state
from facekit.models.code_diffuser import CodeDiffuser
from facekit.models.identity_encoder import IdentityEncoder
from facekit.models.style_encoder import StyleEncoder
from facekit.schedulers import CodeDiffusionScheduler
from tests.helpers.parity_data import PARITY, filled

CLOSE = {"rtol": 1e-3, "atol": 1e-4}


@pytest.fixture(autouse=True)
def without_gradients() -> None:
    with torch.no_grad():
        yield


def wanted_heads(first: int, stop: int) -> Callable[[str], bool]:
    """Everything but the style heads outside first..stop-1, which make up nine tenths of the file."""

    def wanted(key: str) -> bool:
        head = re.match(r"styles\.(\d+)\.", key)
        return head is None or first <= int(head[1]) < stop

    return wanted


def build_encoder(
    manifest: Path, average: Path, num_styles: int, first_style: int = 0, **config: object
) -> StyleEncoder:
    state = filled(manifest, "encoder.", wanted_heads(first_style, num_styles))
    converted = style_encoder_state(state, filled(average)["latent_avg"], num_styles, first_style)
    with torch.device("meta"):
        encoder = StyleEncoder(num_styles=num_styles, first_style=first_style, **config)
    encoder.load_state_dict(converted, assign=True)
    return encoder.eval()


def summary(x: torch.Tensor, channels: int = 16, size: int = 16) -> torch.Tensor:
    strides = [
        max(1, length // most) for length, most in zip(x.shape[1:], (channels, size, size), strict=True)
    ]
    return x[:, :: strides[0], :: strides[1], :: strides[2]]


def facemug_samples(golden: dict[str, torch.Tensor]) -> torch.Tensor:
    """The four inputs [4, 26, 256, 256]: all masked, RGB alone, sketch alone, semantics and colour."""
    rgb = golden["prep.rgb"].permute(2, 0, 1) / 127.5 - 1
    colour = golden["prep.colour"].permute(2, 0, 1) / 127.5 - 1
    sketch = golden["prep.sketch_binary"][None].float()
    classes = F.one_hot(golden["prep.labels"].long(), 19).permute(2, 0, 1).float()
    parts = {"rgb": rgb, "sketch": sketch, "semantic": classes, "colour": colour}
    rows = [{name: part * golden[f"encoder.keep_mask.{name}"] for name, part in parts.items()}]
    for kept in (("rgb",), ("sketch",), ("semantic", "colour")):
        rows.append({name: part * (name in kept) for name, part in parts.items()})
    return torch.stack([torch.cat(list(row.values())) for row in rows])


# The networks of a plain test run: whole backbones, and as many heads as show each of the three depths.


def test_e4e_first_codes() -> None:
    golden = load_file(PARITY / "vspbfr" / "encoders.seed0.safetensors")
    folder = PARITY / "vspbfr"
    encoder = build_encoder(folder / "style_encoder.json", folder / "latent_avg.json", 8)
    image = golden["e4e.input256"]
    for name, feature in zip(("c1", "c2", "c3"), encoder.extract_features(image), strict=True):
        torch.testing.assert_close(summary(feature), golden[f"e4e.{name}.sub"], **CLOSE)
    torch.testing.assert_close(encoder(image), golden["e4e.codes"][:, :8], **CLOSE)
    torch.testing.assert_close(encoder(image, styles=(5, 8)), golden["e4e.codes"][:, 5:8], **CLOSE)


def test_psp_codes_of_two_heads() -> None:
    golden = load_file(PARITY / "exegan" / "encoders.seed0.safetensors")
    folder = PARITY / "exegan"
    encoder = build_encoder(
        folder / "psp_encoder.json", folder / "psp_latent_avg.json", 8, first_style=6, reading="psp"
    )
    exemplar = (golden["in.exemplar_a"] / 255 - 0.5) / 0.5
    torch.testing.assert_close(encoder(exemplar), golden["psp.codes_a"][:, 2:4], **CLOSE)
    raw = encoder(exemplar, add_average=False)
    torch.testing.assert_close(raw, golden["psp.raw_all_a"][:, 6:8], **CLOSE)
    doubled = exemplar.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(encoder(doubled), golden["psp.codes512_a"][:, 2:4], **CLOSE)


def test_multimodal_encoder_first_codes() -> None:
    golden = load_file(PARITY / "facemug" / "encoders.seed0.safetensors")
    folder = PARITY / "facemug"
    encoder = build_encoder(folder / "style_encoder.json", folder / "latent_avg.json", 4, in_channels=26)
    samples = facemug_samples(golden)
    _, _, c3 = encoder.extract_features(samples[:1])
    torch.testing.assert_close(c3[:, :, ::2, ::2], golden["encoder.tap.c3"], **CLOSE)
    codes = encoder(samples, add_average=False)
    torch.testing.assert_close(codes, golden["encoder.codes"][:, :4], **CLOSE)
    stage0 = encoder(samples[:1], stage=0, add_average=False)
    torch.testing.assert_close(stage0, golden["encoder.codes_stage0"][:, :4], **CLOSE)


@pytest.fixture(scope="module")
def diffuser() -> CodeDiffuser:
    network = CodeDiffuser()
    network.load_state_dict(code_diffuser_state(filled(PARITY / "vspbfr" / "code_diffuser.json")))
    return network.eval()


def test_code_diffuser_and_its_sampling(diffuser: CodeDiffuser) -> None:
    golden = load_file(PARITY / "vspbfr" / "encoders.seed0.safetensors")
    assert sum(p.numel() for p in diffuser.parameters()) == 10_510_336
    noisy, condition = golden["diffuser.x"], golden["diffuser.c"]
    for t in (0, 3):
        torch.testing.assert_close(diffuser(noisy, t, condition), golden[f"diffuser.out.t{t}"], **CLOSE)
    scheduler = CodeDiffusionScheduler.published()
    stepped = scheduler.step(diffuser(noisy, 2, condition), 2, noisy).prev_sample
    torch.testing.assert_close(stepped, golden["diffuser.step.t2"], **CLOSE)
    codes = golden["diffuser.x_T"]
    for t in scheduler.timesteps:
        codes = scheduler.step(diffuser(codes, t, condition), t, codes).prev_sample
    torch.testing.assert_close(codes, golden["diffuser.sample"], **CLOSE)


def test_published_schedule() -> None:
    golden = load_file(PARITY / "vspbfr" / "encoders.seed0.safetensors")
    scheduler = CodeDiffusionScheduler.published()
    rows = torch.tensor([scheduler.coefficients(t) for t in range(4)])
    names = ("posterior_mean_coef1", "posterior_mean_coef2", "posterior_variance")
    for index, name in enumerate(names, start=2):
        torch.testing.assert_close(rows[:, index], golden[f"diffuser.schedule.{name}"])
    torch.testing.assert_close(scheduler.betas, golden["diffuser.schedule.betas"])
    torch.testing.assert_close(scheduler.alphas_cumprod, golden["diffuser.schedule.alphas_cumprod"])


def test_identity_embeddings() -> None:
    golden = load_file(PARITY / "exegan" / "encoders.seed0.safetensors")
    state = identity_encoder_state(filled(PARITY / "exegan" / "arcface_resnet101.json"))
    with torch.device("meta"):
        network = IdentityEncoder()
    network.load_state_dict(state, assign=True)
    network.eval()
    assert sum(p.numel() for p in network.parameters()) == 43_024_704
    gt, exemplar = ((golden[f"in.{name}"] / 255 - 0.5) / 0.5 for name in ("gt", "exemplar_a"))
    torch.testing.assert_close(network(gt), golden["arc.id_feature_gt"], **CLOSE)
    raw = network(exemplar, normalize=False)
    torch.testing.assert_close(raw, golden["arc.raw_feature_exemplar_a"], **CLOSE)


# Every golden, at full size.


@pytest.mark.slow
def test_all_e4e_goldens(shared_dir: Path) -> None:
    folder = shared_dir / "parity" / "vspbfr"
    golden = load_file(folder / "golden.seed0.safetensors")
    encoder = build_encoder(folder / "style_encoder_decoder.json", folder / "latent_avg.json", 18)
    assert sum(p.numel() for p in encoder.parameters()) == 267_136_704
    image = golden["image"]
    torch.testing.assert_close(summary(encoder.resize(image), 3, 32), golden["e4e.input256.sub"], **CLOSE)
    for name, feature in zip(("c1", "c2", "c3"), encoder.extract_features(image), strict=True):
        torch.testing.assert_close(summary(feature), golden[f"e4e.{name}.sub"], **CLOSE)
        corner = feature[:, :: feature.shape[1] // 16, -4:, -4:]
        torch.testing.assert_close(corner, golden[f"e4e.{name}.br"], **CLOSE)
        stats = torch.stack([feature.mean(), feature.std(unbiased=False), feature.abs().sum()])
        torch.testing.assert_close(stats, golden[f"e4e.{name}.stats"], **CLOSE)
    torch.testing.assert_close(encoder(image), golden["e4e.codes"], **CLOSE)
    raw = encoder(image, add_average=False)
    torch.testing.assert_close(raw, golden["e4e.codes_without_avg"], **CLOSE)


@pytest.mark.slow
def test_all_psp_goldens(shared_dir: Path) -> None:
    folder = shared_dir / "parity" / "exegan"
    golden = load_file(folder / "golden.seed0.safetensors")
    encoder = build_encoder(folder / "psp_encoder.json", folder / "psp_latent_avg.json", 18, reading="psp")
    first, second = golden["in.exemplar_a"], golden["in.exemplar_b"]
    features = zip(("c1", "c2", "c3"), (8, 4, 2), encoder.extract_features(first), strict=True)
    for name, stride, feature in features:
        torch.testing.assert_close(feature[:, ::16, ::stride, ::stride], golden[f"psp.{name}_a.sub"], **CLOSE)
    torch.testing.assert_close(encoder(first, add_average=False), golden["psp.raw_all_a"], **CLOSE)
    torch.testing.assert_close(encoder(first, styles=(4, 14)), golden["psp.codes_a"], **CLOSE)
    torch.testing.assert_close(encoder(second, styles=(4, 14)), golden["psp.codes_b"], **CLOSE)
    doubled = first.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(encoder(doubled, styles=(4, 16)), golden["psp.codes512_a"], **CLOSE)


@pytest.mark.slow
def test_all_multimodal_encoder_goldens(shared_dir: Path) -> None:
    folder = shared_dir / "parity" / "facemug"
    golden = load_file(folder / "golden.seed0.safetensors")
    encoder = build_encoder(folder / "style_encoder.json", folder / "latent_avg.json", 18, in_channels=26)
    samples = facemug_samples(golden)
    assert torch.equal(samples[:, :, ::8, ::8], golden["encoder.input_subsampled"])
    features = zip(("c1", "c2", "c3"), (8, 4, 2), encoder.extract_features(samples[:1]), strict=True)
    for name, stride, feature in features:
        torch.testing.assert_close(feature[:, :, ::stride, ::stride], golden[f"encoder.tap.{name}"], **CLOSE)
    torch.testing.assert_close(encoder(samples), golden["encoder.codes_plus_latent_avg"], **CLOSE)
    torch.testing.assert_close(encoder(samples, add_average=False), golden["encoder.codes"], **CLOSE)
    for stage in (0, 5):
        codes = encoder(samples[:1], stage=stage, add_average=False)
        torch.testing.assert_close(codes, golden[f"encoder.codes_stage{stage}"], **CLOSE)


@pytest.mark.slow
def test_all_code_diffusion_goldens(shared_dir: Path, diffuser: CodeDiffuser) -> None:
    golden = load_file(shared_dir / "parity" / "vspbfr" / "golden.seed0.safetensors")
    scheduler = CodeDiffusionScheduler.published()
    noisy, condition = golden["diffuser.x"], golden["diffuser.c"]
    for t in range(4):
        output = diffuser(noisy, t, condition)
        torch.testing.assert_close(output, golden[f"diffuser.out.t{t}"], **CLOSE)
        stepped = scheduler.step(output, t, noisy).prev_sample
        torch.testing.assert_close(stepped, golden[f"diffuser.step.t{t}"], **CLOSE)
    x = noisy
    conditioned = torch.cat([condition, torch.full((1, 18, 1), 0.5)], -1)
    for index, block in enumerate(diffuser.blocks):
        x = block(x, conditioned)
        torch.testing.assert_close(x, golden[f"diffuser.block{index}.t2"], **CLOSE)
    codes = scheduler.add_noise(condition, golden["diffuser.q_noise"], torch.tensor([3]))
    torch.testing.assert_close(codes, golden["diffuser.train_chain.0"], **CLOSE)
    for index, t in enumerate(scheduler.timesteps, start=1):
        codes = scheduler.step(diffuser(codes, t, condition), t, codes).prev_sample
        torch.testing.assert_close(codes, golden[f"diffuser.train_chain.{index}"], **CLOSE)


@pytest.mark.slow
def test_published_identity_goldens(shared_dir: Path) -> None:
    folder = shared_dir / "parity" / "vspbfr"
    golden = load_file(folder / "golden.seed0.safetensors")
    network = IdentityEncoder().eval()
    network.load_state_dict(identity_encoder_state(filled(folder / "arcface.json")))
    image = golden["image"]
    torch.testing.assert_close(
        network(torch.cat([image, image.flip(3)])), golden["arcface.embeddings"], **CLOSE
    )
    loss = (1 - network.similarity(image, image.flip(3))).abs().mean()
    torch.testing.assert_close(loss, golden["arcface.id_loss"], **CLOSE)
