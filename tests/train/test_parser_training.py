"""The parser's training on tiny pictures: it learns, resumes exactly, and moves pictures and maps together."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate.state import AcceleratorState
from PIL import Image

from facekit.conditions.semantics import CLASS_NAMES, PALETTE, paint
from facekit.models.face_parser import FaceParser
from tests.train import tiny_stages
from tests.train.tiny_stages import curve, same, write_config
from train.engine.config import read_config
from train.parser.config import ParserConfig
from train.parser.data import (
    PairPreparation,
    PairSource,
    find_map,
    find_place,
    mirror,
    recolour,
    soften,
    weigh_classes,
)
from train.parser.trainer import ParserTrainer, dice_loss, find_rate_share
from train.parser.validation import count_confusion, measure_groups

train = partial(tiny_stages.run, ParserTrainer, ParserConfig)
PARSER = {"sample_size": 32, "channels": [8, 16, 16]}
STILL = {"flip": False, "scale": 1.0, "turn": 0.0, "shift": 0.0, "colour": 0.0, "blur": 0.0}


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine pictures in the colours of their maps: hair round skin with two eyes, at different places."""
    root = tmp_path_factory.mktemp("faces")
    rng, rows, scores = np.random.default_rng(0), [], []
    for part in ("train", "semantic/train"):
        (root / part).mkdir(parents=True)
    for i in range(9):
        labels = np.zeros((64, 64), np.uint8)
        y, x = rng.integers(0, 12, 2)
        labels[y + 8 : y + 44, x + 8 : x + 44] = 17
        labels[y + 16 : y + 44, x + 14 : x + 38] = 1
        labels[y + 24 : y + 29, x + 16 : x + 23] = 4
        labels[y + 24 : y + 29, x + 29 : x + 36] = 5
        labels[63, 63] = 255  # unlabelled
        Image.fromarray(labels).save(root / "semantic" / "train" / f"{i}.png")
        picture = paint(np.where(labels == 255, -1, labels.astype(int)))
        Image.fromarray(picture).save(root / "train" / f"{i}.png")
        rows.append({"file_name": f"{i}.png", "kind": "odd" if i % 2 else "even"})
        scores.append({"file_name": f"train/{i}.png", "score": 0.2 if i == 8 else 0.6 + 0.05 * i})
    (root / "train" / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (root / "semantic.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scores))
    (root / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: train/**\n---\n"
    )
    return root


def config_of(faces: Path, **options: Any) -> ParserConfig:
    return ParserConfig(data=str(faces), output_dir="unused", max_steps=4, **options)


def source_of(faces: Path, **options: Any) -> PairSource:
    config = config_of(faces, **options)
    return PairSource(config, config.data, config.split, config.exclude)


@pytest.fixture
def yaml(tmp_path: Path, faces: Path) -> Path:
    return write_config(tmp_path, faces, parser=PARSER, batch_size=4)


def test_learns_and_writes_a_parser(tmp_path: Path, faces: Path, yaml: Path) -> None:
    output = tmp_path / "run"
    scoring = {"validation.data": str(faces), "validation.split": "train", "validation.every": 40}
    train(yaml, output, max_steps=40, learning_rate=0.02, sample_every=40, **STILL, **scoring)
    assert np.mean(curve(output, "loss")[-5:]) < 0.4 * np.mean(curve(output, "loss")[:5])
    for name in ("background", "skin", "hair"):
        assert curve(output, f"validation_{name}")[-1] > 0.75
    assert curve(output, "validation_miou")[-1] > 0.6
    assert "validation_nose" not in (output / "curves.jsonl").read_text()  # no map has one
    parser = FaceParser.from_pretrained(output / "pipeline")
    image = (
        torch.from_numpy(np.array(Image.open(faces / "train" / "3.png"))).permute(2, 0, 1)[None] / 127.5 - 1
    )
    truth = np.array(Image.open(faces / "semantic" / "train" / "3.png"))
    with torch.no_grad():
        assert (parser(image)[0].argmax(0).numpy() == truth).mean() > 0.9
    assert (output / "best" / "config.json").is_file()
    assert Image.open(output / "samples" / "train-000000040.png").size == (4 * 32, 3 * 32)
    assert Image.open(output / "samples" / "validation-000000040.png").size == (8 * 256, 3 * 256)


def test_a_restart_changes_nothing(tmp_path: Path, yaml: Path) -> None:
    def weights(output: Path) -> dict[str, torch.Tensor]:
        return FaceParser.from_pretrained(output / "pipeline").state_dict()

    train(yaml, tmp_path / "whole", max_steps=4)
    options = {"checkpoint_every": 2, "max_steps": 4}
    train(yaml, tmp_path / "halves", **options, max_minutes=0.0)  # out of time after each step
    assert curve(tmp_path / "halves", "loss") != curve(tmp_path / "whole", "loss")
    for _ in range(3):
        train(yaml, tmp_path / "halves", **options, max_minutes=0.0)
    assert curve(tmp_path / "halves", "loss") == curve(tmp_path / "whole", "loss")
    assert same(weights(tmp_path / "halves"), weights(tmp_path / "whole"))
    train(yaml, tmp_path / "further", max_steps=1, init_from=str(tmp_path / "whole" / "pipeline"))
    with pytest.raises(ValueError, match="must have 19 classes"):
        train(yaml, tmp_path / "other", max_steps=1, parser=PARSER | {"num_classes": 5})


def test_bad_maps_and_excluded_pictures_are_left_out(faces: Path) -> None:
    source = source_of(faces)
    assert len(source) == 8 and source.pairs[1].score == pytest.approx(0.65)
    assert len(source_of(faces, min_score=0.0)) == 9
    assert len(source_of(faces, scores="none")) == 9 and source_of(faces, scores="none").pairs[8].score == 1
    assert len(source_of(faces, exclude={"kind": ["odd"]})) == 4
    with pytest.raises(ValueError, match=r"has a score of 0.99 or more"):
        source_of(faces, min_score=0.99)
    with pytest.raises(OSError, match="no label map"):
        source_of(faces, labels=str(faces / "nowhere"))


def test_maps_are_found_by_path_or_name(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    for name in ("train/a.png", "b.png"):
        (tmp_path / name).touch()
    assert find_map(tmp_path, Path("train/a.jpg")) == tmp_path / "train" / "a.png"
    assert find_map(tmp_path, Path("train/b.jpg")) == tmp_path / "b.png"


def test_pictures_are_found_in_a_moved_folder(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.png").touch()
    for known in (tmp_path / "train" / "a.png", Path("/gone/train/a.png").absolute()):
        assert find_place(tmp_path, known) == Path("train/a.png")
    with pytest.raises(OSError, match="is not in"):
        find_place(tmp_path, Path("/gone/train/b.png"))


def test_a_map_of_another_size_is_refused(tmp_path: Path, faces: Path) -> None:
    pair = source_of(faces).pairs[0]
    pair.labels = tmp_path / "map.png"
    for wrong in (Image.new("L", (32, 32)), Image.new("RGB", (64, 64))):
        wrong.save(pair.labels)
        with pytest.raises(ValueError, match="its picture's size"):
            pair.read()


def test_pictures_and_maps_move_together(faces: Path) -> None:
    """The pictures have the colours of their maps, so that each says what the other must be."""
    source = source_of(faces)
    for size in (32, 64):
        prepare = PairPreparation(
            size, config_of(faces, colour=0.0, blur=0.0, scale=1.5, turn=40.0, shift=0.2)
        )
        for position in range(8):
            sample = prepare(source.pairs[position], position)
            image, labels = sample["image"], sample["labels"].numpy()
            assert image.shape == (3, size, size) and labels.shape == (size, size)
            pixels = ((image.permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(int)
            known = labels >= 0
            distance = np.abs(pixels[:, :, None] - np.array(PALETTE)).max(3).argmin(2)
            # A mirrored picture keeps its colours, not its sides.
            mirrored = np.where(np.isin(distance, (4, 5)), 9 - distance, distance)
            right = max((labels == found)[known].mean() for found in (distance, mirrored))
            assert right > 0.85 and known.mean() > 0.4


def test_still_samples_are_the_pictures(faces: Path) -> None:
    pair = source_of(faces).pairs[2]
    sample = PairPreparation(64, config_of(faces, **STILL))(pair, 0)
    pixels, labels = pair.read()
    assert np.array_equal(sample["labels"].numpy(), labels) and labels[63, 63] == -1
    assert (
        np.abs((sample["image"].permute(1, 2, 0).numpy() + 1) * 127.5 - pixels).mean() < 12
    )  # doubled and halved
    assert sample["score"] == np.float32(pair.score)


def test_mirror_exchanges_sides() -> None:
    labels = np.array([[-1, 2, 4, 7, 10, 17]], np.int16)
    pixels = np.arange(18, dtype=np.uint8).reshape(1, 6, 3)
    flipped, mapped = mirror(pixels, labels)
    assert mapped.tolist() == [[17, 10, 8, 5, 3, -1]]
    assert np.array_equal(flipped[0, 0], pixels[0, 5])


def test_colours_change_within_bounds() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert np.abs(recolour(pixels, np.random.default_rng(1), 0.0).astype(int) - pixels).max() <= 1
    changed = [recolour(pixels, np.random.default_rng(i), 1.0).astype(int) for i in range(4)]
    assert all(10 < np.abs(one - pixels).mean() < 120 for one in changed)
    assert soften(pixels, np.random.default_rng(0)).std() < pixels.std()


def test_weights_favour_small_classes(faces: Path) -> None:
    source = source_of(faces)
    weights = weigh_classes(source, 0.5, 6.0)
    assert weights[0] < weights[17] < weights[4]
    assert weights.max() / weights[0] == pytest.approx(6.0)
    assert weigh_classes(source, 0.0, 6.0).tolist() == pytest.approx([1.0] * 19, rel=1e-4)


def test_finished_parser_takes_weights_back(tmp_path: Path, yaml: Path) -> None:
    argv = ["--config", str(yaml), "--output_dir", str(tmp_path / "run"), "--correction"]
    image = torch.rand(1, 3, 32, 32)
    found = []
    for correction in ("0", "1"):
        AcceleratorState._reset_state(reset_partial_state=True)
        trainer = ParserTrainer(read_config(ParserConfig, [*argv, correction]))
        with torch.no_grad():
            found.append(trainer.finish()(image))
    gap = trainer.weights.log()[None, :, None, None].expand_as(image[:, :1].expand(-1, 19, -1, -1))
    assert torch.allclose(found[0] - found[1], gap, atol=1e-5) and gap.std() > 0.1


def test_dice_against_a_plain_loop() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 4, 5, 5), torch.randint(-1, 3, (2, 5, 5))
    chance = logits.softmax(1)
    for i, loss in enumerate(dice_loss(logits, labels)):
        each = []
        for label in range(3):
            both = total = 0.0
            for y in range(5):
                for x in range(5):
                    if labels[i, y, x] >= 0:
                        is_it = float(labels[i, y, x] == label)
                        both += chance[i, label, y, x].item() * is_it
                        total += chance[i, label, y, x].item() + is_it
            each.append(1 - 2 * both / total)
        assert loss.item() == pytest.approx(np.mean(each), rel=1e-4)
    perfect = 50.0 * F.one_hot(labels.clamp_min(0), 4).movedim(3, 1).float()
    assert dice_loss(perfect, labels).max() < 1e-4


def test_learning_rate_makes_one_cycle() -> None:
    rates = [find_rate_share(step, 100, 0.2) for step in range(1, 101)]
    assert max(rates) == rates[19] == 1 and rates[0] < 0.1 and rates[-1] == pytest.approx(0)
    assert rates[:20] == sorted(rates[:20]) and rates[20:] == sorted(rates[20:], reverse=True)


def test_intersection_over_union_counts_groups_together() -> None:
    names = {name: i for i, name in enumerate(CLASS_NAMES)}
    labels = torch.tensor([names["l_eye"], names["r_eye"], names["skin"], names["hair"], -1])
    predicted = torch.tensor([names["r_eye"], names["skin"], names["skin"], names["hair"], names["nose"]])
    ious = measure_groups(count_confusion(predicted, labels))
    assert ious == pytest.approx({"eyes": 1 / 2, "skin": 1 / 2, "hair": 1.0, "miou": 2 / 3})


def test_wrong_options_are_refused(faces: Path) -> None:
    wrong = [{"streaming": True}, {"damage": "thesis"}, {"min_score": 2.0}, {"warm_up": 0.0}, {"scale": 0.5}]
    for options in wrong:
        with pytest.raises(ValueError):
            config_of(faces, **options)
