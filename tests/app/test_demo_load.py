"""Six visitors at once, for ten seconds (`benchmarks/demo_load.py` is the same with twenty, for two minutes)."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def demo_load():
    specification = importlib.util.spec_from_file_location("demo_load", ROOT / "benchmarks" / "demo_load.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["demo_load"] = module
    specification.loader.exec_module(module)
    return module


def test_a_wrong_picture_is_noticed(demo_load, tmp_path) -> None:
    from PIL import Image

    visitor = demo_load.Visitor("", 1, tmp_path, 0, demo_load.Tally())
    for task in demo_load.TASKS:
        Image.fromarray(demo_load.own_photo(2)).save(tmp_path / "other.png")
        assert "differ from the upload" in visitor.check(task, str(tmp_path / "other.png"))
        Image.fromarray(visitor.photo).save(tmp_path / "same.png")
        assert visitor.check(task, str(tmp_path / "same.png")) == "nothing changed"
        mine = visitor.photo.copy()
        mine[110, 110] ^= 1
        Image.fromarray(mine).save(tmp_path / "mine.png")
        assert visitor.check(task, str(tmp_path / "mine.png")) is None


@pytest.mark.slow
def test_six_visitors_get_their_own_pictures(
    demo_load, tiny_model, tiny_restorer, tiny_exemplar, tiny_editor, tmp_path
) -> None:
    models = {
        "FACEKIT_INPAINT_MODEL": str(tiny_model),
        "FACEKIT_RESTORE_MODEL": str(tiny_restorer),
        "FACEKIT_EXEMPLAR_MODEL": str(tiny_exemplar),
        "FACEKIT_EDIT_MODEL": str(tiny_editor),
    }
    url, server = demo_load.start_demo(tmp_path, models)
    try:
        report = demo_load.run_load(url, server.pid, 6, 10)
    finally:
        server.terminate()
        server.wait(30)
    print(demo_load.table(report))
    assert not report["wrong"] and all(report["counts"][task] >= 1 for task in demo_load.TASKS)
