"""Semantic maps: classes, palette, one-hot maps and both kinds of parsers."""

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
    UNLABELLED_COLOR,
    label_table,
    labels_from_palette,
    load_parser,
    one_hot,
    paint,
    parse,
)
from facekit.models.face_parser import FaceParser
from tests.parity_data import PARITY

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


def test_painting_and_reading_are_inverse() -> None:
    labels = load_file(PARITY / "facemug" / "encoders.seed0.safetensors")["prep.labels"].astype(np.int16)
    labels[:40, :40] = -1
    picture = paint(labels)
    assert tuple(picture[0, 0]) == UNLABELLED_COLOR
    assert np.array_equal(labels_from_palette(picture), labels)
    assert np.array_equal(labels_from_palette(Image.fromarray(picture)), labels)
    noisy = picture.astype(int) + np.random.default_rng(0).integers(-25, 26, picture.shape)
    assert np.array_equal(labels_from_palette(noisy.clip(0, 255).astype(np.uint8)), labels)


def test_layers_are_read_where_they_are_painted() -> None:
    layer = np.zeros((6, 8, 4), np.uint8)
    layer[1:3, 2:5] = (*PALETTE[17], 255)
    layer[4, 7] = (*PALETTE[0], 1)
    labels = labels_from_palette(layer)
    assert labels.dtype == np.int16
    assert (labels[1:3, 2:5] == 17).all() and labels[4, 7] == 0 and (labels == -1).sum() == 48 - 7
    assert np.array_equal(labels_from_palette(Image.fromarray(layer)), labels)
    assert (labels_from_palette(np.zeros((3, 3, 4), np.uint8)) == -1).all()


def test_unknown_colours_are_refused_with_their_place() -> None:
    picture = np.full((5, 5, 3), 222, np.uint8)
    picture[3, 2] = (128, 128, 128)
    with pytest.raises(ValueError, match=r"\(128, 128, 128\) at x=2, y=3.*hair \(255, 255, 170\)"):
        labels_from_palette(picture)
    assert labels_from_palette(picture, tolerance=255).min() == -1
    for wrong in (np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3), np.float32)):
        with pytest.raises(ValueError, match="8-bit picture"):
            labels_from_palette(wrong)


def test_unknown_labels_are_refused() -> None:
    labels = np.zeros((4, 4), np.uint8)
    labels[1, 3] = 19
    for call in (lambda: paint(labels), lambda: one_hot(torch.from_numpy(labels)[None])):
        with pytest.raises(ValueError, match=r"unknown label 19 at x=3, y=1; known are 0 background, 1 skin"):
            call()
    with pytest.raises(ValueError, match="whole numbers"):
        paint(np.zeros((4, 4), np.float32))
    with pytest.raises(ValueError, match=r"\[B, H, W\]"):
        one_hot(torch.zeros(4, 4, dtype=torch.long))


def test_one_hot_says_nothing_where_unlabelled() -> None:
    labels = torch.tensor([[[-1, 0, 18], [5, -1, 1]]])
    maps = one_hot(labels)
    assert maps.shape == (1, 19, 2, 3) and maps.dtype == torch.float32
    assert torch.equal(maps.sum(1), (labels >= 0).float())
    assert maps[0, 18, 0, 2] == maps[0, 5, 1, 0] == maps[0, 0, 0, 1] == 1
    assert one_hot(labels, torch.bfloat16).dtype == torch.bfloat16


def test_label_numbers_are_mapped_by_name() -> None:
    expected = [0, 1, 10, 6, 4, 5, 2, 3, 7, 8, 11, 12, 13, 17, 18, 9, 15, 14, 16]
    assert label_table(dict(enumerate(SEGFORMER_NAMES))).tolist() == expected
    assert label_table({"0": "skin", "1": "hair"}).tolist() == [1, 17]
    with pytest.raises(ValueError, match="no known class: wall, sky; known classes are background"):
        label_table({0: "wall", 1: "sky", 2: "skin"})
    with pytest.raises(ValueError, match="gaps"):
        label_table({0: "skin", 2: "hair"})


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
