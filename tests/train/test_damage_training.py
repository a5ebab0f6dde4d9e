"""The damage finder's training on tiny pictures: it learns, resumes exactly, and its samples and scores are right."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.data import astronaut

from facekit.damage.wear import HIDDEN, KINDS
from facekit.images.photo import scale_photo
from facekit.models.damage_finder import DamageFinder
from tests.train import tiny_stages
from tests.train.tiny_stages import curve, make_trainer, same, write_config
from train.damage.config import DamageConfig
from train.damage.data import DECOYS, DamagePreparation, draw_decoy, fit_labels
from train.damage.trainer import DamageTrainer, dice_loss
from train.damage.validation import THRESHOLDS, count_agreement

train = partial(tiny_stages.run, DamageTrainer, DamageConfig)
FINDER = {"channels": [8, 12, 16], "depths": [0, 1, 1], "working_side": 96}
EASY = {"aged": 0.0, "decoys": 0.0, "undamaged": 0.2, "amount": [1.0, 2.0], "average.decay": 0.8}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pieces of the astronaut of three sizes, one of them gray."""
    root = tmp_path_factory.mktemp("photos")
    photo = Image.fromarray(astronaut())
    photo.resize((96, 96)).save(root / "a.png")
    photo.crop((100, 0, 300, 260)).resize((100, 130)).save(root / "b.png")
    photo.crop((0, 200, 250, 450)).resize((80, 80)).convert("L").save(root / "c.png")
    return root


@pytest.fixture
def yaml(tmp_path: Path, photos: Path) -> Path:
    return write_config(tmp_path, photos, finder=FINDER, size=48, batch_size=4)


def config_of(photos: Path, **options: Any) -> DamageConfig:
    return DamageConfig(data=str(photos), output_dir="unused", max_steps=4, size=48, **options)


def read(photos: Path) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(photos.glob("*.png"))]


def test_learns_and_writes_a_finder(tmp_path: Path, yaml: Path) -> None:
    """On photos of plain walls, where anything else is damage."""
    output, walls = tmp_path / "run", tmp_path / "walls"
    walls.mkdir()
    for shade in (90, 120, 150):
        Image.new("RGB", (96, 96), (shade, shade, shade)).save(walls / f"{shade}.png")
    scoring = {"validation.data": str(walls), "validation.split": "train", "validation.images": 2}
    train(
        yaml,
        output,
        data=str(walls),
        max_steps=60,
        learning_rate=0.02,
        batch_size=6,
        sample_every=60,
        **EASY,
        **scoring,
        **{"validation.every": 60},
    )
    assert np.mean(curve(output, "loss")[-8:]) < 0.7 * np.mean(curve(output, "loss")[:5])
    finder = DamageFinder.from_pretrained(output / "pipeline")
    assert finder.config.threshold in THRESHOLDS.tolist()
    assert finder.config.threshold == pytest.approx(curve(output, "validation_threshold")[-1])
    assert 0.5 < curve(output, "validation_f1")[-1] <= 1
    assert 0 <= curve(output, "validation_recall_stain")[-1] <= 1
    assert (output / "best" / "config.json").is_file()
    assert Image.open(output / "samples" / "train-000000060.png").size == (6 * 48, 3 * 48)
    assert Image.open(output / "samples" / "validation-000000060.png").size == (2 * 256, 3 * 256)


def test_a_restart_changes_nothing(tmp_path: Path, yaml: Path) -> None:
    def weights(output: Path) -> dict[str, torch.Tensor]:
        return DamageFinder.from_pretrained(output / "pipeline").state_dict()

    train(yaml, tmp_path / "whole", max_steps=4)
    options = {"checkpoint_every": 2, "max_steps": 4}
    train(yaml, tmp_path / "halves", **options, max_minutes=0.0)  # out of time after each step
    assert curve(tmp_path / "halves", "loss") != curve(tmp_path / "whole", "loss")
    for _ in range(3):
        train(yaml, tmp_path / "halves", **options, max_minutes=0.0)
    assert curve(tmp_path / "halves", "loss") == curve(tmp_path / "whole", "loss")
    assert same(weights(tmp_path / "halves"), weights(tmp_path / "whole"))
    train(yaml, tmp_path / "further", max_steps=1, init_from=str(tmp_path / "whole" / "pipeline"))
    with pytest.raises(ValueError, match="size must be a multiple of 8"):
        train(yaml, tmp_path / "other", max_steps=1, size=50)


def test_samples_are_pieces_with_their_damage(photos: Path) -> None:
    prepare = DamagePreparation(config_of(photos), 96)
    pictures = read(photos)
    samples = [prepare(pictures[i % 3], i) for i in range(40)]
    for i, sample in enumerate(samples):
        assert sample["image"].shape == (3, 48, 48) and sample["image"].abs().max() <= 1
        assert sample["labels"].shape == (48, 48) and sample["labels"].dtype == torch.int64
        assert torch.equal(sample["image"], prepare(pictures[i % 3], i)["image"])
    seen = torch.cat([sample["labels"].unique() for sample in samples]).unique().tolist()
    assert seen == list(range(-1, 1 + len(KINDS)))
    undamaged = sum(not sample["labels"].any() for sample in samples)
    assert 5 < undamaged < 25


