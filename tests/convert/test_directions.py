"""Published FFHQ directions: goldens of the edits, and `facekit convert directions`."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from facekit import StyleDirections
from facekit.conditions.attributes import FFHQ_EDITS, ComponentEdit
from facekit.convert.directions import load_components, load_directions
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
