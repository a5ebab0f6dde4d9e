"""Training of the 26-channel style encoder: what it is shown of each modality, and that it learns from it."""

import itertools
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facekit.conditions.sketch import filter_strokes
from facekit.damage.holes import free_form_mask
from facekit.models.face_parser import FaceParser
from facekit.models.style_encoder import StyleEncoder
from tests.train import tiny_stages
from tests.train.tiny_faces import label_maps, tiny_edit_guides
from tests.train.tiny_stages import ENCODER, curve, same, write_config
from train.data.images import read_picture, to_tensor
from train.data.label_maps import LabelFolder, one_hot
from train.data.modalities import (
    EncoderGuidance,
    Guidance,
    ModalityPreparation,
    draw_edit_keep,
    draw_ruled_keep,
)
from train.starts.widen import widen_input
from train.style_encoder.config import StyleEncoderConfig
from train.style_encoder.trainer import StyleEncoderTrainer

train = partial(tiny_stages.run, StyleEncoderTrainer, StyleEncoderConfig)
trainer_of = partial(tiny_stages.make_trainer, StyleEncoderTrainer, StyleEncoderConfig)


@pytest.fixture(scope="module")
def guides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_edit_guides(tmp_path_factory.mktemp("guides"))


@pytest.fixture(scope="module")
def maps(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return label_maps(pictures, tmp_path_factory.mktemp("maps"))


@pytest.fixture
def config(tmp_path: Path, pictures: Path, guides: Path, maps: Path) -> Path:
    options = {
        "prior": str(guides),
        "encoder": ENCODER,
        "modalities": True,
        "guidance.semantics_folder": str(maps),
    }
    losses = {"latent.weight": 0, "progressive.start": 0, "delta_weight": 0}
    losses |= {"pictures.perceptual": "none", "pictures.identity_weight": 0}
    return write_config(tmp_path, pictures, **options, **losses, learning_rate=0.003, size=32)


def test_learns_from_a_teacher_and_from_pictures(tmp_path: Path, config: Path, guides: Path) -> None:
    fixed = {"shots": 2, "flip": False, "optimizer": "adam"}
    alone = {"teacher": str(guides / "teacher"), "l2_weight": 0, "sample_every": 12}
    train(config, tmp_path / "codes", max_steps=12, **fixed, **alone)
    error = curve(tmp_path / "codes", "encoder_teacher")
    assert np.mean(error[-3:]) < 0.7 * np.mean(error[:3])
    assert not curve(tmp_path / "codes", "encoder_l2")
    assert Image.open(tmp_path / "codes" / "samples" / "train-000000012.png").size == (2 * 16, 4 * 16)
    encoder = StyleEncoder.from_pretrained(tmp_path / "codes" / "pipeline" / "style_encoder")
    assert encoder(torch.zeros(1, 26, 32, 32)).shape == (1, 6, 8)
    train(config, tmp_path / "pictures", max_steps=12, **fixed)
    error = curve(tmp_path / "pictures", "encoder_l2")
    assert np.mean(error[-3:]) < np.mean(error[:3])


def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, config: Path, guides: Path) -> None:
    options = {
        "teacher": str(guides / "teacher"),
        "guidance.edit_probability": 0.3,
        "guidance.exemplar_probability": 0.3,
    }
    whole = train(config, tmp_path / "whole", max_steps=3, **options)
    train(config, tmp_path / "parts", max_steps=2, **options)
    assert same(whole, train(config, tmp_path / "parts", max_steps=3, **options))
    assert curve(tmp_path / "parts", "loss_encoder") == curve(tmp_path / "whole", "loss_encoder")


def test_the_teachers_codes_are_the_target(tmp_path: Path, config: Path, guides: Path) -> None:
    trainer = trainer_of(config, tmp_path, teacher=guides / "teacher", l2_weight=0, teacher_weight=3)
    batch = trainer.to_device(next(trainer.batches()))
    trainer.run.step = 1
    loss, terms = trainer._encoder_loss(batch)
    codes = trainer.encoder.network(batch["damaged"])
    difference = (codes - trainer.teacher(batch["image"])).detach().double()
    expected = sum(float(value) ** 2 for value in difference.flatten()) / difference.numel()
    assert terms["teacher"].item() == pytest.approx(expected, rel=1e-5)
    assert loss.item() == pytest.approx(3 * expected, rel=1e-5)


def test_an_rgb_encoder_gets_the_other_channels_without_effect(
    tmp_path: Path, config: Path, guides: Path
) -> None:
    small = StyleEncoder.from_pretrained(guides / "teacher").eval()
    wide = widen_input(small, 26).eval()
    x = torch.randn(2, 26, 32, 32)
    torch.testing.assert_close(wide(x), small(x[:, :3]), rtol=1e-4, atol=1e-5)
    assert widen_input(wide, 26) is wide
    with pytest.raises(ValueError, match="26 channels"):
        widen_input(wide, 3)
    still = train(config, tmp_path / "run", max_steps=1, learning_rate=0, init_from=str(guides / "teacher"))
    assert still["style_encoder.backbone.stem.0.weight"][:, 3:].abs().max() == 0
    moved = train(config, tmp_path / "moved", max_steps=2, init_from=str(guides / "teacher"))
    assert moved["style_encoder.backbone.stem.0.weight"][:, 3:].abs().max() > 0


