"""The models that a host offers on a tab, and a visitor's choice among them."""

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from facekit.hub.starters import starters
from facekit.methods import method_named
from facekit.provenance import inspect
from facekit_demo import page
from facekit_demo.common import limits, running
from facekit_demo.common.expectation import expectation
from facekit_demo.common.models import check_models, offered_model, offered_models
from tests.app.conftest import free_port
from tests.app.inpaint_page import InpaintPage
from tests.app.visitor import PHONE, photo_file
from tests.conftest import ROOT
from tests.hub.test_published import FILE, Broken, files, mirror, write_table  # noqa: F401 (fixtures)

STARTER = "face-inpaint-starter-256"


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch):
    """Offer models on the Inpaint tab, whatever is loaded already."""
    monkeypatch.setattr(running, "_pipelines", {})
    return lambda *words: monkeypatch.setenv("FACEKIT_INPAINT_MODEL", ",".join(map(str, words)))


@pytest.fixture
def table(mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """GRIG's published weights lie on a server of this machine, and nothing of them is here yet."""
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(Broken, "cut", None)
    write_table(
        tmp_path, monkeypatch, f'[grig]\nfiles = {{ "{FILE}" = "{mirror}/{FILE}" }}\nterms = "ask us"'
    )


def test_the_list_names_each_model_once_and_the_default_first(offer, table, tiny_model, tmp_path) -> None:
    twin, comma = tmp_path / tiny_model.name, tmp_path / "one, two"
    for folder in (twin, comma):
        shutil.copytree(tiny_model, folder)
    offer(f" {tiny_model} ", "starter", "", twin, "published", "grig", tiny_model, "ORG/NAME")
    models = offered_models("inpaint")
    name = tiny_model.name
    assert [model.name for model in models] == [name, "starter", f"{name}-2", "published", "ORG/NAME"]
    assert [model.label for model in models] == [
        name,
        f"{STARTER} (small, bundled, instant)",
        name,
        "GRIG, fills holes of 256 pixels (published, 290 MB, downloads once)",
        "ORG/NAME (from the Hub, downloads once)",
    ]
    assert running.model_source("inpaint") == str(tiny_model)
    assert running.model_source("inpaint", f"{name}-2") == str(twin)
    with pytest.raises(ValueError, match=f"no model 'other' here; choose {name} or starter"):
        offered_model("inpaint", "other")
    check_models(method_named("inpaint"))
    offer(comma)
    assert [model.source for model in offered_models("inpaint")] == [str(comma)]
    for nothing in ("", " , "):
        offer(nothing)
        assert [model.name for model in offered_models("inpaint")] == ["starter"]


@pytest.mark.parametrize(
    ("method", "value", "message"),
    [
        ("inpaint", "starter,/nowhere/model", "there is no folder /nowhere/model"),
        ("inpaint", "{folder}/none", "there is no folder .*none"),
        ("restore", "{folder}", "holds no model: there is no model_index.json"),
        (
            "restore",
            "publish",
            "'publish' is no folder here and no word that is known: name a folder, ORG/NAME",
        ),
        ("inpaint", "starter,published", "cannot be fetched.*facekit fetch grig --from FOLDER"),
        ("inpaint", "vspbfr", "it is no model of FaceInpaintPipeline"),
        ("edit", "published", "of FACEMUG the authors published the style encoder alone"),
        ("edit", "starter,ORG/NAME", "name one, not 2, for its sliders belong to the model"),
    ],
)
def test_what_cannot_be_offered_is_refused_at_start(
    monkeypatch, tmp_path, capsys, method, value, message
) -> None:
    monkeypatch.setenv("FACEKIT_CACHE", str(tmp_path / "cache"))
    variable = f"FACEKIT_{method.upper()}_MODEL"
    monkeypatch.setenv(variable, "starter")
    specification = importlib.util.spec_from_file_location("demo_app", ROOT / "app.py")
    app = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(app)
    assert app.main([f"--{method}-model", value.format(folder=tmp_path)]) == 2
    said = capsys.readouterr().err
    assert f"--{method}-model or {variable}" in said
    with pytest.raises(ValueError, match=message):
        page.build_app((method,))


def test_a_model_that_a_tab_loads_besides_its_own_is_checked_at_start(monkeypatch) -> None:
    monkeypatch.setenv("FACEKIT_RESTORE_MODEL", "/nowhere/model")
    with pytest.raises(ValueError, match=r"tab Restore .*FACEKIT_RESTORE_MODEL.* no folder /nowhere/model"):
        page.build_app(("inpaint",))
    monkeypatch.setenv("FACEKIT_RESTORE_MODEL", "starter")
    monkeypatch.setenv("FACEKIT_EXEMPLAR_MODEL", "/nowhere/model")  # no other tab takes it
    page.build_app(("inpaint",))


def test_pipelines_are_those_chosen_and_two_of_them_stay(offer, tiny_model, tmp_path) -> None:
    names = ["first", "second", "third"]
    for name in names:
        shutil.copytree(tiny_model, tmp_path / name)
    offer(*(tmp_path / name for name in names))
    first = running.load_pipeline("inpaint")
    assert first.name_or_path == str(tmp_path / "first")
    assert running.load_pipeline("inpaint", "second").name_or_path == str(tmp_path / "second")
    assert running.load_pipeline("inpaint", "first") is first
    running.load_pipeline("inpaint", "third")
    assert list(running._pipelines["inpaint"]) == [str(tmp_path / "first"), str(tmp_path / "third")]
    assert running.made_by("inpaint", "second").model == "second"
    assert "(model third)" in expectation("inpaint", str(photo_file(tmp_path, 60, 40)), "third")


def test_a_model_is_fetched_once_with_bytes_or_it_is_said_why_not(offer, table, tiny_model) -> None:
    offer(tiny_model, "published")
    told: list[str] = []

    def progress(_share: float | None, desc: str) -> None:
        told.append(desc)

    Broken.cut = 1000
    with pytest.raises(OSError, match=r"broke off|not possible"):
        running.make_ready("inpaint", "published", progress)
    assert not offered_model("inpaint", "published").is_here
    Broken.cut = None
    running.make_ready("inpaint", "published", progress)
    ready = offered_model("inpaint", "published")
    assert ready.is_here and ready.label.endswith("(published, already here)")
    whole = [text for text in told if text.startswith("Fetching: ")][-1]
    assert len(set(whole.removeprefix("Fetching: ").split(" of "))) == 1  # all of all
    assert told[0] == "Fetching GRIG, fills holes of 256 pixels" and told[-1].startswith("Preparing")
    count = len(told)
    running.make_ready("inpaint", "published", progress)
    assert len(told) == count


def test_fetching_does_not_count_for_the_time_of_a_request(monkeypatch) -> None:
    clock = iter([0.0, 1.0, 500.0, 501.0, 520.0])
    monkeypatch.setattr(limits.time, "monotonic", lambda: next(clock))
    with limits.limited_time(10):
        with limits.uncounted_time():
            pass
        limits.check_time()
        with pytest.raises(TimeoutError):
            limits.check_time()


@pytest.fixture
def url(offer, table, tiny_model) -> Iterator[str]:
    """The Inpaint tab in this process, with three models."""
    offer(tiny_model, "starter", "published")
    app, port = page.build_app(("inpaint",)), free_port()
    page.launch(app, port=port, prevent_thread_lock=True, quiet=True)
    yield f"http://127.0.0.1:{port}"
    app.close(verbose=False)


@pytest.mark.slow
def test_a_visitor_chooses_for_himself(url, browser, tiny_model, tmp_path) -> None:
    visitor, other = InpaintPage(browser, url, **PHONE), InpaintPage(browser, url)

    def chosen(of: InpaintPage) -> str:
        return of.part("model").locator("input:checked").input_value()

    def expect(name: str) -> None:
        visitor.part("expected").get_by_text(f"(model {name})").wait_for()

    try:
        for one in (visitor, other):
            one.choose_example()
        expect(tiny_model.name)
        Broken.cut = 1000
        visitor.part("model").get_by_label("GRIG").check()
        failure = visitor.part("failure").get_by_role("alert")
        failure.get_by_text(f"The model before goes on: {tiny_model.name}.").wait_for()
        visitor.page.wait_for_function(
            """() => { const box = document.querySelector('#inpaint-failure .failure').getBoundingClientRect();
                       return box.top < window.innerHeight && box.bottom > 0; }"""
        )
        assert failure.evaluate("said => said.scrollWidth <= said.clientWidth")  # an address in it breaks
        assert str(tmp_path) not in failure.inner_text()  # a visitor need not know where files lie
        visitor.page.wait_for_function(
            f"() => document.querySelector('#inpaint-model input:checked').value === '{tiny_model.name}'"
        )
        Broken.cut = None
        visitor.part("model").get_by_label("GRIG").check()
        visitor.part("terms").get_by_text("Terms of these weights: ask us").wait_for()
        expect("grig")
        assert chosen(visitor) == "published" and not failure.count()
        visitor.part("model").get_by_label(STARTER).check()
        expect(STARTER)
        visitor.part("terms").get_by_text("Terms of these weights").wait_for(state="detached")
        visitor.fill()
        visitor.part("download").wait_for()
        visitor.result(tmp_path)
        (result,) = tmp_path.glob("*-filled.png")
        # The box for detail was ticked with the bundled model.
        assert inspect(result).metadata.model == f"{STARTER} and {starters()['face-restore']}"
        assert chosen(other) == tiny_model.name
    finally:
        visitor.close()
        other.close()


@pytest.mark.slow
def test_a_program_chooses_among_the_hosts_models(url, tiny_model, tmp_path) -> None:
    client, mask = Client(url, verbose=False), Image.new("L", (64, 64))
    mask.paste(255, (20, 20, 40, 40))
    mask.save(tmp_path / "mask.png")
    given = [handle_file(photo_file(tmp_path, 64, 64)), handle_file(tmp_path / "mask.png"), "image", 1, 0]
    for options, name in (({}, tiny_model.name), ({"model": "starter"}, STARTER)):
        path, _ = client.predict(*given, **options, api_name="/inpaint")
        assert inspect(path).metadata.model == name
    with pytest.raises(AppError, match="not in the list of choices"):
        client.predict(*given, model="ORG/OTHER", api_name="/inpaint")
