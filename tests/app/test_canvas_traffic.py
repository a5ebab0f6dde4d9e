"""What goes between canvases and the server: previews one way, strokes the other."""

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from facekit_demo.common.canvas_traffic import MARK, read_strokes
from facekit_demo.common.painting import painted, strokes_of
from facekit_demo.common.running import PREVIEW_SIDE
from facekit_demo.common.screen import screen_file
from tests.app.edit_page import EditPage
from tests.app.inpaint_page import InpaintPage
from tests.app.visitor import changed, photo_file


def sent(layer: Image.Image, kind: str = "PNG") -> dict[str, str]:
    """What the page's script sends of a canvas."""
    file = io.BytesIO()
    layer.save(file, kind)
    return {"strokes": MARK + base64.b64encode(file.getvalue()).decode()}


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# A file of some bytes that says of itself that it has 10,000 megapixels.
HUGE = (
    b"\x89PNG\r\n\x1a\n"
    + _chunk(b"IHDR", struct.pack(">IIBBBBB", 10**5, 10**5, 8, 6, 0, 0, 0))
    + _chunk(b"IEND", b"")
)


def test_pictures_for_the_screen_are_bounded_jpegs() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), np.uint8)
    with Image.open(screen_file(Image.fromarray(noise))) as shown:
        assert shown.format == "JPEG" and shown.size == (PREVIEW_SIDE, PREVIEW_SIDE * 3 // 4)
    smooth = Image.radial_gradient("L").convert("RGB")
    with Image.open(screen_file(smooth)) as shown:
        assert np.abs(np.asarray(shown, float) - np.asarray(smooth)).max() < 4
    smooth.putalpha(Image.linear_gradient("L"))
    with Image.open(screen_file(smooth)) as shown:
        assert shown.format == "PNG" and shown.mode == "RGBA"


def test_strokes_come_as_a_layer_and_are_scaled_to_the_photo() -> None:
    assert read_strokes({"strokes": ""})["layers"] == [] and read_strokes({})["layers"] == []
    layer = Image.new("RGBA", (40, 30))
    layer.paste((255, 90, 60, 153), (0, 0, 20, 30))
    value = read_strokes(sent(layer))
    assert value["background"] is None and value["composite"] is None
    (read,) = value["layers"]
    assert not changed(read, layer).any()
    mask = np.asarray(strokes_of(value, (4000, 3000)))
    assert mask.shape == (3000, 4000) and mask[:, :1990].all() and not mask[:, 2010:].any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"strokes": 7},
        {"strokes": ["data"]},
        {"strokes": MARK + "not base64"},
        {"strokes": MARK + base64.b64encode(b"\x89PNG\r\n\x1a\n cut off").decode()},
        sent(Image.new("RGB", (8, 8)), "JPEG"),
        {"strokes": MARK + base64.b64encode(HUGE).decode()},
        sent(Image.new("RGBA", (PREVIEW_SIDE + 1, 8))),
    ],
)
def test_what_is_no_canvas_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="did not arrive whole"):
        read_strokes(wrong)


def test_a_canvas_gets_a_preview_of_its_photo() -> None:
    value = painted(Image.new("RGB", (64, 48), "gray"), Image.new("L", (64, 48), 255))
    assert value["background"].endswith(".jpg") and value["layers"][0].size == (64, 48)


@pytest.mark.slow
def test_the_photo_is_never_sent_back(visit, tmp_path) -> None:
    visitor, photo = visit(InpaintPage), photo_file(tmp_path, 2000, 1500)
    visitor.choose_photo(photo)
    visitor.wait_for_editor(1280, 960)
    bodies = []
    visitor.page.on("request", lambda request: bodies.append((request.url, request.post_data_buffer or b"")))
    visitor.paint((-60, 0), (60, 0))
    visitor.fill()
    difference = changed(Image.open(photo), visitor.result(tmp_path))
    assert 0.001 < difference.mean() < 0.2 and not difference[:600].any() and not difference[900:].any()
    assert not [url for url, body in bodies if "/upload" in url]
    assert sum(len(body) for _, body in bodies) < 200_000


@pytest.mark.slow
def test_painted_colours_arrive_as_they_were_painted(visit) -> None:
    """Read from the canvas in the browser, without the photo that lies below."""
    visitor = visit(EditPage)
    visitor.choose_example_photo()
    visitor.open_canvas("coloring", "color")
    visitor.paint((-30, -60), (30, -60), "color")
    code = visitor.page.evaluate("facekitCanvas.strokesOn('edit-color').strokes")
    (layer,) = read_strokes({"strokes": code})["layers"]
    assert layer.size == (512, 512)
    pixels = np.asarray(layer)
    inside = pixels[pixels[..., 3] == 255][:, :3]
    assert (
        len(inside) > 200 and (np.abs(inside.astype(int) - (0x5B, 0x3A, 0x21)).max(axis=1) < 3).mean() > 0.95
    )
    assert (pixels[..., 3] > 0).mean() < 0.1
    assert visitor.page.evaluate("facekitCanvas.strokesOn('edit-nothing').strokes") == ""
