"""Semantic maps: classes, palette, maps that were drawn, and both kinds of parsers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from transformers import SegformerConfig, SegformerForSemanticSegmentation

from facekit.conditions import semantics
from facekit.conditions.semantics import (
    CLASS_NAMES,
    MIRRORED,
    PALETTE,
    PALETTE_TOLERANCE,
    UNLABELLED,
    UNLABELLED_COLOR,
    SemanticsInput,
    load_parser,
    make_label_table,
    match_palette,
    paint,
    parse,
    read_semantics,
)
from facekit.models.face_parser import FaceParser
from tests.helpers.parity_data import PARITY

# The labels of jonathandinu/face-parsing: the order of CelebAMask-HQ's own list.
SEGFORMER_NAMES = (
    "background skin nose eye_g l_eye r_eye l_brow r_brow l_ear r_ear mouth u_lip l_lip hair hat ear_r neck_l "
    "neck cloth"
).split()


def tiny_segformer(names: list[str]) -> SegformerForSemanticSegmentation:
    torch.manual_seed(0)
    config = SegformerConfig(
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 1, 1],
        decoder_hidden_size=8,
        id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
    )
    return SegformerForSemanticSegmentation(config).eval()


def test_classes_have_colours_and_mirror_images() -> None:
    assert len(CLASS_NAMES) == len(PALETTE) == len(MIRRORED) == len(set(PALETTE)) == 19
    assert [MIRRORED[i] for i in MIRRORED] == list(range(19))
    for name, other in zip(CLASS_NAMES, MIRRORED, strict=True):
        sided = name in ("l_brow", "r_brow", "l_eye", "r_eye", "l_ear", "r_ear")
        swapped = {"l": "r", "r": "l"}[name[0]] + name[1:] if sided else name
        assert CLASS_NAMES[other] == swapped


def test_preview_against_the_reference(shared_dir: Path) -> None:
    stored = load_file(shared_dir / "parity" / "facemug" / "golden.seed0.safetensors")
    assert np.array_equal(paint(stored["prep.labels"]), stored["prep.labels_visualised"])


def read(given: SemanticsInput, size: tuple[int, int] | None = None) -> tuple[np.ndarray, list[str]]:
    """A map as of a photo of `size`, by default its own."""
    width, height = size or (given.size if isinstance(given, Image.Image) else given.shape[1::-1])
    return read_semantics(given, (width, height), np.zeros((height, width), bool))


def test_painting_and_reading_are_inverse() -> None:
    labels = load_file(PARITY / "facemug" / "encoders.seed0.safetensors")["prep.labels"].copy()
    labels[:40, :40] = UNLABELLED
    picture = paint(labels)
    assert tuple(picture[0, 0]) == UNLABELLED_COLOR
    assert np.array_equal(paint(np.where(labels == UNLABELLED, -1, labels.astype(int))), picture)
    noisy = picture.astype(int) + np.random.default_rng(0).integers(-25, 26, picture.shape)
    for given in (picture, Image.fromarray(picture), noisy.clip(0, 255).astype(np.uint8)):
        found, notes = read(given)
        assert found.dtype == np.uint8 and not notes
        assert np.array_equal(found, labels)


def test_layers_are_read_where_they_are_painted() -> None:
    layer = np.zeros((6, 8, 4), np.uint8)
    layer[1:3, 2:5] = (*PALETTE[17], 255)
    layer[4, 7] = (*PALETTE[0], 1)
    labels, _ = read(layer)
    assert (labels[1:3, 2:5] == 17).all() and labels[4, 7] == 0 and (labels == UNLABELLED).sum() == 48 - 7
    assert np.array_equal(read(Image.fromarray(layer))[0], labels)
    assert (read(np.zeros((3, 3, 4), np.uint8))[0] == UNLABELLED).all()
    numbers = np.dstack([np.where(labels == UNLABELLED, 0, labels), layer[..., 3]]).astype(np.uint8)
    for given in (numbers, Image.fromarray(numbers, "LA")):
        assert np.array_equal(read(given)[0], labels)


def test_a_transparent_colour_of_a_file_says_nothing(tmp_path: Path) -> None:
    picture = np.full((20, 30, 3), PALETTE[17], np.uint8)
    picture[:, :10] = 1
    Image.fromarray(picture).save(tmp_path / "map.png", transparency=(1, 1, 1))
    labels, notes = read_semantics(tmp_path / "map.png", (30, 20), np.zeros((20, 30), bool))
    assert (labels[:, :10] == UNLABELLED).all() and (labels[:, 10:] == 17).all() and not notes


def test_maps_are_resized_by_their_nearest_pixels() -> None:
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    large, notes = read(labels, (8, 6))
    assert np.array_equal(large, labels.repeat(2, 0).repeat(2, 1))
    assert notes == ["semantics of 4x3 was resized to the photo's 8x6"]
    with pytest.raises(
        ValueError, match=r"semantics is 4x3 and the photo 3x4: the shapes differ.*turned by 90"
    ):
        read(labels, (3, 4))


def test_few_unknown_colours_say_nothing_and_many_are_refused_with_their_place() -> None:
    picture = np.full((10, 10, 3), PALETTE[1], np.uint8)
    picture[3, 2] = (128, 128, 128)
    labels, notes = read(picture)
    assert labels[3, 2] == UNLABELLED and (labels == 1).sum() == 99
    assert notes == ["1.0% of semantics shows blended colours and says nothing"]
    picture[3, 2:5] = (128, 128, 128)
    with pytest.raises(
        ValueError, match=r"^3% .* example \(128, 128, 128\) at x=2, y=3\..*hair \(255, 255, 170\)"
    ):
        read(picture)
    with pytest.raises(ValueError, match=r"float32 \[5, 5, 3\]; expected labels"):
        read(np.zeros((5, 5, 3), np.float32))


def test_colours_are_told_apart_by_less_than_half_of_what_parts_them() -> None:
    labels, strange = match_palette(np.array([[213, 42, 42], [212, 43, 43]], np.uint8))
    assert labels.tolist() == [0, UNLABELLED] and strange.tolist() == [False, True]
    labels, strange = match_palette(np.array([[UNLABELLED_COLOR]], np.uint8))
    assert labels.tolist() == [[UNLABELLED]] and not strange.any()
    palette = np.array(PALETTE, int)
    apart = np.abs(palette[:, None] - palette).max(2) + 255 * np.eye(19, dtype=int)
    assert apart.min() > 2 * PALETTE_TOLERANCE >= apart.min() - 2


def test_unknown_labels_are_refused() -> None:
    labels = np.zeros((4, 4), np.uint8)
    labels[1, 3] = 19
    for call in (paint, read):
        with pytest.raises(
            ValueError, match=r"unknown labels \(19\)\. Known are 0 background, 1 .*at x=3, y=1"
        ):
            call(labels)
    with pytest.raises(ValueError, match="whole numbers"):
        paint(np.zeros((4, 4), np.float32))


def test_label_numbers_are_mapped_by_name() -> None:
    expected = [0, 1, 10, 6, 4, 5, 2, 3, 7, 8, 11, 12, 13, 17, 18, 9, 15, 14, 16]
    assert make_label_table(dict(enumerate(SEGFORMER_NAMES))).tolist() == expected
    assert make_label_table({"0": "skin", "1": "hair"}).tolist() == [1, 17]
    with pytest.raises(ValueError, match="no known class: wall, sky; known classes are background"):
        make_label_table({0: "wall", 1: "sky", 2: "skin"})
    with pytest.raises(ValueError, match="gaps"):
        make_label_table({0: "skin", 2: "hair"})


def test_segformer_gives_our_classes() -> None:
    parser = tiny_segformer(SEGFORMER_NAMES)
    images = torch.rand(3, 3, 64, 64) * 2 - 1
    labels = parse(parser, images, batch_size=2)
    assert labels.shape == (3, 64, 64) and labels.dtype == torch.int64
    with torch.no_grad():
        # ImageNet's normalisation, written out.
        large = torch.nn.functional.interpolate(images, (512, 512), mode="bilinear", antialias=True)
        mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        logits = parser(((large + 1) / 2 - mean) / std).logits
    assert logits.shape == (3, 19, 128, 128)
    theirs = torch.nn.functional.interpolate(logits, (64, 64), mode="bilinear").argmax(1)
    named = np.array([CLASS_NAMES.index(name) for name in SEGFORMER_NAMES])
    assert np.array_equal(labels.numpy(), named[theirs.numpy()])
    assert len(labels.unique()) > 1
    with pytest.raises(ValueError, match="no known class: LABEL_1"):
        parse(tiny_segformer(["skin", "LABEL_1"]), images)


def test_face_parser_gives_its_best_class() -> None:
    torch.manual_seed(0)
    parser = FaceParser(sample_size=16, channels=(4, 8)).eval()
    images = torch.rand(3, 3, 32, 32) * 2 - 1
    labels = parse(parser, images, batch_size=2)
    with torch.no_grad():
        assert torch.equal(labels, parser(images).argmax(1))
    assert parse(parser, images[:0]).shape == (0, 32, 32)
    with pytest.raises(ValueError, match=r"\[B, 3, H, W\]"):
        parse(parser, images[0])


def test_both_kinds_are_loaded_from_folders(tmp_path: Path) -> None:
    FaceParser(sample_size=16, channels=(4, 8)).save_pretrained(tmp_path / "ours")
    tiny_segformer(SEGFORMER_NAMES).save_pretrained(tmp_path / "theirs")
    tiny_segformer(["skin", "LABEL_1"]).save_pretrained(tmp_path / "scenes")
    ours, theirs = load_parser(str(tmp_path / "ours")), load_parser(str(tmp_path / "theirs"))
    assert isinstance(ours, FaceParser) and isinstance(theirs, SegformerForSemanticSegmentation)
    assert not ours.training and not theirs.training
    assert parse(theirs, torch.zeros(1, 3, 32, 32)).shape == (1, 32, 32)
    with pytest.raises(ValueError, match="no known class: LABEL_1"):
        load_parser(str(tmp_path / "scenes"))
    with pytest.raises(OSError):
        load_parser(str(tmp_path / "nothing"))


def test_starter_parses_where_the_published_parser_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(semantics, "NETWORKED_PARSER", str(tmp_path / "absent"))
    parser = load_parser()
    assert isinstance(parser, FaceParser) and "starter" in caplog.text
    tiny_segformer(SEGFORMER_NAMES).save_pretrained(tmp_path / "present")
    monkeypatch.setattr(semantics, "NETWORKED_PARSER", str(tmp_path / "present"))
    assert isinstance(load_parser(), SegformerForSemanticSegmentation)
