"""Training reads a picture as the pipelines do, and says which one it cannot read."""

import io
import tarfile
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from facekit.images.photo import load_image
from train.data.images import BrokenPicture, ImageSource, read_picture
from train.data.samples import Preparation, read_batches

ORIENTATION = 0x0112
ON_ITS_SIDE = 6


def corners() -> Image.Image:
    """A picture that tells how it lies: red above on the left, blue below."""
    pixels = np.full((48, 32, 3), 128, np.uint8)
    pixels[:16, :16] = (255, 0, 0)
    pixels[32:] = (0, 0, 255)
    return Image.fromarray(pixels)


def stored_on_its_side(file: Path | io.BytesIO) -> None:
    """`corners()` as a camera held upright stores it: turned, with a tag that says so."""
    exif = Image.Exif()
    exif[ORIENTATION] = ON_ITS_SIDE
    corners().transpose(Image.Transpose.ROTATE_90).save(file, "PNG", exif=exif)


def samples(data: Path | str, count: int, size: int = 32, **options: Any) -> list[torch.Tensor]:
    """The first pictures of a run, [3, S, S] each."""
    workers = {"num_workers": options.pop("num_workers", 0)}
    source = ImageSource(str(data), **options)
    found = read_batches(source, Preparation(size, 0, flip=False), batch_size=1, **workers)
    return [batch["image"][0] for batch in islice(found, count)]


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    """Ten pictures of greys 20, 40, ..., the third of them cut short."""
    folder = tmp_path / "ten"
    folder.mkdir()
    for number in range(10):
        noise = np.random.default_rng(number).integers(0, 3, (32, 32, 1))
        pixels = np.repeat(20 * (number + 1) + noise, 3, axis=2).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    broken = folder / "2.png"
    broken.write_bytes(broken.read_bytes()[:-300])
    return folder


def pack(folder: Path, shard: Path) -> None:
    with tarfile.open(shard, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, file.name)


def grey(image: torch.Tensor) -> int:
    return 20 * round((image.mean().item() + 1) * 127.5 / 20)


@pytest.mark.parametrize("mode", ["I;16", "L", "1", "P", "LA", "RGBA", "CMYK"])
def test_modes_are_read_as_the_pipelines_read_them(tmp_path: Path, mode: str) -> None:
    ramp = np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1))
    image = Image.fromarray(ramp.astype(np.uint16) * 257 if mode == "I;16" else ramp)
    image = image if mode in ("I;16", "P") else image.convert("RGB")
    image = image if mode == "I;16" else image.convert(mode)
    file = tmp_path / ("ramp.tif" if mode == "CMYK" else "ramp.png")
    image.save(file)
    read = np.asarray(read_picture(file))
    if mode == "1":
        assert set(np.unique(read)) == {0, 255}
    else:
        assert np.abs(read.astype(int) - ramp[..., None]).max() <= 1
    if file.suffix == ".png":
        (only,) = samples(tmp_path, 1)
        assert np.abs(only.add(1).mul(127.5).permute(1, 2, 0).numpy() - read).max() < 0.01
    if mode != "I;16":
        assert np.array_equal(read, load_image(file).rgb)


def test_turned_pictures_stand_upright(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    stored_on_its_side(tmp_path / "folder" / "0.png")
    pack(tmp_path / "folder", tmp_path / "shard.tar")
    upright = np.asarray(corners())
    assert np.array_equal(np.asarray(read_picture(tmp_path / "folder" / "0.png")), upright)
    with Image.open(tmp_path / "folder" / "0.png") as opened:
        assert np.array_equal(np.asarray(read_picture(opened)), upright)
    for data in (tmp_path / "folder", tmp_path / "shard.tar"):
        (image,) = samples(data, 1, size=32)
        assert image[0, 0, 0] > 0.9 and image[2, 0, 0] < -0.9, f"{data.name}: red above on the left"
        assert image[0, 0, -1] < 0.1


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("kind", ["folder", "shards"])
def test_a_broken_picture_is_named(ten: Path, tmp_path: Path, kind: str, num_workers: int) -> None:
    data, name = ten, str(ten / "2.png")
    if kind == "shards":
        data = tmp_path / "ten.tar"
        pack(ten, data)
        name = f"2.png in {data}"
    with pytest.raises(BrokenPicture) as caught:
        samples(data, 10, num_workers=num_workers)
    assert name in str(caught.value) and "truncated" in str(caught.value)
    assert "skip_broken: true" in str(caught.value)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_broken_picture_is_skipped(ten: Path, capsys: pytest.CaptureFixture[str], num_workers: int) -> None:
    sound = {20 * (n + 1) for n in range(10) if n != 2}
    found = list(map(grey, samples(ten, 30, skip_broken=True, num_workers=num_workers)))
    assert set(found) == sound
    told = capsys.readouterr().err
    assert told.count("skipped, 1 so far: ") == 1, "once, though it came in every epoch"
    assert str(ten / "2.png") in told


def test_a_stream_goes_on_behind_a_broken_picture(ten: Path, tmp_path: Path) -> None:
    pack(ten, tmp_path / "ten.tar")
    found = list(map(grey, samples(tmp_path / "ten.tar", 12, skip_broken=True)))
    assert found == [20, 40, 80, 80, 100, 120, 140, 160, 180, 200, 20, 40], "the next one stands in"
    source = ImageSource(str(tmp_path / "ten.tar"), skip_broken=True)
    prepare = Preparation(32, 0, flip=False)
    resumed = next(read_batches(source, prepare, batch_size=2, start=2))
    assert [grey(image) for image in resumed["image"]] == [80, 80], "also where a run goes on"


def test_nothing_but_broken_pictures(ten: Path) -> None:
    for file in ten.iterdir():
        file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(BrokenPicture, match="none of 10 pictures can be read"):
        samples(ten, 1, skip_broken=True)


@pytest.mark.parametrize("row", [None, b"", {"path": None, "bytes": None}, b"no picture"])
def test_a_row_without_a_picture_is_a_broken_one(row: Any) -> None:
    with pytest.raises(BrokenPicture, match=r"picture is (empty|no image that can be read)"):
        read_picture(row)


def test_shards_may_hold_photos_of_phones(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    (tmp_path / "folder").mkdir()
    pillow_heif.from_pillow(corners().resize((64, 96))).save(tmp_path / "folder" / "0.heic")
    content = (tmp_path / "folder" / "0.heic").read_bytes()
    assert read_picture(content).size == read_picture(tmp_path / "folder" / "0.heic").size == (64, 96)


def test_a_missing_column_is_named(ten: Path) -> None:
    with pytest.raises(ValueError, match=r"no column .photo. for image_column; it has.*image"):
        ImageSource(str(ten), image_column="photo").load()
