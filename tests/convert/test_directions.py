"""Published FFHQ directions: goldens of the edits, and `facekit convert directions`."""

import argparse
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from facekit import StyleDirections
from facekit.conditions.attributes import FFHQ_EDITS, ComponentEdit
from facekit.convert.directions import Source, load_components, load_directions, read_named
from facekit_cli.commands.convert import add_options
from facekit_cli.main import main

DATA = Path(__file__).parents[1] / "data" / "parity" / "facemug"
PUBLISHED = DATA / "directions.safetensors"


@pytest.fixture(scope="module")
def golden():
    """`edit.codes` [2, 18, 512]; of the results every 8th entry of each code."""
    return load_file(DATA / "edits.seed0.safetensors")


@pytest.fixture
def original_files(tmp_path):
    """The four files as they are published."""
    tensors = load_file(PUBLISHED)
    folder = tmp_path / "editings"
    folder.mkdir()
    for name in ("age", "smile", "pose"):
        torch.save(tensors[f"interfacegan.{name}"], folder / f"{name}.pt")
    torch.save(
        {name: tensors[f"ganspace.ffhq.{name}"] for name in ("mean", "comp", "std")}, folder / "ffhq_pca.pt"
    )
    return folder


@pytest.mark.parametrize(("name", "amount"), [("age_plus3", 3), ("smile_minus2", -2), ("pose_plus4", 4)])
def test_interfacegan_edits(golden, name, amount):
    directions = load_directions(PUBLISHED)
    edited = directions(golden["edit.codes"], {name.split("_")[0]: amount})
    torch.testing.assert_close(edited[..., ::8], golden[f"edit.interfacegan.{name}"], rtol=0, atol=1e-5)


def test_ganspace_edits(golden):
    components = load_components(PUBLISHED)
    edits = [components.find_edit(name) for name in ("eye_openness", "trimmed_beard", "white_hair")]
    assert edits[2] == ComponentEdit(57, 7, 10, -24)
    edited = torch.stack([components.edit(golden["edit.codes"], edit) for edit in edits], 1).flatten(0, 1)
    torch.testing.assert_close(edited[..., ::8], golden["edit.ganspace.eye_beard_hair"], rtol=0, atol=1e-5)
    milder = components.find_edit("white_hair", strength=-10)
    assert milder == ComponentEdit(57, 7, 10, -10)


def test_component_edit_with_code_0_is_absolute_and_others_are_not(golden):
    components, codes = load_components(PUBLISHED), golden["edit.codes"]
    whole = ComponentEdit(3, 0, 18, 5.0)
    once = components.edit(codes, whole)
    torch.testing.assert_close(components.edit(once, whole), once, rtol=0, atol=1e-4)
    later = ComponentEdit(3, 4, 6, 5.0)
    once, twice = components.edit(codes, later), components.edit(components.edit(codes, later), later)
    torch.testing.assert_close(twice - once, once - codes, rtol=0, atol=1e-4)
    assert torch.equal(once[:, :4], codes[:, :4]) and torch.equal(once[:, 6:], codes[:, 6:])


def test_component_edits_as_directions():
    directions, components = load_directions(PUBLISHED, num_styles=14), load_components(PUBLISHED)
    assert set(FFHQ_EDITS) < set(directions.names) and len(FFHQ_EDITS) == 42
    assert directions.directions.shape == (45, 14, 512)
    shift = directions.shift({"white_hair": 3})
    expected = -24 * components.deviations[57] * components.components[57]
    torch.testing.assert_close(shift[7:10], expected.expand(3, -1))
    assert not shift[:7].any() and not shift[10:].any()
    assert directions.direction("overexposed")[8:].any(1).all()


def test_original_files_give_the_same(original_files):
    assert torch.equal(load_directions(original_files).directions, load_directions(PUBLISHED).directions)
    (original_files / "ffhq_pca.pt").unlink()
    assert load_directions(original_files).names == ("age", "smile", "pose")


def test_command_writes_a_folder(original_files, tmp_path, capsys):
    output = tmp_path / "directions"
    assert main(["convert", "directions", str(original_files), "--codes", "14", "--output", str(output)]) == 0
    assert str(output) in capsys.readouterr().out
    loaded = StyleDirections.from_pretrained(output)
    assert loaded.direction("smile").shape == (14, 512)
    with pytest.raises(ValueError, match=r"smiel.*known: age, smile"):
        loaded.shift({"smiel": 1.0})


