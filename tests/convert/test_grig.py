"""`facekit convert grig`: published checkpoints become pipeline folders, or an error and nothing on disk."""

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from facekit import FaceInpaintPipeline, ForgedPatchDiscriminator, ProjectedDiscriminator
from facekit.convert.grig import convert, load_part
from facekit.weights.checkpoints import read_checkpoint
from facekit_cli.main import main

DATA = Path(__file__).parents[1] / "data" / "parity"
BUFFERS = ("weight_u", "weight_v", "running_mean", "running_var", "num_batches_tracked")


def _fill_module():
    spec = importlib.util.spec_from_file_location("parity_fill", DATA / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


FILL = _fill_module()


@pytest.fixture(scope="module")
def parts() -> dict:
    """A checkpoint as training writes it: raw generator, averages as a list, both discriminators."""
    averaged = FILL.fill(DATA / "grig" / "generator.json", 0)
    parameters = [key for key in averaged if not key.endswith(BUFFERS)]
    raw = averaged | {key: averaged[key] + 0.5 for key in parameters}
    return {
        "g": raw,
        "d": FILL.fill(DATA / "grig" / "projected_discriminator.json", 0),
        "patch_d": FILL.fill(DATA / "grig" / "patch_discriminator.json", 0),
        "g_ema": [averaged[key] for key in parameters],
        "opt_g": {"state": {}, "param_groups": [{"lr": 2e-4, "betas": (0.5, 0.999)}]},
        "iter": 400000,
        "metrics": {"fid": 12.5},
    }


@pytest.fixture(scope="module")
def checkpoint(parts, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("published") / "fid_best_model.pth"
    torch.save(parts, path)
    return path


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    return load_file(DATA / "grig" / "golden.compact.safetensors")


def composites(pipeline: FaceInpaintPipeline, golden) -> dict[int, torch.Tensor]:
    """Filled pixels after each step of Eq. 4.1, by the converted network with the reference's noise."""
    network = pipeline.residual_inpainter
    image = (golden["in.image_u8"].float() / 255 - 0.5) / 0.5
    mask = torch.from_numpy(np.unpackbits(golden["in.mask_bits"].numpy())).view(1, 1, 256, 256).float()
    fill, filled = image * (1 - mask), {}
    with torch.inference_mode():
        for step in (1, 2, 3):
            noise = [FILL.draw(f"grig.noise.t{step}.{i}", (1, 1, 128, 128), 0) for i in range(2)]
            dtype = network.dtype
            residual = network(fill.to(dtype), mask.to(dtype), noise=[n.to(dtype) for n in noise])
            fill = (fill + residual.float()) * mask + image * (1 - mask)
            filled[step] = fill[:, :, mask[0, 0] > 0]
    return filled


def test_converted_pipeline_gives_the_reference_composites(checkpoint, tmp_path, golden, capsys):
    assert main(["convert", "grig", str(checkpoint), "--output", str(tmp_path / "grig")]) == 0
    assert str(tmp_path / "grig") in capsys.readouterr().out
    files = {p.name for p in (tmp_path / "grig").rglob("*") if p.is_file()}
    assert files == {"model_index.json", "config.json", "diffusion_pytorch_model.safetensors"}
    pipeline = FaceInpaintPipeline.from_pretrained(tmp_path / "grig")
    for step, filled in composites(pipeline, golden).items():
        torch.testing.assert_close(filled, golden[f"g.t{step}.composite"], rtol=1e-3, atol=1e-4)


def test_discriminators_convert_and_load(checkpoint, tmp_path, golden):
    image = (golden["in.image_u8"].float() / 255 - 0.5) / 0.5
    for part, cls, reference in (
        ("projected-discriminator", ProjectedDiscriminator, "d.logits.image"),
        ("patch-discriminator", ForgedPatchDiscriminator, "p.map.image"),
    ):
        convert(checkpoint, tmp_path / part, part=part)
        network = cls.from_pretrained(tmp_path / part)
        assert not network.training
        with torch.inference_mode():
            torch.testing.assert_close(network(image), golden[reference], rtol=1e-3, atol=1e-4)


def test_half_precision_halves_the_file_and_keeps_the_weights(checkpoint, tmp_path):
    folder = tmp_path / "half"
    assert main(["convert", "grig", str(checkpoint), "-o", str(folder), "--dtype", "float16"]) == 0
    weights = folder / "residual_inpainter" / "diffusion_pytorch_model.safetensors"
    assert weights.stat().st_size < 66e6
    full = load_part(checkpoint).state_dict()
    for key, value in load_file(weights).items():
        if value.is_floating_point():
            statistics = key.endswith(("running_mean", "running_var"))
            assert value.dtype == (torch.float32 if statistics else torch.float16)
            torch.testing.assert_close(value.float(), full[key], rtol=1e-3, atol=1e-6)


def test_what_half_precision_cannot_hold_stays_in_float32(parts, tmp_path):
    changed = parts | {"g": dict(parts["g"]), "g_ema": list(parts["g_ema"])}
    variances = [key for key in changed["g"] if key.endswith("running_var")]
    for key in variances:
        changed["g"][key] = changed["g"][key] * 1e6
    names = [key for key in changed["g"] if not key.endswith(BUFFERS)]
    large = changed["g_ema"][names.index("conv_64_3_3.1.weight")] = torch.full((256,), 1e5)
    torch.save(changed, tmp_path / "large.pth")
    folder = tmp_path / "half"
    assert (
        main(["convert", "grig", str(tmp_path / "large.pth"), "-o", str(folder), "--dtype", "float16"]) == 0
    )
    weights = load_file(folder / "residual_inpainter" / "diffusion_pytorch_model.safetensors")
    assert all(value.isfinite().all() for value in weights.values())
    assert torch.equal(weights["decoder.merge4.norm.weight"], large)
    full = load_part(tmp_path / "large.pth").state_dict()
    kept = [key for key in full if key.endswith("running_var")]
    assert len(kept) == len(variances) and all(torch.equal(weights[key], full[key]) for key in kept)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_checkpoint_with_infinity_is_refused(parts, tmp_path, capsys, dtype):
    broken = parts | {"g": parts["g"] | {"to_big.weight_u": torch.full((3,), torch.inf)}}
    torch.save(broken, tmp_path / "broken.pth")
    arguments = [str(tmp_path / "broken.pth"), "-o", str(tmp_path / "out"), "--dtype", dtype]
    assert main(["convert", "grig", *arguments]) == 1
    assert "holds infinity or NaN in decoder.to_rgb.u" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_raw_generator_is_another(checkpoint):
    averaged, raw = load_part(checkpoint), load_part(checkpoint, use_ema=False)
    weight = raw.encoder.stem.weight - averaged.encoder.stem.weight
    torch.testing.assert_close(weight, torch.full_like(weight, 0.5))
    assert torch.equal(raw.encoder.stem.u, averaged.encoder.stem.u)


def damaged(parts: dict, change) -> dict:
    copy = {key: dict(value) if isinstance(value, dict) else value for key, value in parts.items()}
    copy["g_ema"] = list(parts["g_ema"])
    change(copy)
    return copy


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["g"].pop("to_big.weight_u"), r"missing keys.*decoder\.to_rgb\.u"),
        (
            lambda c: c["g"].update({"feat_512.1.weight_u": torch.zeros(3)}),
            r"unknown keys: feat_512\.1\.weight_u",
        ),
        (
            lambda c: c["g"].update({"down_4.main.1.running_mean": torch.zeros(65)}),
            r"down_4\.main\.1\.running_mean is \[65\], expected \[64\]",
        ),
        (lambda c: c["g_ema"].pop(), r"g_ema.* has \d+ tensors, but the generator has \d+ parameters"),
        (lambda c: c["g_ema"].reverse(), r"g_ema.*order of the parameters.*down_from_big\.0\.weight_orig"),
        (lambda c: c.update(g_ema=None), r"g_ema.*no list of tensors"),
        (lambda c: c.pop("g_ema"), r"no averaged parameters 'g_ema'.*--raw"),
        (lambda c: c.pop("g"), r"no entry 'g'; it has d, patch_d"),
        (lambda c: c.update(g=3), r"entry 'g' .* is no state dict"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(parts, tmp_path, change, message):
    path, output = tmp_path / "model.pth", tmp_path / "out"
    torch.save(damaged(parts, change), path)
    with pytest.raises(ValueError, match=message):
        convert(path, output)
    assert [p.name for p in tmp_path.iterdir()] == ["model.pth"]


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    torch.save({"d": {}}, tmp_path / "model.pth")
    output = str(tmp_path / "out")
    assert main(["convert", "grig", str(tmp_path / "model.pth"), "--output", output]) == 1
    assert "has no entry 'g'" in capsys.readouterr().err
    assert main(["convert", "grig", str(tmp_path / "absent.pth"), "--output", output]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["model.pth"]


class Payload:
    def __reduce__(self):
        return (Path.touch, (Path("touched"),))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_with_code_is_refused(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save({"g": Payload()}, "code.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match="could run code"):
        read_checkpoint("code.pth")
    Path("plain.pth").write_bytes(pickle.dumps({"g": Payload()}))
    with pytest.raises((ValueError, OSError), match=r"plain\.pth"):
        read_checkpoint("plain.pth")
    assert not Path("touched").exists()


def test_truncated_and_foreign_files(checkpoint, tmp_path):
    content = checkpoint.read_bytes()
    for size in (0, 1, 1000, len(content) // 2, len(content) - 100):
        path = tmp_path / f"cut{size}.pth"
        path.write_bytes(content[:size])
        with pytest.raises(OSError, match=r"empty|truncated"):
            read_checkpoint(path)
    (tmp_path / "page.pth").write_text("<html>quota exceeded</html>")
    with pytest.raises(OSError, match="no PyTorch checkpoint"):
        read_checkpoint(tmp_path / "page.pth")
    save_file({"a": torch.zeros(1000)}, tmp_path / "cut.safetensors")
    whole = (tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:2000])
    with pytest.raises(OSError, match="truncated"):
        read_checkpoint(tmp_path / "cut.safetensors")
    with pytest.raises(FileNotFoundError):
        read_checkpoint(tmp_path / "absent.pth")
    with pytest.raises(OSError, match="no file"):
        read_checkpoint(tmp_path)


def test_files_of_old_torch_are_read(tmp_path):
    torch.save({"g": {"a": torch.arange(3)}}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read_checkpoint(tmp_path / "old.pth")["g"]["a"], torch.arange(3))


def test_an_existing_folder_stays_unless_said(checkpoint, tmp_path, capsys):
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    command = ["convert", "grig", str(checkpoint), "-o", str(folder), "--part", "patch-discriminator"]
    assert main(command) == 2
    assert (folder / "mine.txt").read_text() == "mine"
    assert main([*command, "--overwrite"]) == 0
    assert {p.name for p in folder.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    capsys.readouterr()
