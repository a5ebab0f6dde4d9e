"""Photos of every kind go through unchanged where nothing was edited, and bad ones are refused early."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from facekit.images.photo import as_uint8, load_image, load_images
from tests.helpers.deep_files import TURNS

SIZE = (48, 40)  # width, height


def colourful(mode: str = "RGB") -> Image.Image:
    x, y = np.meshgrid(np.linspace(0, 255, SIZE[0]), np.linspace(0, 255, SIZE[1]))
    rgb = Image.fromarray(np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8))
    if mode in ("I;16", "I"):
        deep = Image.fromarray(np.arange(SIZE[0] * SIZE[1], dtype=np.uint16).reshape(SIZE[1], SIZE[0]) * 34)
        return deep if mode == "I;16" else deep.convert("I")
    image = rgb.convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(np.tile(np.arange(SIZE[0], dtype=np.uint8) * 5, (SIZE[1], 1))))
    return image


@pytest.fixture
def hole() -> np.ndarray:
    hole = np.zeros((SIZE[1], SIZE[0]), dtype=bool)
    hole[10:25, 8:30] = True
    return hole


def colours(image: Image.Image) -> np.ndarray:
    """Numbers as stored; what a palette image shows."""
    return np.asarray(image.convert("RGBA") if image.mode == "P" else image)


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I"]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_comes_back_with_only_the_hole_changed(mode: str, hole: np.ndarray) -> None:
    given = colourful(mode)
    photo = load_image(given)
    rgb = photo.rgb
    top = np.iinfo(rgb.dtype).max
    assert rgb.shape == (SIZE[1], SIZE[0], 3)
    edited = np.zeros_like(rgb)
    edited[..., 0] = top

    back = photo.recolor(edited, hole).to_pil()

    assert (back.mode, back.size) == (given.mode, given.size)
    before, after = colours(given), colours(back)
    assert before.dtype == after.dtype
    np.testing.assert_array_equal(after[~hole], before[~hole])
    if mode in ("LA", "RGBA"):
        np.testing.assert_array_equal(after[..., -1], before[..., -1])
    shown = np.asarray(load_image(back).rgb[hole], dtype=np.float32).mean(axis=0) / top
    if photo.mode in ("1", "L", "LA", "I;16", "I"):
        assert abs(shown - 0.299).max() < 0.06
    else:
        np.testing.assert_allclose(shown, [1, 0, 0], atol=0.02)
    np.testing.assert_array_equal(colours(load_image(given).to_pil()), before)


def test_a_full_palette_takes_its_nearest_colours(hole: np.ndarray) -> None:
    ramp = np.arange(256, dtype=np.uint8)
    indices = np.resize(ramp, SIZE[0] * SIZE[1]).reshape(SIZE[1], SIZE[0])
    given = Image.fromarray(indices).convert("P")
    given.putpalette(np.repeat(ramp[:, None], 3, axis=1).tobytes())
    photo = load_image(given)

    back = photo.recolor(np.full((SIZE[1], SIZE[0], 3), 200, dtype=np.uint8), hole).to_pil()

    np.testing.assert_array_equal(np.asarray(back)[~hole], indices[~hole])
    assert abs(np.asarray(back)[hole].astype(int) - 200).max() <= 3


def test_transparent_palette_pixels_stay_transparent(hole: np.ndarray, tmp_path: Path) -> None:
    given = colourful("P")
    clear = int(np.asarray(given)[15, 15])
    given.save(tmp_path / "in.png", transparency=clear)
    photo = load_image(tmp_path / "in.png")
    alpha = photo.alpha
    assert alpha is not None and (alpha == 0).any()

    back = photo.recolor(np.full_like(photo.rgb, 7), hole).to_pil()
    back.save(tmp_path / "out.png")

    with Image.open(tmp_path / "in.png") as before, Image.open(tmp_path / "out.png") as after:
        a, b = colours(before), colours(after)
    np.testing.assert_array_equal(a[..., 3], b[..., 3])
    np.testing.assert_array_equal(a[~hole], b[~hole])
    np.testing.assert_allclose(b[hole & (alpha > 0)][:, :3], 7, atol=1)


@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_arrays_keep_their_depth(channels: int, dtype: type, hole: np.ndarray) -> None:
    random = np.random.default_rng(0)
    shape = (SIZE[1], SIZE[0]) + ((channels,) if channels else ())
    top = 1.0 if dtype is np.float32 else np.iinfo(dtype).max
    given = (random.random(shape) * top).astype(dtype)
    photo = load_image(given)
    assert photo.rgb.dtype == dtype

    edited = photo.recolor(np.zeros_like(photo.rgb), hole)

    flat = given.reshape(SIZE[1], SIZE[0], -1)
    back = edited.to_numpy()
    assert back.dtype == np.float32 and back.shape == flat.shape
    depth = back if dtype is np.float32 else np.rint(back.astype(np.float64) * top).astype(dtype)
    np.testing.assert_array_equal(depth[~hole], flat[~hole])
    colour = {1: 1, 2: 1, 3: 3, 4: 3}[flat.shape[2]]
    assert (depth[hole][:, :colour] == 0).all()
    np.testing.assert_array_equal(depth[hole][:, colour:], flat[hole][:, colour:])
    assert edited.to_pil().size == SIZE


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_tensors_are_zero_to_one_both_ways(channels: int) -> None:
    given = torch.rand(2, channels, SIZE[1], SIZE[0])
    photos = load_images(given)
    assert len(photos) == 2
    for photo, tensor in zip(photos, given, strict=True):
        assert torch.equal(photo.to_tensor(), tensor)
        assert torch.equal(load_image(photo.to_tensor()[None]).to_tensor(), tensor)


def test_numbers_of_the_networks_range_are_refused_with_the_way_out() -> None:
    given = torch.linspace(-1, 1, 3 * 32 * 32).reshape(3, 32, 32)
    for picture in (given, given[None], given.permute(1, 2, 0).numpy()):
        with pytest.raises(ValueError, match=r"numbers from -1 to 1, expected \[0, 1\].*\(x \+ 1\) / 2"):
            load_image(picture)
    assert torch.equal(load_image((given + 1) / 2).to_tensor(), (given + 1) / 2)


def test_half_precision_tensors_are_taken() -> None:
    assert load_image(torch.zeros(1, 3, 20, 30, dtype=torch.bfloat16)).size == (30, 20)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(orientation: int, tmp_path: Path) -> None:
    upright = colourful()
    stored = upright.transpose(TURNS[orientation]) if orientation in TURNS else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "phone.png", exif=exif)

    photo = load_image(tmp_path / "phone.png")

    np.testing.assert_array_equal(photo.rgb, np.asarray(upright))
    back = photo.to_pil()
    back.save(tmp_path / "back.png", exif=back.info.get("exif", b""))
    np.testing.assert_array_equal(load_image(tmp_path / "back.png").rgb, np.asarray(upright))


def test_the_colour_profile_is_kept(tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    colourful().save(tmp_path / "a.jpg", icc_profile=profile)
    assert load_image(tmp_path / "a.jpg").to_pil().info["icc_profile"] == profile


def test_a_see_through_colour_is_kept(tmp_path: Path, hole: np.ndarray) -> None:
    given = colourful()
    key = given.getpixel((3, 3))
    given.save(tmp_path / "a.png", transparency=key)
    photo = load_image(tmp_path / "a.png")
    photo.recolor(np.full_like(photo.rgb, 7), hole).to_pil().save(tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as back:
        assert back.mode == "RGB" and back.convert("RGBA").getpixel((3, 3)) == (*key, 0)


def test_sixteen_bit_gray_keeps_all_bits(hole: np.ndarray, tmp_path: Path) -> None:
    given = colourful("I;16")
    given.save(tmp_path / "deep.png")
    photo = load_image(tmp_path / "deep.png")
    assert photo.mode == "I;16" and photo.rgb.dtype == np.uint16
    back = photo.recolor(np.full_like(photo.rgb, 12345), hole).to_pil()
    assert np.asarray(back)[hole].tolist() == [12345] * hole.sum()
    np.testing.assert_array_equal(np.asarray(back)[~hole], np.asarray(given)[~hole])


def test_rounding_to_eight_bits() -> None:
    assert as_uint8(np.array([0, 128, 129, 257, 65535], dtype=np.uint16)).tolist() == [0, 0, 1, 1, 255]
    assert as_uint8(np.array([-1, 0.5, 2.0], dtype=np.float32)).tolist() == [0, 128, 255]


# Bad input, one test for each kind.


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
    return path


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png does not exist"):
        load_image("nowhere.png")


def test_a_zero_byte_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ValueError, match=r"empty\.jpg is empty"):
        load_image(tmp_path / "empty.jpg")


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("not a picture at all")
    with pytest.raises(ValueError, match="no image that can be read"):
        load_image(tmp_path / "notes.jpg")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "cut.jpg")
    data = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="truncated"):
        load_image(tmp_path / "cut.jpg")


def test_a_file_cut_in_its_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0nothing more")
    with pytest.raises(ValueError, match=r"cut\.jpg is truncated"):
        load_image(tmp_path / "cut.jpg")


def test_a_corrupt_file_is_refused(picture: Path) -> None:
    data = bytearray(picture.read_bytes())
    data[len(data) // 2] ^= 0xFF
    picture.write_bytes(data)
    with pytest.raises(ValueError, match="corrupt"):
        load_image(picture)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_an_animated_file_is_refused_with_the_way_out(suffix: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=r"3 frames. Pick a frame"):
        load_image(tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as image:
        image.seek(1)
        assert load_image(image.copy()).size == (32, 32)


def test_a_phone_picture_with_a_second_one_behind_it_is_taken(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), "red").save(
        tmp_path / "phone.jpg",
        format="MPO",
        save_all=True,
        append_images=[Image.new("RGB", (16, 16), "blue")],
    )
    assert load_image(tmp_path / "phone.jpg").rgb[5, 5].tolist() == [254, 0, 0]


def test_a_single_pixel_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1x1; at least 16 pixels"):
        load_image(Image.new("RGB", (1, 1)))


def huge_png(path: Path, side: int) -> Path:
    """A PNG whose header promises side x side pixels and whose data holds none of them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    return path


