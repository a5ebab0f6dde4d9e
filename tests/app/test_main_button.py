"""The button that does a tab's work, and what is said where the result would be."""

from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from PIL import Image
from skimage import data

from facekit_demo.common import expectation
from tests.app.inpaint_page import InpaintPage
from tests.app.restore_page import RestorePage
from tests.app.visitor import PHONE, photo_file


@pytest.fixture
def tall(tmp_path) -> Path:
    """A portrait photo that fills a phone's screen."""
    path = tmp_path / "tall.png"
    Image.fromarray(data.astronaut()[:300, 120:345]).resize((900, 1200)).save(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("screen", [{}, PHONE], ids=["wide", "phone"])
def test_the_button_is_in_reach_tells_that_it_works_and_leads_to_the_result(visit, tall, screen) -> None:
    visitor = visit(RestorePage, **screen)
    # What the button is while it works is over too soon to be looked at from here.
    visitor.page.evaluate(
        """() => { window.seen = [];
             new MutationObserver(() => {
               const run = document.querySelector('#restore-run');
               if (run) window.seen.push(run.innerText.trim() + (run.disabled ? ' (off)' : ''));
             }).observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true});
           }"""
    )
    visitor.choose_photo(tall)
    visitor.found()
    visitor.part("expected").get_by_text("Takes about").wait_for()
    assert visitor.page.evaluate("window.scrollY") == 0 and visitor.is_on_screen("run")
    visitor.restore()
    visitor.part("download").wait_for()
    visitor.page.wait_for_function(
        """() => { const box = document.querySelector('#restore-result').getBoundingClientRect();
                   return box.top >= 0 && box.bottom <= window.innerHeight && box.height > 100; }"""
    )
    visitor.page.wait_for_function("() => !document.querySelector('#restore-run').disabled")
    assert "Restoring… (off)" in visitor.page.evaluate("window.seen")
    assert visitor.part("run").inner_text() == "2. Restore"


@pytest.mark.slow
def test_why_a_run_failed_stands_there_until_the_next_run(visit, tall, tmp_path) -> None:
    visitor = visit(RestorePage)
    visitor.choose_photo(photo_file(tmp_path, 300, 200))
    visitor.found()
    visitor.part("whole").locator("input").check()
    visitor.restore()
    failure = visitor.part("failure").get_by_role("alert")
    failure.wait_for()
    visitor.page.wait_for_timeout(1000)
    assert "must be square" in failure.inner_text() and visitor.is_on_screen("failure")
    assert not visitor.page.locator(".toast-body").count()
    assert not visitor.part("result").get_by_text("Error").count()
    visitor.part("photo").locator("button[aria-label=Clear]").click()
    visitor.part("run").wait_for(state="hidden")
    visitor.choose_photo(tall)
    visitor.found()
    visitor.restore()
    visitor.part("download").wait_for()
    assert not failure.count()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 1.5], ids=["at once", "later"])
def test_what_a_run_made_of_a_photo_that_was_changed_meanwhile_is_not_shown(
    visit, client: Client, tmp_path, seconds: float
) -> None:
    visitor, large = visit(InpaintPage), photo_file(tmp_path, 4000, 3000, 1)
    Image.new("L", (4000, 3000), 255).save(tmp_path / "mask.png")
    visitor.choose_photo(photo_file(tmp_path, 390, 260, 3))
    visitor.wait_for_editor(390, 260)
    visitor.paint((0, -40), (0, 40))
    others = [
        client.submit(handle_file(large), handle_file(tmp_path / "mask.png"), api_name="/inpaint")
        for _ in range(4)
    ]
    visitor.fill()
    visitor.page.wait_for_timeout(1000 * seconds)
    visitor.remove_photo()
    visitor.choose_photo(photo_file(tmp_path, 260, 390, 2))
    visitor.wait_for_editor(260, 390)
    assert visitor.part("run").is_enabled() and visitor.part("run").inner_text() == "3. Fill in"
    assert visitor.page.evaluate("window.facekitRuns.inpaint") == 1, "the run was too quick for this test"
    visitor.page.wait_for_function("window.facekitRuns.inpaint === 0", timeout=120_000)
    assert not visitor.part("download").is_visible()
    assert not visitor.part("failure").get_by_role("alert").count()
    assert visitor.part("run").is_enabled() and visitor.part("run").inner_text() == "3. Fill in"
    visitor.paint((0, -40), (0, 40))
    visitor.fill()
    assert Path(visitor.result(tmp_path).filename).name == "photo-2-filled.png"
    assert all(other.result(120) for other in others)


@pytest.mark.slow
def test_after_an_error_on_the_way_to_the_run_the_button_is_ready_again(visit, tmp_path) -> None:
    visitor = visit(InpaintPage)
    visitor.choose_photo(photo_file(tmp_path, 390, 260, 3))
    visitor.wait_for_editor(390, 260)
    visitor.paint((0, -40), (0, 40))
    visitor.page.evaluate(
        """() => { window.read = facekitCanvas.readStrokes;
                   facekitCanvas.readStrokes = async () => ({strokes: 'no picture'}); }"""
    )
    visitor.fill()
    assert "did not arrive whole" in visitor.message()
    visitor.page.locator("#inpaint-run:enabled", has_text="3. Fill in").wait_for()
    visitor.page.evaluate("() => { facekitCanvas.readStrokes = window.read; }")
    visitor.fill()
    visitor.result(tmp_path)
    visitor.page.locator("#inpaint-run:enabled", has_text="3. Fill in").wait_for()


def test_a_run_is_expected_to_take_as_long_as_the_last_ones(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(expectation, "_runs", type(expectation._runs)(expectation._runs.default_factory))
    photo, clock = photo_file(tmp_path, 1200, 900), iter([0.0, 40.0, 100.0, 131.0, 200.0, 500.0])
    guess = expectation.expected_seconds("restore", (1200, 900))
    assert expectation.expected_seconds("restore", (4000, 3000)) > guess > 0
    monkeypatch.setattr(expectation.time, "monotonic", lambda: next(clock))
    for _ in range(2):
        with expectation.timed_run("restore", (1200, 900)):
            pass
    with pytest.raises(ValueError), expectation.timed_run("restore", (1200, 900)):
        raise ValueError("this run counts for nothing")
    assert expectation.expected_seconds("restore", (1000, 1000)) == (40 + 31) / 2
    line = expectation.expectation("restore", str(photo))
    assert "about 35 seconds" in line and "face-restore-starter-256" in line
    assert expectation.expected_seconds("restore", (4000, 3000)) != (40 + 31) / 2
    assert expectation.expectation("restore", None) == "" == expectation.expectation("restore", __file__)