def test_samples_without_damage_are_the_photo(photos: Path) -> None:
    still = config_of(photos, undamaged=1.0, aged=0.0, decoys=0.0, flip=False, zoom=(0.5, 0.5))
    picture = read(photos)[0]
    for i in range(8):
        sample = DamagePreparation(still, 96)(picture, i)
        assert not sample["labels"].any()
        small = np.asarray(picture.resize((48, 48), Image.Resampling.BOX)).astype(float)
        pixels = (sample["image"].permute(1, 2, 0).numpy() + 1) * 127.5
        assert np.abs(pixels - small).mean() < 8


def test_thin_lines_stay_in_smaller_labels() -> None:
    labels = np.zeros((96, 96), np.uint8)
    labels[41] = 3
    small = fit_labels(labels, 48)
    assert small.shape == (48, 48) and (small == 3).any(0).all()
    assert fit_labels(labels, 96) is labels
    assert set(np.unique(fit_labels(labels, 192))) == {0, 3}
    labels[42] = HIDDEN  # does not hide what can be seen beside it
    small = fit_labels(labels, 48)
    assert (small == 3).any(0).all() and set(np.unique(small)) <= {0, 3, HIDDEN}


@pytest.mark.parametrize("draw", DECOYS, ids=lambda draw: draw.__name__.removeprefix("_draw_"))
def test_decoys_are_drawn_in_part_of_the_picture(draw: Any) -> None:
    changed = []
    for seed in range(20):
        pixels = np.full((64, 64, 3), 100, np.uint8)
        draw(pixels, np.random.default_rng(seed))
        again = np.full((64, 64, 3), 100, np.uint8)
        draw(again, np.random.default_rng(seed))
        assert np.array_equal(pixels, again)
        changed.append((pixels != 100).any(2).mean())
    assert np.mean(np.array(changed) > 0) > 0.6 and np.mean(changed) < 0.7


def test_decoys_leave_the_photo_as_it_was() -> None:
    pixels = np.full((64, 64, 3), 100, np.uint8)
    assert any((draw_decoy(pixels, np.random.default_rng(i)) != 100).any() for i in range(5))
    assert (pixels == 100).all()


def test_dice_counts_what_counts() -> None:
    truth = torch.zeros(1, 4, 4)
    truth[0, 0] = 1
    everything = torch.ones(1, 4, 4)
    assert dice_loss(truth, truth, everything) == 0
    assert dice_loss(1 - truth, truth, everything) == 1
    assert dice_loss(everything, truth, everything).item() == pytest.approx(1 - 2 * 4 / 20)
    assert dice_loss(everything, truth, truth) == 0


def test_agreement_is_counted_by_kind() -> None:
    labels, found = np.zeros((12, 30), np.uint8), np.zeros((12, 30), bool)
    labels[:, 5], labels[:, 20] = 1, 5
    found[:, 6] = found[:, 12] = True
    found[:, 25], labels[:, 25] = True, HIDDEN
    counts = count_agreement(found, found[:, :10], labels).tolist()
    assert counts == [24, 12, 12, 120, 12, 0, 0, 0, 12, 12, 0, 0, 0, 0]


def test_the_threshold_marks_little_that_is_undamaged(tmp_path: Path, photos: Path, yaml: Path) -> None:
    trainer = make_trainer(
        DamageTrainer,
        DamageConfig,
        yaml,
        tmp_path / "run",
        **{"validation.data": str(photos)},
        **{"validation.split": "train"},
    )
    validation = trainer.build_validation()
    assert validation is not None
    table = torch.zeros(len(THRESHOLDS), 14)
    table[:, 3] = 10_000
    table[:, 4], table[:, 9] = 100, torch.linspace(100, 30, len(THRESHOLDS))
    table[:, 0], table[:, 1] = 100, 90
    table[:, 2] = torch.linspace(60, 2, len(THRESHOLDS))
    scores = validation.choose(table)
    first = int((table[:, 2] <= 20).nonzero()[0])
    assert scores["threshold"] == THRESHOLDS[first] and scores["false_share"] <= 0.002
    assert (
        scores["recall_scratch"] == pytest.approx(scores["recall"], rel=0.01) and scores["recall_dust"] == 0
    )
    table[:, 2] += 100
    assert validation.choose(table)["threshold"] == THRESHOLDS[-1]


def test_photos_are_scaled_by_their_shorter_side() -> None:
    photo = np.zeros((30, 50, 3), np.uint8)
    assert scale_photo(photo, 60).shape == (60, 100, 3) and scale_photo(photo, 15).shape == (15, 25, 3)


def test_the_rate_follows_the_clock_where_minutes_are_few(tmp_path: Path, yaml: Path) -> None:
    trainer = make_trainer(
        DamageTrainer, DamageConfig, yaml, tmp_path / "run", max_steps=1000, total_minutes=10, warm_up=0.1
    )
    rates = []
    for trainer.run.step, trainer.run.minutes in ((100, 0.0), (550, 0.0), (100, 5.5), (101, 10.0)):
        rates.append(trainer.find_learning_rate() / trainer.config.learning_rate)
    assert rates == pytest.approx([1, 0.5, 0.5, 0], abs=1e-6)


def test_wrong_options_are_refused(photos: Path) -> None:
    wrong: list[dict[str, Any]] = [
        {"damage": "thesis"},
        {"aged": 1.5},
        {"warm_up": 0.0},
        {"zoom": (2.0, 1.0)},
        {"strokes": (0.0, 1.0)},
        {"kind_weights": {"none": 1.0, "rust": 1.0}},
    ]
    for options in wrong:
        with pytest.raises(ValueError):
            config_of(photos, **options)