def test_a_pixel_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    bomb = huge_png(tmp_path / "bomb.png", 20_000)
    with pytest.raises(ValueError, match=r"20000x20000, 400,000,000 pixels; the limit is 200,000,000"):
        load_image(bomb)
    assert Image.MAX_IMAGE_PIXELS is not None


def test_the_pixel_limit_can_be_moved(picture: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the limit is 4,000"):
        load_image(picture, max_pixels=4_000)
    with pytest.raises(ValueError, match=r"the limit is 4,000"):
        load_image(np.zeros((64, 64), dtype=np.uint8), max_pixels=4_000)
    with pytest.raises(ValueError, match=r"truncated|corrupt"):
        load_image(huge_png(tmp_path / "bomb.png", 20_000), max_pixels=None)


@pytest.mark.parametrize("pillow_limit", [1_000, 3_000])
def test_our_limit_replaces_that_of_pillow(
    pillow_limit: int, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_image(picture).size == (64, 64)
    assert pillow_limit == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinity_are_refused(value: float) -> None:
    tensor = torch.zeros(3, 32, 32)
    tensor[1, 5, 5] = value
    with pytest.raises(ValueError, match="1 NaN or infinite"):
        load_image(tensor)
    array = np.zeros((32, 32), dtype=np.float32)
    array[3, 3] = value
    with pytest.raises(ValueError, match="1 NaN or infinite"):
        load_image(array)


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.complex64, np.int8])
def test_a_wrong_array_dtype_is_refused(dtype: type) -> None:
    with pytest.raises(ValueError, match="expected uint8, uint16 or float"):
        load_image(np.zeros((32, 32, 3), dtype=dtype))