def test_what_is_refused(original_files, tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match=r"none of age\.pt"):
        load_directions(tmp_path / "editings" / "..")
    torch.save([1, 2], original_files / "age.pt")
    assert main(["convert", "directions", str(original_files), "--output", str(tmp_path / "out")]) == 1
    assert "holds a list, not a Tensor" in capsys.readouterr().err and not (tmp_path / "out").exists()
    save_file({"interfacegan.age": torch.zeros(2, 3, 512)}, tmp_path / "odd.safetensors")
    assert load_directions(tmp_path / "odd.safetensors").names == ("age",)
    save_file({"other": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="none of the published directions; it has other"):
        load_directions(tmp_path / "other.safetensors")
    save_file({"ganspace.ffhq.mean": torch.zeros(512)}, tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match=r"no ganspace\.ffhq\.comp"):
        load_directions(tmp_path / "part.safetensors")
    components = load_components(PUBLISHED)
    with pytest.raises(ValueError, match="known: eye_openness"):
        components.find_edit("eyes")
    with pytest.raises(ValueError, match="component 99"):
        components.edit(torch.zeros(1, 18, 512), ComponentEdit(99, 0, 1, 1.0))
    with pytest.raises(ValueError, match="codes must be"):
        components.edit(torch.zeros(1, 18, 128), ComponentEdit(1, 0, 1, 1.0))


def test_tensors_of_styleclip_and_clip2stylegan(tmp_path):
    """Whatever file they lie in, they move codes by what the file holds, under the attribute's name."""
    source = torch.Generator().manual_seed(0)
    given = {
        "angry": torch.randn(1, 18, 512, generator=source),  # a mapper's change
        "surprised": torch.randn(18, 512, generator=source),  # that of an optimisation
        "bald": torch.randn(512, generator=source),
        "red hair": torch.randn(1, 512, generator=source),
        "beard": torch.randn(1, 18 * 512, generator=source),  # a boundary fitted in W+
        "young": torch.randn(18, 512, generator=source),
        "old": torch.randn(14, 512, generator=source),
    }
    folder = tmp_path / "tensors"
    folder.mkdir()
    np.save(folder / "angry.npy", given["angry"].numpy())
    torch.save(given["surprised"], folder / "surprised.pt")
    np.savez(folder / "bald.npz", given["bald"].numpy())
    np.savez(folder / "several.npz", **{name: given[name].numpy() for name in ("red hair", "beard")})
    save_file({"direction": given["young"]}, folder / "young.safetensors")
    torch.save({"w": given["old"]}, folder / "old.pth")
    output = tmp_path / "out"
    command = ["convert", "directions", str(folder), "--codes", "14", "--output", str(output)]
    assert main([*command, "--source", "styleclip"]) == 0
    directions = StyleDirections.from_pretrained(output)
    assert set(directions.names) == set(given)
    codes = torch.randn(2, 14, 512, generator=source)
    for name, value in given.items():
        rows = value.reshape(-1, 512)[:14].expand(14, -1)
        torch.testing.assert_close(directions(codes, {name: 2.0}), codes + 2 * rows)
    again = load_directions(folder, 14, "clip2stylegan")
    assert torch.equal(again.directions, directions.directions)
    assert load_directions(folder / "angry.npy", 18, "styleclip").names == ("angry",)


def test_directions_of_stylespace_and_other_tensors_are_refused(tmp_path, capsys):
    file = tmp_path / "fs3.npy"
    for shape in ((6048, 512), (6048,), (1, 9088), (19, 512), (512, 18), ()):
        np.save(file, np.zeros(shape, np.float32))
        with pytest.raises(ValueError, match="StyleCLIP move StyleSpace"):
            read_named(file)
    command = ["convert", "directions", str(file), "--output", str(tmp_path / "out"), "--source", "styleclip"]
    assert main(command) == 1 and not (tmp_path / "out").exists()
    assert "optimisation or mapper" in capsys.readouterr().err
    np.save(file, np.array([np.zeros(3), np.zeros(4)], object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"a list of one array for each layer"):
        read_named(file)
    np.save(file, np.zeros((4, 18, 512), np.float32))
    with pytest.raises(ValueError, match="give their mean"):
        read_named(file)
    np.save(file, np.array(["happy"]))
    with pytest.raises(ValueError, match=r"fs3 in .* is a ndarray, not a tensor"):
        read_named(file)
    np.save(file, np.zeros((10, 512), np.float32))
    with pytest.raises(ValueError, match=r"'fs3' must have the shape"):
        load_directions(file, 18, "styleclip")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(OSError, match="cannot be read"):
        read_named(tmp_path / "broken.npz")
    with pytest.raises(FileNotFoundError):
        read_named(tmp_path / "none.npy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no file of the kinds"):
        read_named(tmp_path / "empty")
    for name in ("a.pt", "a.pth"):
        torch.save(torch.zeros(512), tmp_path / "empty" / name)
    with pytest.raises(ValueError, match=r"two directions .* are called a"):
        read_named(tmp_path / "empty")


def test_the_command_knows_the_same_sources():
    """It repeats them, for no help should wait for PyTorch."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    (methods,) = (action for action in parser._actions if action.dest == "method")
    (option,) = (a for a in methods.choices["directions"]._actions if a.dest == "source")
    assert option.choices == get_args(Source)
