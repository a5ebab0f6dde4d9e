"""The order of training samples: fixed by the seed, shared without overlap, the same after a restart."""

import io
import tarfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from train.augment import diff_augment, parse_policy
from train.data import ImageSource, Positions, Preparation, fit_square, training_batches


def batches(folder: object, count: int, **options: object) -> list[dict[str, torch.Tensor]]:
    source = ImageSource(str(folder))
    return list(islice(training_batches(source, Preparation(64, 3), batch_size=2, **options), count))  # type: ignore[arg-type]


def test_two_processes_share_what_one_would_see(pictures: Path) -> None:
    alone = torch.cat([b["image"] for b in batches(pictures, 6)])
    first, second = (batches(pictures, 3, rank=rank, world=2) for rank in (0, 1))
    joined = torch.cat([torch.cat([a["image"], b["image"]]) for a, b in zip(first, second, strict=True)])
    assert torch.equal(alone, joined)
    seen = [set(torch.cat([b["position"] for b in part]).tolist()) for part in (first, second)]
    assert not seen[0] & seen[1]
    assert seen[0] | seen[1] == set(range(12))


def test_restart_goes_on_with_the_next_sample(pictures: Path) -> None:
    whole = batches(pictures, 5)
    rest = batches(pictures, 2, start=6)
    for a, b in zip(whole[3:], rest, strict=True):
        assert torch.equal(a["image"], b["image"])


def test_worker_processes_do_not_change_the_samples(pictures: Path) -> None:
    for a, b in zip(batches(pictures, 3), batches(pictures, 3, num_workers=2), strict=True):
        assert torch.equal(a["image"], b["image"])


def test_every_picture_once_an_epoch(pictures: Path) -> None:
    source = ImageSource(str(pictures))
    prepare = Preparation(64, 0, flip=False)
    epoch = torch.cat([b["image"] for b in islice(training_batches(source, prepare, batch_size=5), 2)])
    assert len(torch.unique(epoch.flatten(1), dim=0)) == 10


def test_shots_and_exclude(pictures: Path) -> None:
    assert len(ImageSource(str(pictures), shots=3).load()) == 3
    assert ImageSource(str(pictures), shots=3, seed=1).load()["kind"] is not None
    odd = ImageSource(str(pictures), exclude={"kind": ["even"]}).load()
    assert odd["kind"][:] == ["odd"] * 5
    with pytest.raises(ValueError, match="shots=11"):
        ImageSource(str(pictures), shots=11).load()
    with pytest.raises(ValueError, match="colour"):
        ImageSource(str(pictures), exclude={"colour": ["red"]}).load()
    with pytest.raises(ValueError, match="no picture"):
        ImageSource(str(pictures), exclude={"kind": ["even", "odd"]}).load()


def test_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(ValueError, match=r"no \.jpg"):
        ImageSource(str(tmp_path)).load()


def test_shards_stream_in_order_and_resume(tmp_path: Path) -> None:
    for shard in range(2):
        with tarfile.open(tmp_path / f"s-{shard}.tar", "w") as archive:
            for i in range(3):
                buffer = io.BytesIO()
                Image.new("RGB", (64, 64), (40 * (3 * shard + i), 0, 0)).save(buffer, "PNG")
                entry = tarfile.TarInfo(f"{shard}{i}.png")
                entry.size = buffer.tell()
                buffer.seek(0)
                archive.addfile(entry, buffer)
    pattern = str(tmp_path / "s-{0..1}.tar")

    def reds(count: int, **options: int) -> list[int]:
        parts = batches(pattern, count, **options)
        return [round((v.item() + 1) * 127.5) for b in parts for v in b["image"][:, 0, 0, 0]]

    assert reds(4) == [0, 40, 80, 120, 160, 200, 0, 40]
    assert reds(2, start=4) == [160, 200, 0, 40]
    assert reds(2, rank=1, world=2) == [80, 120, 0, 40]


def test_positions_are_dealt_in_blocks() -> None:
    assert list(islice(Positions(10, 2, 1, 3), 4)) == [12, 13, 18, 19]


def test_fit_square_covers_and_crops() -> None:
    wide = Image.fromarray(np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (100, 1, 3)))
    centre = fit_square(wide, 50, None)
    assert centre.shape == (50, 50, 3)
    assert abs(int(centre[:, 25].mean()) - 100) <= 2
    shifts = {int(fit_square(wide, 50, np.random.default_rng(i))[0, 0, 0]) for i in range(8)}
    assert len(shifts) > 3


def test_augmentation_parts() -> None:
    image = torch.rand(3, 32, 32) * 2 - 1
    rng = np.random.default_rng(0)
    moved = diff_augment(image, ("translation",), rng)
    assert moved.shape == image.shape
    assert (moved == 0).all(dim=0).any()
    cut = diff_augment(image, ("cutout",), rng)
    assert ((cut == 0).all(dim=0).sum()) == 36
    grey = torch.full((3, 32, 32), 0.25)
    coloured = diff_augment(grey, ("color",), rng)
    assert coloured.std() < 1e-5
    assert abs(coloured.mean() - 0.25) <= 0.5
    with pytest.raises(ValueError, match="blur"):
        parse_policy("color,blur")
