"""The order of training samples: fixed by the seed, shared without overlap, the same after a restart."""

import io
import tarfile
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from train.data.augment import diff_augment, parse_policy
from train.data.images import ImageSource, fit_square, read_picture
from train.data.label_maps import LabelFolder
from train.data.samples import Positions, Preparation, read_batches
from train.directions.config import DirectionsConfig
from train.engine.config import read_config
from train.engine.stage import StageConfig
from train.inpaint.config import InpaintConfig
from train.inpaint.trainer import InpaintTrainer
from train.parser.config import ParserConfig


def batches(folder: object, count: int, **options: object) -> list[dict[str, torch.Tensor]]:
    source = ImageSource(str(folder))
    return list(islice(read_batches(source, Preparation(64, 3), batch_size=2, **options), count))  # type: ignore[arg-type]


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
    epoch = torch.cat([b["image"] for b in islice(read_batches(source, prepare, batch_size=5), 2)])
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


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Red pictures (four, with a column `kind`), green ones (six) and a single blue one."""
    root = tmp_path_factory.mktemp("folders")
    for name, channel, count in (("red", 0, 4), ("green", 1, 6), ("blue", 2, 1)):
        (root / name).mkdir()
        for i in range(count):
            pixel = [0, 0, 0]
            pixel[channel] = 200 + i
            Image.new("RGB", (64, 64), tuple(pixel)).save(root / name / f"{i}.png")
    rows = (f'{{"file_name": "{i}.png", "kind": "{"first" if i == 0 else "other"}"}}\n' for i in range(4))
    (root / "red" / "metadata.jsonl").write_text("".join(rows))
    return {name: root / name for name in ("red", "green", "blue")}


def drawn(source: ImageSource, count: int, seed: int = 3, **options: int) -> list[tuple[int, int]]:
    """Channel and shade of the first pictures."""
    parts = islice(read_batches(source, Preparation(64, seed), batch_size=2, **options), count // 2)
    pixels = torch.cat([batch["image"][:, :, 0, 0] for batch in parts]).add(1).mul(127.5).round().int()
    return [(int(pixel.argmax()), int(pixel.max())) for pixel in pixels]


def test_a_mixture_draws_by_weight(folders: dict[str, Path]) -> None:
    mixture = ImageSource(data={str(folders["red"]): 3, str(folders["green"]): 1})
    channels = [channel for channel, _ in drawn(mixture, 400)]
    assert 0.68 < channels.count(0) / 400 < 0.82
    assert {shade for channel, shade in drawn(mixture, 400) if channel == 1} == set(range(200, 206))
    even = [channel for channel, _ in drawn(ImageSource([str(folder) for folder in folders.values()]), 400)]
    assert all(100 < even.count(channel) < 167 for channel in range(3))
    assert drawn(mixture, 40) != drawn(mixture, 40, seed=4)


def test_samples_of_a_mixture_depend_on_their_number_alone(folders: dict[str, Path]) -> None:
    mixture = ImageSource(data={str(folders["red"]): 3, str(folders["blue"]): 2})
    alone = drawn(mixture, 24)
    assert drawn(mixture, 12, start=12) == alone[12:]
    assert drawn(mixture, 6, num_workers=2) == alone[:6]
    shared = [drawn(mixture, 12, rank=rank, world=2) for rank in (0, 1)]
    joined = [sample for i in range(0, 12, 2) for part in shared for sample in part[i : i + 2]]
    assert joined == alone


def test_a_folder_of_one_picture_fills_a_larger_batch(folders: dict[str, Path]) -> None:
    assert drawn(ImageSource(str(folders["blue"])), 6) == [(2, 200)] * 6
    assert drawn(ImageSource([str(folders["blue"])]), 6) == [(2, 200)] * 6


def test_exclude_concerns_the_sources_that_have_the_column(folders: dict[str, Path], tmp_path: Path) -> None:
    both = [str(folders["red"]), str(folders["green"])]
    rows = ImageSource(both, exclude={"kind": ["first"]}).load()
    assert len(rows) == 3 + 6
    assert [np.asarray(read_picture(rows[i]["image"])).max() for i in (0, 2, 3, 8)] == [201, 203, 200, 205]
    with pytest.raises(ValueError, match="no source of the mixture has it"):
        ImageSource(both, exclude={"colour": ["red"]}).load()
    with pytest.raises(ValueError, match=r"red \(train\) has no picture that `exclude` leaves"):
        ImageSource(both, exclude={"kind": ["first", "other"]}).load()
    with pytest.raises(ValueError, match=r"no \.jpg"):
        ImageSource([*both, str(tmp_path)]).load()


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        ([], {}, "empty mixture"),
        (["faces", "faces"], {}, "twice"),
        ({"faces": 0}, {}, "positive"),
        ({"faces": -1}, {}, "positive"),
        ({"faces": float("inf")}, {}, "positive"),
        ({"faces": True}, {}, "positive"),
        ({"faces": "many"}, {}, "positive"),
        ({"faces": None}, {}, "positive"),
        (["faces", "shard-{0..3}.tar"], {}, "stream"),
        (["owner/faces", "owner/more"], {"streaming": True}, "stream"),
        (["faces", "more"], {"shots": 3}, "shots"),
    ],
)
def test_mixtures_that_cannot_be_read_are_refused_first(data: object, options: dict, message: str) -> None:
    run = {"output_dir": "unused", "max_steps": 1, "data": data} | options
    with pytest.raises(ValueError, match=message):
        ImageSource(data, **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        StageConfig(**run)
    with pytest.raises(ValueError, match=message):
        InpaintTrainer(InpaintConfig(**run))


def test_who_cannot_use_a_mixture_says_so(folders: dict[str, Path]) -> None:
    both = [str(folders["red"]), str(folders["green"])]
    with pytest.raises(ValueError, match="semantics parser"):
        LabelFolder(both, None)
    with pytest.raises(ValueError, match="one local folder"):
        ParserConfig(data=both, output_dir="unused", max_steps=1)
    with pytest.raises(ValueError, match="one folder"):
        DirectionsConfig(output_dir="unused", data=both)  # type: ignore[arg-type]


def test_only_single_sources_may_stream(folders: dict[str, Path]) -> None:
    assert ImageSource("shard-{0..3}.tar").streams and ImageSource("owner/faces", streaming=True).streams
    assert not ImageSource(str(folders["red"]), streaming=True).streams  # a folder is read as it lies
    assert not ImageSource([str(folders["red"]), str(folders["green"])], streaming=True).streams


def test_mixtures_are_options_and_yaml(folders: dict[str, Path]) -> None:
    argv = ["--output_dir", "unused", "--max_steps", "1", "--data"]
    assert read_config(StageConfig, [*argv, "{faces: 3, portraits: 1e-1}"]).make_source().weights == {
        "faces": 3.0,
        "portraits": 0.1,
    }
    assert read_config(StageConfig, [*argv, "[faces, portraits]"]).make_source().weights == {
        "faces": 1.0,
        "portraits": 1.0,
    }


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