def test_the_encoder_reads_what_is_kept(tmp_path: Path, config: Path) -> None:
    trainer = trainer_of(config, tmp_path, batch_size=4, **{"guidance.edit_probability": 0.5})
    for raw in itertools.islice(trainer.batches(), 4):
        batch = trainer.to_device(raw)
        keep, seen = batch["keep"].float(), batch["damaged"]
        assert seen.shape == (4, 26, 32, 32)
        parts = dict(
            zip(("image", "sketch", "semantics", "color"), seen.split([3, 1, 19, 3], 1), strict=True)
        )
        whole = {"image": batch["image"], "sketch": batch["sketch"], "color": batch["color"]}
        whole["semantics"] = one_hot(batch["labels"])
        for i, name in enumerate(("image", "sketch", "semantics", "color")):
            assert torch.equal(parts[name], whole[name] * keep[:, i : i + 1]), name


def test_the_trainers_rule() -> None:
    """The ruling modality is shown by CoModGAN's masks, the others by MAT's smaller ones or, half the time, not."""
    options = EncoderGuidance(rule="trainer")
    keeps = np.stack([draw_ruled_keep(options, 256, 2, np.random.default_rng(i)) for i in range(200)])
    shown = keeps.mean((2, 3))
    assert shown[:, 2].mean() == pytest.approx(0.724, abs=0.04)  # the masks' share of 1
    assert 0.4 < (shown[:, [0, 1, 3]] == 0).mean() < 0.6
    given = shown[:, 0][shown[:, 0] > 0]
    assert given.mean() == pytest.approx(0.404, abs=0.06)
    hidden = EncoderGuidance(rule="holes")
    keeps = np.stack([draw_ruled_keep(hidden, 256, 2, np.random.default_rng(i)) for i in range(200)])
    assert (keeps.mean((2, 3))[:, 2] == 1 - shown[:, 2]).all()
    whole = EncoderGuidance(unmasked_probability=0.25)
    share = np.mean([draw_ruled_keep(whole, 128, 0, np.random.default_rng(i))[0].all() for i in range(100)])
    assert 0.12 < share < 0.38