def test_an_integer_tensor_is_refused() -> None:
    with pytest.raises(ValueError, match="expected floats in"):
        load_image(torch.zeros(3, 32, 32, dtype=torch.uint8))


@pytest.mark.parametrize("shape", [(32,), (32, 32, 5), (3, 32, 32), (2, 32, 32, 3, 1), (0, 32, 3)])
def test_a_wrong_array_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        load_image(np.zeros(shape, dtype=np.uint8))


@pytest.mark.parametrize("shape", [(32, 32), (5, 32, 32), (2, 3, 32, 32), (2, 3, 4, 32, 32)])
def test_a_wrong_tensor_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \[C, H, W\]"):
        load_image(torch.zeros(shape))


def test_a_wrong_range_is_refused_with_the_way_out() -> None:
    for picture in (np.full((32, 32, 3), 128.0), torch.full((3, 32, 32), 128.0)):
        with pytest.raises(ValueError, match=r"Use x / 255 for 0\.\.255"):
            load_image(picture)


def test_other_things_are_refused() -> None:
    with pytest.raises(TypeError, match="dict"):
        load_image({})
    with pytest.raises(ValueError, match="empty list"):
        load_images([])
    with pytest.raises(ValueError, match="web address"):
        load_image("https://example.com/a.jpg")
    with pytest.raises(ValueError, match="folder"):
        load_image(Path(__file__).parent)
    with pytest.raises(ValueError, match="mode F"):
        load_image(Image.new("F", (32, 32)))


def test_floating_colours_stay_within_their_range() -> None:
    photo = load_image(np.full((16, 16, 3), 0.5, np.float32))
    shot_over = np.full((16, 16, 3), 1.1, np.float32)
    shot_over[:8] = -0.1
    edited = photo.recolor(shot_over, np.ones((16, 16), bool))
    enlarged = photo.enlarge(np.tile(shot_over, (2, 2, 1)))
    for result in (edited, enlarged):
        assert result.pixels.min() == 0 and result.pixels.max() == 1
        load_image(result.to_tensor())  # what a pipeline gives it takes
