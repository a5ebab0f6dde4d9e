"""`facekit convert bisenet`: a state dict of the published layout -> a face parser that everything here takes."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facekit import BiSeNet
from facekit.conditions.semantics import load_parser, parse
from facekit.convert import bisenet
from facekit_cli.main import main
from tests.tiny.pipelines import tiny_edit_pipeline


def norm(name: str, width: int) -> dict[str, list[int]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": [width] for part in parts} | {f"{name}.num_batches_tracked": []}


def unit(name: str, a: int, b: int, kernel: int = 3) -> dict[str, list[int]]:
    return {f"{name}.conv.weight": [b, a, kernel, kernel]} | norm(f"{name}.bn", b)


def published_shapes() -> dict[str, list[int]]:
    """All names and shapes of `79999_iter.pth`, written down from the public layout, not from our network."""
    shapes = {"cp.resnet.conv1.weight": [64, 3, 7, 7]} | norm("cp.resnet.bn1", 64)
    for stage, (a, b) in enumerate(((64, 64), (64, 128), (128, 256), (256, 512)), start=1):
        for block, inside in ((0, a), (1, b)):
            name = f"cp.resnet.layer{stage}.{block}"
            shapes |= {f"{name}.conv1.weight": [b, inside, 3, 3]} | norm(f"{name}.bn1", b)
            shapes |= {f"{name}.conv2.weight": [b, b, 3, 3]} | norm(f"{name}.bn2", b)
            if inside != b:
                shapes |= {f"{name}.downsample.0.weight": [b, inside, 1, 1]} | norm(f"{name}.downsample.1", b)
    for name, width in (("arm16", 256), ("arm32", 512)):
        shapes |= unit(f"cp.{name}.conv", width, 128)
        shapes |= {f"cp.{name}.conv_atten.weight": [128, 128, 1, 1]} | norm(f"cp.{name}.bn_atten", 128)
    shapes |= unit("cp.conv_head32", 128, 128) | unit("cp.conv_head16", 128, 128)
    shapes |= unit("cp.conv_avg", 512, 128, 1) | unit("ffm.convblk", 256, 256, 1)
    shapes |= {"ffm.conv1.weight": [64, 256, 1, 1], "ffm.conv2.weight": [256, 64, 1, 1]}
    shapes |= unit("conv_out.conv", 256, 256) | {"conv_out.conv_out.weight": [19, 256, 1, 1]}
    for name in ("conv_out16", "conv_out32"):
        shapes |= unit(f"{name}.conv", 128, 64) | {f"{name}.conv_out.weight": [19, 64, 1, 1]}
    return shapes


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(0)
    found = {}
    for name, shape in published_shapes().items():
        if not shape:
            found[name] = torch.tensor(79999)
            continue
        value = torch.randn(shape, generator=source)
        found[name] = value / value[0].numel() ** 0.5 if len(shape) == 4 else 0.1 * value
        if name.endswith(("running_var", "bn.weight")):
            found[name] = 1 + found[name].abs()
    return found


def published_logits(state: dict[str, Tensor], image: Tensor) -> Tensor:
    """The paper's network with its norms as plain arithmetic: [1, 3, S, S] in [-1, 1] -> [1, 19, S, S]."""

    def convolve(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def scale(x: Tensor, name: str) -> Tensor:
        weight, bias, mean, var = (
            state[f"{name}.{part}"][:, None, None]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return weight * (x - mean) / (var + 1e-5).sqrt() + bias

    def step(x: Tensor, name: str) -> Tensor:
        return scale(convolve(x, f"{name}.conv"), f"{name}.bn").clamp(min=0)

    def mean_of(x: Tensor) -> Tensor:
        return x.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3])

    def refine(x: Tensor, name: str) -> Tensor:
        x = step(x, f"{name}.conv")
        gate = scale(convolve(mean_of(x), f"{name}.conv_atten"), f"{name}.bn_atten")
        return x * (1 / (1 + (-gate).exp()))

    def double(x: Tensor) -> Tensor:
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    x = torch.stack(
        [
            ((image[:, c] + 1) / 2 - mean) / std
            for c, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225)))
        ],
        1,
    )
    x = scale(convolve(x, "cp.resnet.conv1", 2), "cp.resnet.bn1").clamp(min=0)
    x = F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-1e9), 3, 2)
    maps = []
    for stage in (1, 2, 3, 4):
        for block in (0, 1):
            name = f"cp.resnet.layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = scale(convolve(x, f"{name}.conv1", stride), f"{name}.bn1").clamp(min=0)
            y = scale(convolve(y, f"{name}.conv2"), f"{name}.bn2")
            if f"{name}.downsample.0.weight" in state:
                x = scale(convolve(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            x = (x + y).clamp(min=0)
        maps.append(x)
    _, eighth, sixteenth, thirtysecond = maps
    context = refine(thirtysecond, "cp.arm32") + step(mean_of(thirtysecond), "cp.conv_avg")
    context = step(double(context), "cp.conv_head32")
    context = step(double(refine(sixteenth, "cp.arm16") + context), "cp.conv_head16")
    x = step(torch.cat([eighth, context], 1), "ffm.convblk")
    gate = convolve(convolve(mean_of(x), "ffm.conv1").clamp(min=0), "ffm.conv2")
    x = x * (1 / (1 + (-gate).exp())) + x
    x = convolve(step(x, "conv_out.conv"), "conv_out.conv_out")
    return F.interpolate(x, image.shape[-2:], mode="bilinear", align_corners=True)


def test_the_file_becomes_a_parser(state: dict[str, Tensor], tmp_path: Path) -> None:
    file, output = tmp_path / "79999_iter.pth", tmp_path / "parser"
    torch.save(state, file)
    assert main(["convert", "bisenet", str(file), "--output", str(output)]) == 0
    parser = load_parser(str(output))
    assert isinstance(parser, BiSeNet) and not parser.training
    image = torch.rand(1, 3, 512, 512, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        logits, expected = parser(image), published_logits(state, image)
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4)
    assert expected.std() > 0.01 and torch.equal(parse(parser, image), logits.argmax(1))
    # All of the file's weights but the auxiliary heads' are there.
    kept = {key for key in state if not key.startswith(("conv_out16.", "conv_out32."))}
    assert parser.state_dict().keys() == kept


def test_files_that_differ_in_little(state: dict[str, Tensor], tmp_path: Path) -> None:
    old = {f"module.{k}": v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pth")
    found = bisenet.load_parser(tmp_path / "old.pth").state_dict()
    assert torch.equal(found["cp.resnet.conv1.weight"], state["cp.resnet.conv1.weight"])


def test_what_is_refused(
    state: dict[str, Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = "cp.arm16.conv.conv.weight"
    cases = [
        (state | {"sp.conv1.conv.weight": torch.zeros(1)}, "has a spatial path"),
        (state | {"conv_out.conv_out.weight": torch.zeros(11, 256, 1, 1)}, "knows 11 classes; the 19"),
        ({k: v for k, v in state.items() if k != key}, r"1 missing keys .*cp\.arm16\.conv\.conv\.weight"),
        (state | {key: torch.zeros(128, 2, 3, 3)}, r"cp\.arm16\.conv\.conv\.weight is \[128, 2, 3, 3\]"),
        ({"model": state}, "no state dict of tensors"),
        (state | {"other.weight": torch.zeros(1)}, r"1 unknown keys .*other\.weight"),
    ]
    for wrong, message in cases:
        torch.save(wrong, tmp_path / "file.pth")
        with pytest.raises(ValueError, match=message):
            bisenet.load_parser(tmp_path / "file.pth")
    command = ["convert", "bisenet", str(tmp_path / "file.pth"), "--output", str(tmp_path / "out")]
    assert main(command) == 1 and "does not fit BiSeNet" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_pipeline_keeps_it_as_its_parser(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pipeline = tiny_edit_pipeline()
    pipeline.register_modules(face_parser=BiSeNet(64, 4).eval())
    pipeline.save_pretrained(tmp_path)
    again = type(pipeline).from_pretrained(tmp_path)
    face = torch.rand(1, 3, 64, 64)
    assert isinstance(again.face_parser, BiSeNet)
    assert (again.semantic_maps(face, aligned=True)[0] == pipeline.semantic_maps(face, aligned=True)[0]).all()
