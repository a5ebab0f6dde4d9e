"""Attribute directions: factorisation, components and boundaries against what is known of made-up data."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from facekit import StyleDirections, StyleEncoder, StyleGAN2Generator
from train.directions.__main__ import main
from train.directions.checks import shrink_prior
from train.directions.config import Attribute, DirectionsConfig
from train.directions.face_labels import label_faces, measure_geometry, read_captions, regress_out
from train.directions.fits import (
    CodeSpace,
    factorise,
    find_boundary_step,
    fit_boundary,
    measure_ranking,
    read_style_weights,
)


@pytest.fixture(scope="module")
def prior():
    torch.manual_seed(0)
    return StyleGAN2Generator(
        sample_size=32, style_dim=16, channel_base=256, max_channels=12, num_mapping_layers=2
    ).eval()


@pytest.fixture(scope="module")
def crowd():
    """800 codes [800, 4, 6] whose entry (1, 2) is one attribute, (2, 3) another that goes along with it."""
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(800, 4, 6, generator=generator) * torch.linspace(0.5, 2, 6)
    codes[:, 2, 3] += codes[:, 1, 2]
    return codes


def test_each_code_has_the_weights_that_read_it(prior):
    weights = read_style_weights(prior)
    assert len(weights) == prior.num_styles == 8
    # A change that the weights of code l do not see leaves the pictures as they are.
    codes = torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = prior(w_plus=codes, noise="fixed").features
        for layer in (0, 2, 3):
            blind = torch.linalg.svd(weights[layer])[2][-1]
            assert weights[layer].shape[0] < 16
            moved = codes.clone()
            moved[:, layer] += blind
            index = (layer + 1) // 2 if layer % 2 else layer // 2 + 1
            after = prior(w_plus=moved, noise="fixed").features
            torch.testing.assert_close(after[index], before[index], rtol=1e-3, atol=1e-4)


def test_factorisation_is_the_eigenvectors_of_the_style_weights(prior):
    found = factorise(prior, (2, 3), 4, scale=2.0)
    assert found.shape == (4, 8, 16)
    columns = [row / row.norm() for layer in (2, 3) for row in read_style_weights(prior)[layer]]
    product = sum(torch.outer(column, column) for column in columns)
    values = []
    for direction in found:
        assert not direction[[0, 1, 4, 5, 6, 7]].any() and torch.equal(direction[2], direction[3])
        vector = direction[2] / 2
        value = vector @ product @ vector
        torch.testing.assert_close(product @ vector, value * vector, rtol=1e-3, atol=1e-3)
        assert vector.norm().item() == pytest.approx(1, abs=1e-4) and vector[vector.abs().argmax()] > 0
        values.append(value.item())
    assert values == sorted(values, reverse=True)
    with pytest.raises(ValueError, match="from 0 to 7"):
        factorise(prior, (2, 9), 4)
    with pytest.raises(ValueError, match=r"1\.\.16"):
        factorise(prior, (2,), 17)


def test_components_have_unit_variance(crowd):
    space = CodeSpace.fit(crowd, 100)
    assert len(space.deviations) == 24
    spots = space.locate(crowd)
    torch.testing.assert_close(spots.T @ spots / 799, torch.eye(24), rtol=0, atol=1e-3)
    torch.testing.assert_close(
        space.locate(space.mean[None] + space.directions), torch.eye(24), rtol=0, atol=1e-4
    )


def test_boundary_finds_the_attribute_and_holds_another(crowd):
    space = CodeSpace.fit(crowd, 24)
    spots = space.locate(crowd)
    first, second = (fit_boundary(spots, crowd[:, i, j] > 0, 0.003) for i, j in ((1, 2), (2, 3)))
    assert measure_ranking(spots @ first, crowd[:, 1, 2] > 0) > 0.97
    free = find_boundary_step(space, first)
    # One deviation of the attribute, and what goes along with it in the crowd.
    assert free[1, 2].item() == pytest.approx(crowd[:, 1, 2].std().item(), rel=0.15)
    assert free[2, 3].item() == pytest.approx(free[1, 2].item(), rel=0.3)
    for kind in ("population", "plain"):
        held = find_boundary_step(space, first, [second], kind)
        moved = space.locate(space.mean[None] + held)[0]
        assert (moved @ first / first.norm()).item() == pytest.approx(1, abs=1e-3)
        assert (moved @ second / second.norm()).item() == pytest.approx(0, abs=1e-3)
    normal = find_boundary_step(space, first, geometry="plain")
    cosine = normal[1, 2] / normal.norm()
    assert cosine > 0.95
    with pytest.raises(ValueError, match="too much like"):
        find_boundary_step(space, first, [first * 1.0001])
    with pytest.raises(ValueError, match="at least 3"):
        fit_boundary(spots, torch.arange(800) < 2, 0.1)


def test_ranking_quality():
    scores = torch.tensor([0.0, 1.0, 1.0, 2.0])
    assert measure_ranking(scores, torch.tensor([False, False, True, True])) == 0.875
    assert np.isnan(measure_ranking(scores, torch.ones(4, dtype=torch.bool)))


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_run_on_codes_with_labels(crowd, tmp_path):
    rows = [
        {"one": float(c[1, 2]), "two": bool(c[2, 3] > 0) if i % 5 else None, "held_out": i % 4 == 0}
        for i, c in enumerate(crowd)
    ]
    save_file({"w_plus": crowd}, tmp_path / "codes.safetensors")
    arguments = ["--labels", write_rows(tmp_path / "labels.jsonl", rows)]
    arguments += ["--codes", str(tmp_path / "codes.safetensors"), "--output_dir", str(tmp_path / "run")]
    attributes = "{smile: {column: one, share: 0.3, hold: [two], scale: 2}, two: {output: false}}"
    main([*arguments, "--attributes", attributes, "--components", "24"])
    found = StyleDirections.from_pretrained(tmp_path / "run" / "directions")
    assert found.names == ("smile",) and found.directions.shape == (1, 4, 6)
    report = json.loads((tmp_path / "run" / "report.json").read_text())["attributes"]
    assert report["smile"]["auc_held_out"] > 0.97 and report["smile"]["held_out"] > 100
    assert report["two"]["positive"] + report["two"]["negative"] == sum(
        not row["held_out"] and row["two"] is not None for row in rows
    )
    # A second run adds to the first, and moves only the codes it may.
    more = [
        "--add_to",
        str(tmp_path / "run"),
        "--code_range",
        "[1, 2]",
        "--attributes",
        "{other: {column: one, share: 0.3}}",
    ]
    main([*arguments, *more])
    both = StyleDirections.from_pretrained(tmp_path / "run" / "directions")
    assert both.names == ("smile", "other")
    assert torch.equal(both.direction("smile"), found.direction("smile"))
    assert not both.direction("other")[[0, 2, 3]].any() and both.direction("other")[1].any()


def test_run_on_pictures_measures_and_draws(prior, tmp_path):
    torch.manual_seed(0)
    encoder = StyleEncoder(
        sample_size=32,
        num_styles=8,
        stem_channels=8,
        channels=(8, 8, 8, 8),
        num_blocks=(1, 1, 1, 1),
        style_dim=16,
    ).eval()
    prior.save_pretrained(tmp_path / "prior")
    encoder.save_pretrained(tmp_path / "encoder")
    rng, rows = np.random.default_rng(0), []
    (tmp_path / "data").mkdir()
    for index in range(16):
        light = int(rng.integers(30, 220))
        pixels = np.clip(rng.normal(light, 20, (32, 32, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / f"{index}.png")
        rows.append({"file_name": f"{index}.png", "light": light, "held_out": index < 3})
    arguments = ["--prior", str(tmp_path / "prior"), "--encoder", str(tmp_path / "encoder")]
    arguments += ["--data", str(tmp_path / "data"), "--labels", write_rows(tmp_path / "labels.jsonl", rows)]
    arguments += [
        "--attributes",
        "{light: {share: 0.4}}",
        "--components",
        "4",
        "--output_dir",
        str(tmp_path / "run"),
    ]
    main([*arguments, "--measured_faces", "2", "--sheet_faces", "2", "--preview_size", "16"])
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert set(report["in_pictures"]) == {"light"} and np.isfinite(report["in_pictures"]["light"]["light"])
    assert Image.open(tmp_path / "run" / "sheet.png").size == (7 * 16, 2 * 16)
    assert (tmp_path / "run" / "codes.safetensors").is_file()


def test_runs_without_labels(prior, tmp_path):
    prior.save_pretrained(tmp_path / "prior")
    options = ["--prior", str(tmp_path / "prior"), "--count", "3", "--sheet_faces", "0", "--samples", "50"]
    for method, name in (("factorise", "factor_3"), ("pca", "component_3")):
        output = tmp_path / method
        main(["--method", method, "--layers", "[1, 2]", *options, "--output_dir", str(output)])
        found = StyleDirections.from_pretrained(output / "directions")
        assert found.names[-1] == name and found.directions.shape == (3, 8, 16) and found.directions.any()


def test_smaller_preview_is_the_same_network(prior):
    codes = torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(1))
    small = shrink_prior(prior, 16)
    with torch.no_grad():
        features = prior(w_plus=codes, noise="fixed").features
        output = small(w_plus=codes, noise="fixed")
    assert output.image.shape == (1, 3, 16, 16)
    torch.testing.assert_close(output.features[-1], features[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "method must be one of"),
        ({"method": "factorise"}, "needs prior"),
        ({"method": "pca"}, "needs codes"),
        ({"attributes": {"smile": {}}, "labels": "l"}, "codes, or both data and encoder"),
        ({"codes": "c", "labels": "l", "attributes": {"a": {"hold": ["b"]}}}, r"a cannot hold \['b'\]"),
        ({"codes": "c", "labels": "l", "attributes": {"a": {"low": 1}}}, "low and high, or share"),
        ({"codes": "c", "labels": "l", "attributes": {"a": {"share": 0.7}}}, r"0\.\.0\.5"),
        ({"codes": "c", "labels": "l", "attributes": {"a": {"mirror": "turn"}}}, "mirror must be one of"),
    ],
)
def test_options_that_do_not_go(options, message):
    with pytest.raises(ValueError, match=message):
        DirectionsConfig(output_dir="o", **options)


def test_labels_that_do_not_go(crowd, tmp_path):
    save_file({"w_plus": crowd[:20]}, tmp_path / "codes.safetensors")
    arguments = ["--codes", str(tmp_path / "codes.safetensors"), "--output_dir", str(tmp_path / "run")]
    arguments += ["--attributes", "{one: {}}"]
    for rows, message in (
        ([{"one": True}] * 19, "20 codes for 19 rows"),
        ([{"two": True}] * 20, "no row has a value in the column 'one'; columns: two"),
        ([{"one": "yes"}] * 20, "holds 'yes'"),
        ([{"one": True}] * 20, r"attribute 'one': .* at least 3"),
    ):
        with pytest.raises(ValueError, match=message):
            main([*arguments, "--labels", write_rows(tmp_path / "labels.jsonl", rows)])
    (tmp_path / "labels.jsonl").write_text("{one: 1}\n")
    with pytest.raises(ValueError, match="line 1: no JSON"):
        main([*arguments, "--labels", str(tmp_path / "labels.jsonl")])
    assert not (tmp_path / "run").exists()


def test_sides_of_an_attribute():
    values = torch.tensor([0.0, 1.0, float("nan"), 5.0, 9.0])
    positive, used = Attribute(low=1, high=5).split(values)
    assert positive.tolist() == [False, False, False, True, True] and used.tolist() == [
        True,
        True,
        False,
        True,
        True,
    ]
    positive, used = Attribute().split(torch.tensor([0.0, 1.0, float("nan")]))
    assert positive.tolist() == [False, True, False] and used.tolist() == [True, True, False]


# Labels from the files beside the data set


def test_mouth_and_head_in_mesh_points():
    points = np.zeros((468, 2))
    points[10], points[152], points[1] = (50, 0), (50, 100), (50, 55)
    points[[33, 133]], points[[263, 362]] = [(20, 40), (40, 40)], [(80, 40), (60, 40)]
    points[61], points[291] = (35, 70), (65, 70)
    points[13], points[14] = (50, 74), (50, 76)
    shape = measure_geometry(points)
    assert shape["lift"] == pytest.approx(0.05) and shape["width"] == pytest.approx(0.5)
    assert shape["pitch"] == pytest.approx(0.5)


def test_captions():
    assert read_captions("african male | age: wrinkly 70 year old senior", []) == {
        "age": 70,
        "masculine": True,
        "glasses": False,
        "beard": None,
    }
    told = read_captions("woman with long red hair", ["sunglasses"])
    assert told["masculine"] is False and told["glasses"] is True and told["beard"] is False
    assert read_captions("facial_hair: goatee", ["glasses?"])["glasses"] is None
    assert read_captions("man and woman", [])["masculine"] is None


def test_regressed_out():
    rng = np.random.default_rng(0)
    other, own = rng.normal(size=(2, 200))
    left = regress_out(3 * other + own, other[:, None])
    assert abs(np.corrcoef(left, other)[0, 1]) < 1e-9 and np.corrcoef(left, own)[0, 1] > 0.99


def test_labels_of_a_small_data_set(tmp_path):
    (tmp_path / "semantic").mkdir()
    rng, metadata, maps, mesh = np.random.default_rng(0), [], [], {}
    for index in range(6):
        name = f"{'val' if index == 0 else 'train'}-{index}.png".replace("-", "/")
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (256, 256, 3), dtype=np.uint8)).save(tmp_path / name)
        labels = np.ones((256, 256), np.uint8)
        labels[:, :40] = 17
        Image.fromarray(labels).save(tmp_path / "semantic" / f"{index}.png")
        generator = "FLUX1_dev" if index == 5 else "SDXL"
        metadata.append({"file_name": name, "generator": generator, "yaw_deg": 1.0 * index, "label": "man"})
        maps.append({"file_name": name, "semantic": f"semantic/{index}.png", "score": 0.4 + 0.1 * index})
        mesh[name] = rng.uniform(50, 200, (468, 2)).astype(np.float16)
    write_rows(tmp_path / "metadata.jsonl", metadata)
    write_rows(tmp_path / "semantic.jsonl", maps)
    np.savez(tmp_path / "mesh468.npz", **mesh)
    rows = label_faces(tmp_path)
    assert len(rows) == 5 and [row["held_out"] for row in rows] == [True, False, False, False, False]
    assert rows[0]["hair_length"] is None and rows[4]["hair_length"] > 0
    assert all(row["masculine"] is True and np.isfinite(row["smile"]) for row in rows)
