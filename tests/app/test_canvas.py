"""The canvases: wheel and fingers, the size of the brush, keys, a ready mask's place."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

from facekit.faces import Face, detect_faces
from facekit.images.photo import load_image
from facekit_demo.common.brush_size import FACE_BRUSH, MASK_BRUSH, fit_to_faces, share_of
from facekit_demo.common.face_view import width_of
from facekit_demo.common.gallery import inpaint_examples
from tests.app.inpaint_page import InpaintPage
from tests.app.visitor import PHONE, photo_file

# What the visitor sees of the photo: scale, and where its corner is on the canvas.
VIEW = """() => { const {scale_value, position_value} = window.editor;
                  return [scale_value, position_value.x, position_value.y]; }"""


def middle(visitor: InpaintPage) -> tuple[float, float]:
    """The middle of the canvas, in pixels of the window."""
    canvas = visitor.part("editor").locator("canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def with_photo(visit, photo: Path, **screen: Any) -> InpaintPage:
    visitor = visit(InpaintPage, **screen)
    visitor.choose_photo(photo)
    visitor.wait_for_editor(*Image.open(photo).size)
    return visitor


@pytest.mark.slow
def test_the_wheel_scrolls_the_page_and_with_ctrl_zooms_at_the_pointer(visit, tmp_path) -> None:
    visitor = with_photo(visit, photo_file(tmp_path, 600, 800))
    page = visitor.page
    whole = page.evaluate(VIEW)
    x, y = middle(visitor)
    page.evaluate("window.scrollTo(0, 0)")
    x, y = x + 40, 600
    page.mouse.move(x, y)
    page.mouse.wheel(0, 120)
    page.wait_for_function("window.scrollY >= 100")
    assert page.evaluate(VIEW) == whole

    corner = page.evaluate(
        "() => { const box = window.editor.app.canvas.getBoundingClientRect(); return [box.x, box.y]; }"
    )
    scrolled = page.evaluate("window.scrollY")
    page.keyboard.down("Control")
    for _ in range(3):
        page.mouse.wheel(0, -100)
    page.wait_for_function(f"window.editor.scale_value > {1.5 * whole[0]}")
    page.keyboard.up("Control")
    scale, left, top = page.evaluate(VIEW)
    under = [(x - corner[0] - left) / scale, (y - corner[1] - top) / scale]
    before = [(x - corner[0] - whole[1]) / whole[0], (y - corner[1] - whole[2]) / whole[0]]
    assert np.allclose(under, before, atol=1) and page.evaluate("window.scrollY") == scrolled
    page.keyboard.down("Control")
    for _ in range(6):
        page.mouse.wheel(0, 100)
    page.keyboard.up("Control")
    page.wait_for_function(f"Math.abs(window.editor.scale_value - {whole[0]}) < 1e-3")
    assert not visitor.strokes().any()


@pytest.mark.slow
@pytest.mark.parametrize("size", [(476, 476), (4000, 3000)], ids=str)
def test_the_brush_has_its_share_of_any_photo(visit, tmp_path, size) -> None:
    visitor = with_photo(visit, photo_file(tmp_path, *size))
    visitor.page.mouse.click(*middle(visitor))
    dot = visitor.strokes()
    wide = dot.any(axis=0).sum() / min(dot.shape)
    assert abs(wide - MASK_BRUSH) < 0.006


@pytest.mark.parametrize(("width", "side", "counts"), [(600, 44, True), (600, 34, False), (1280, 68, True)])
def test_a_face_seen_at_a_glance_counts_where_the_methods_take_it(
    width: int, side: int, counts: bool
) -> None:
    crowd = Image.new("RGB", (width, width * 2 // 3), (90, 110, 120))
    crowd.paste(Image.fromarray(data.astronaut()[:200, 130:330]).resize((2 * side, 2 * side)), (200, 150))
    faces = detect_faces(np.asarray(crowd), min_size=20.0)
    assert len(faces) == 1 and (width_of(faces[0]) >= 32) == counts
    assert fit_to_faces("canvas", load_image(crowd))[1] == counts


@pytest.mark.slow
def test_where_faces_are_small_the_brush_is(visit, tmp_path) -> None:
    small = Face(0, (0.0, 0.0, 60.0, 80.0), 1.0, np.zeros((5, 2)))
    large = replace(small, box=(0.0, 0.0, 400.0, 500.0))
    assert share_of([], 600) == MASK_BRUSH == share_of([large], 600)
    assert share_of([small, small, large], 600) == FACE_BRUSH * 60 / 600

    group = Image.new("RGB", (1600, 1200), (90, 110, 120))
    face = Image.fromarray(data.astronaut()[:200, 130:330]).resize((240, 240))
    for place in range(3):
        group.paste(face, (200 + 450 * place, 480))
    group.save(tmp_path / "group.png")
    visitor = with_photo(visit, tmp_path / "group.png")
    said = visitor.page.locator("output[for=inpaint-editor-size]")
    said.filter(has_not_text=f"{100 * MASK_BRUSH:.1f}").wait_for()
    assert 0.5 < float(said.inner_text().split()[0]) < 60 * MASK_BRUSH


@pytest.mark.slow
def test_brush_and_strokes_obey_slider_and_keys(visit, tmp_path) -> None:
    visitor = with_photo(visit, photo_file(tmp_path, 480, 480))
    page, slider = visitor.page, visitor.part("editor-size")
    said = visitor.page.locator("output[for=inpaint-editor-size]")
    assert said.inner_text() == f"{100 * MASK_BRUSH:.1f} %"
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    larger = float(said.inner_text().split()[0])
    assert larger > 200 * MASK_BRUSH and "of the photo" in slider.get_attribute("aria-valuetext")
    page.keyboard.press("[")  # the slider has the focus
    assert float(said.inner_text().split()[0]) < larger
    page.keyboard.press("]")
    x, y = middle(visitor)
    page.mouse.click(x, y)
    wide = visitor.strokes().any(axis=0).sum()
    assert abs(wide - larger / 100 * 480) < 4

    # A see-through stroke over another one: the mask is what either covers, no more.
    visitor.paint((-60, -60), (60, -60))
    once = visitor.strokes()
    page.mouse.move(x - 60, y - 60)
    page.mouse.down()
    page.mouse.move(x + 60, y - 60, steps=8)
    page.mouse.up()
    assert (visitor.strokes() == once).all()
    page.evaluate("document.activeElement.blur()")  # the pointer is over the canvas
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    dot = visitor.strokes()
    assert dot.any() and dot.any(axis=0).sum() == wide
    page.keyboard.press("Control+Shift+Z")
    assert (visitor.strokes() == once).all()
    for _ in range(4):
        page.keyboard.press("Control+z")
    assert not visitor.strokes().any() and page.evaluate("!!window.editor.background_image")
    page.mouse.move(5, 5)
    page.keyboard.press("Control+Shift+Z")  # nobody uses the canvas
    assert not visitor.strokes().any()


@pytest.mark.slow
def test_two_fingers_zoom_and_paint_nothing_one_paints(visit, tmp_path) -> None:
    visitor = with_photo(visit, photo_file(tmp_path, 400, 500), **PHONE)
    page = visitor.page
    sizes = (
        visitor.part("editor")
        .locator("button:visible")
        .evaluate_all(
            "all => all.map(each => each.getBoundingClientRect()).map(box => Math.min(box.width, box.height))"
        )
    )
    assert len(sizes) >= 6 and min(sizes) >= 40
    x, y = middle(visitor)
    scale, *_ = page.evaluate(VIEW)
    session = visitor.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        """Fingers on the canvas, in pixels from its middle."""
        places = [{"x": x + dx, "y": y + dy, "id": place} for place, (dx, dy) in enumerate(points)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})

    touch("touchStart", (-20, 0))
    for step in range(4):
        touch("touchMove", (-20 - 3 * step, 0))
    page.wait_for_function("window.editor.tools.get('brush').is_drawing")
    touch("touchStart", (-29, 0), (30, 0))
    for step in range(1, 9):
        touch("touchMove", (-29 - 5 * step, 10 * step), (30 + 5 * step, 10 * step))
    touch("touchEnd", (70, 80))
    touch("touchMove", (40, 40))
    touch("touchEnd")
    zoomed, left, top = page.evaluate(VIEW)
    assert zoomed > 1.8 * scale and not visitor.strokes().any()
    # What lay between the fingers went along with them.
    box = page.evaluate("(({width, height}) => [width, height])(window.editor.app.screen)")
    assert abs((box[1] / 2 + 80 - top) / zoomed - 250) < 15 and abs((box[0] / 2 - left) / zoomed - 200) < 15

    touch("touchStart", (0, 0))
    for step in range(5):
        touch("touchMove", (6 * step, 0))
    touch("touchEnd")
    painted = visitor.strokes()
    assert painted.any() and painted.mean() < 0.1
    assert page.evaluate(VIEW) == [zoomed, left, top]

    # The tools never lie over the button that stays at the screen's edge.
    page.evaluate("document.body.style.paddingTop = '600px'")
    apart, on_top = page.evaluate(
        """() => { const tools = document.querySelector('#inpaint-editor .top-panel');
                   const run = document.querySelector('#inpaint-run');
                   const top = part => part.getBoundingClientRect().y;
                   for (let tries = 0; tries < 5; tries++) window.scrollBy(0, top(tools) - top(run));
                   const box = tools.getBoundingClientRect();
                   const seen = document.elementFromPoint(box.x + 20, box.y + box.height / 2);
                   return [top(tools) - top(run), run.contains(seen)]; }"""
    )
    assert abs(apart) < 2 and on_top


def test_a_ready_mask_lies_in_its_place_after_a_larger_photo(visit, tmp_path) -> None:
    visitor = with_photo(visit, photo_file(tmp_path, 1500, 2000))
    visitor.choose_example()
    visitor.page.wait_for_function("window.editor.width === 640 && window.editor.layer_manager.layers.length")
    (example,) = inpaint_examples()
    hole = np.asarray(Image.open(example.mask).convert("L")) > 0
    for _ in range(50):
        shown = visitor.strokes()
        if shown.any():
            break
        visitor.page.wait_for_timeout(200)
    assert shown.shape == hole.shape and (shown != hole).mean() < 0.001