def test_the_encoder_reads_what_algorithm_3_lists(tmp_path: Path, config: Path) -> None:
    """Lines 3 to 12 of the listing, one modality after another."""
    trainer = trainer_of(config, tmp_path, batch_size=4, **{"guidance.rule": "thesis"})
    rulers = []
    for raw in itertools.islice(trainer.batches(), 24):
        batch = trainer.to_device(raw)
        given = [batch["image"], batch["sketch"], one_hot(batch["labels"]), batch["color"]]
        draw = np.random.default_rng([trainer.config.seed, 2, int(batch["position"][0]) // 4])
        r = int(draw.integers(len(given)))
        rulers.append(r)
        mask = batch["keep"][:, r : r + 1].float()
        inputs = []
        for i, modality in enumerate(given):
            inputs.append(mask * modality if i == r else torch.zeros_like(modality))
        assert torch.equal(batch["damaged"], torch.cat(inputs, 1))
        assert (mask.mean((1, 2, 3)) < 1).all(), "a sample without a mask"
    assert {rulers.count(r) > 1 for r in range(4)} == {True}


def test_the_listings_masks_are_those_of_comodgan() -> None:
    options = EncoderGuidance(rule="thesis")
    keeps = np.stack([draw_ruled_keep(options, 256, 1, np.random.default_rng(i)) for i in range(200)])
    assert not keeps[:, [0, 2, 3]].any()
    assert keeps[:, 1].mean() == pytest.approx(0.724, abs=0.04)
    assert (keeps[:, 1].mean((1, 2)) < 1).all()


def test_exemplars_and_edits_among_the_samples(tmp_path: Path, config: Path) -> None:
    trainer = trainer_of(config, tmp_path, batch_size=5, **{"guidance.exemplar_probability": 1})
    keep = next(trainer.batches())["keep"]
    assert keep[:, 0].all() and not keep[:, 1:].any()
    mask = np.zeros((256, 256), np.uint8)
    mask[32:224, 32:224] = 1
    keeps = np.stack([draw_edit_keep(mask, 0.8, np.random.default_rng(i)) for i in range(60)])
    assert (keeps[:, 0] == 1 - mask).all()
    assert not (keeps[:, 1:] * (1 - mask)).any()
    assert 0.7 < (keeps[:, 1:].max((2, 3)) > 0).mean() <= 0.82
    # As line 17 of Algorithm 5 is written: a mask, times the hole.
    literal = draw_edit_keep(mask, 1.0, np.random.default_rng(0), gaps="thesis")
    rng = np.random.default_rng(0)
    for shown in literal[1:]:
        rng.random()
        np.testing.assert_array_equal(shown, free_form_mask(256, rng) * mask)


def test_labels_and_colours_follow_the_picture(pictures: Path, maps: Path) -> None:
    labels = LabelFolder(str(pictures), str(maps))
    flipped = 0
    for position in range(8):
        sample = ModalityPreparation(64, 0, labels=labels)(pictures / "00.png", position)
        found, color = sample["labels"].numpy(), sample["color"]
        assert (found[56:] == 255).all() and (color[:, 56:] == 0).all()
        if torch.equal(sample["image"], to_tensor(np.asarray(read_picture(pictures / "00.png")))):
            assert (found[8:24, 8:24] == 4).all() and (found[:56, 40:] == 17).all()
        else:
            flipped += 1
            assert (found[8:24, 40:56] == 5).all() and (found[:56, :24] == 17).all(), "a right eye now"
        for label in np.unique(found[found != 255]):
            region = found == label
            mean = ((sample["image"].numpy()[:, region] + 1) * 127.5).round().astype(np.float64).mean(1)
            painted = (color.numpy()[:, region] + 1) * 127.5
            np.testing.assert_allclose(painted, np.rint(mean)[:, None].repeat(region.sum(), 1), atol=1e-3)
        assert one_hot(sample["labels"][None]).sum() == (found != 255).sum()
    assert 0 < flipped < 8


def test_which_filter_draws_sketches(tmp_path: Path, config: Path) -> None:
    sketches = {}
    for name in ("pencil", "canny"):
        trainer = trainer_of(
            config, tmp_path / name, **{"guidance.sketch_filter": name, "guidance.thin_sketch": 0}
        )
        batch = next(trainer.batches())
        sketches[name] = batch["sketch"].numpy()
        pixels = ((batch["image"].numpy() + 1) * 127.5).round().astype(np.uint8).transpose(0, 2, 3, 1)
        wanted = np.stack([filter_strokes(np.ascontiguousarray(picture), name) for picture in pixels])
        assert np.array_equal(sketches[name][:, 0], wanted)
    assert not np.array_equal(sketches["pencil"], sketches["canny"])
    with pytest.raises(ValueError, match="sketch_filter"):
        Guidance(sketch_filter="crayon")


def test_without_label_maps(tmp_path: Path, config: Path) -> None:
    trainer = trainer_of(config, tmp_path, **{"guidance.semantics": "none"})
    batch = trainer.to_device(next(trainer.batches()))
    assert batch["damaged"].shape[1] == 26 and not batch["damaged"][:, 4:].any()
    # No batch is ruled by a modality that there is none of.
    strict = trainer_of(config, tmp_path, **{"guidance.semantics": "none", "guidance.rule": "thesis"})
    for batch in itertools.islice(strict.batches(), 12):
        assert batch["keep"][:, :2].amax((2, 3)).sum(1).eq(1).all()


def test_labels_by_a_parser(tmp_path: Path, config: Path) -> None:
    torch.manual_seed(0)
    FaceParser(sample_size=16, channels=(8, 8)).save_pretrained(tmp_path / "parser")
    trainer = trainer_of(
        config,
        tmp_path / "run",
        **{"guidance.semantics": "parser", "guidance.face_parser": tmp_path / "parser"},
    )
    batch = trainer.to_device(next(trainer.batches()))
    wanted = trainer.labeller.parser(batch["image"]).argmax(1)
    assert torch.equal(batch["labels"].long(), wanted)
    region = wanted[0] == wanted[0, 0, 0]
    pixels = (batch["image"][0][:, region] + 1) * 127.5
    painted = (batch["color"][0][:, region] + 1) * 127.5
    torch.testing.assert_close(
        painted, pixels.round().mean(1, keepdim=True).round().expand_as(painted), atol=0.01, rtol=0
    )


def test_settings_that_contradict_are_refused(
    tmp_path: Path, config: Path, guides: Path, pictures: Path, maps: Path
) -> None:
    missing = tmp_path / "missing"
    missing.mkdir()
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    for path in maps.glob("*.png"):
        Image.new("L", (32, 32)).save(wrong / path.name)
    for changes, message in (
        ({"damage": "thesis"}, "damage none"),
        ({"guidance.rule": "mine"}, "thesis, trainer, holes"),
        ({"guidance.rule": "thesis", "guidance.unmasked_probability": 0.25}, "must be 0"),
        ({"guidance.rule": "thesis", "guidance.edit_probability": 0.25}, "guidance.rule trainer or holes"),
        ({"guidance.semantics": "parser"}, "face_parser"),
        ({"guidance.unmasked_probability": 2}, "probability"),
        ({"guidance.exemplar_probability": 0.6, "guidance.edit_probability": 0.6}, "1 at most"),
        ({"guidance.semantics_folder": str(tmp_path / "nowhere")}, "no folder of label maps"),
        ({"guidance.semantics_folder": str(missing)}, "is missing"),
        ({"guidance.semantics_folder": str(wrong)}, "are needed"),
        ({"teacher": str(guides / "style_encoder")}, "must read RGB"),
    ):
        with pytest.raises(ValueError, match=message):
            train(config, tmp_path / "run", **changes)
