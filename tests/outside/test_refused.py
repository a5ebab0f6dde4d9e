"""A broken method from outside is refused by name, with the way out, and nothing else suffers from it."""

from collections.abc import Callable
from pathlib import Path

import gradio as gr
import pytest

from facekit.methods import Method, MethodError, method_named, methods, refusals
from facekit_cli.main import find_commands
from facekit_demo.page import build_app, find_tabs
from tests.outside.conftest import run

ENTRY = """\
from facekit.methods import Method

METHOD = Method(
    name="{name}",
    title="Broken",
    model="{model}",
    starter="somebody/broken",
    pipeline="{package}.pipeline.{pipeline}",
    command="{package}.command",
    tab="{package}.tab",
    tasks={tasks},
)
"""
COMMAND = "HELP = DESCRIPTION = EXAMPLES = ''\ndef add_options(parser): pass\ndef run(args): return 0\n"
# Package -> its files, changes to its entry, and what is said.
BROKEN: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "no_entry": ({"__init__.py": ""}, {}, "has no attribute 'METHOD'"),
    "no_method": ({"__init__.py": "METHOD = 5"}, {}, "it gives 5, which is no facekit.methods.Method"),
    "no_import": ({"__init__.py": "import nowhere.to_be_found"}, {}, "No module named 'nowhere'"),
    "no_python": ({"__init__.py": "METHOD = ("}, {}, "SyntaxError: '(' was never closed"),
    "ends_all": (
        {"__init__.py": "raise SystemExit('no GPU')"},
        {},
        "end the whole program by sys.exit('no GPU')",
    ),
    "command_ends_all": (
        {"command.py": "import sys\nsys.exit(3)"},
        {},
        "the command of the method broken cannot be used: it would end the whole program by sys.exit(3)",
    ),
    "options_end_all": (
        {"command.py": COMMAND.replace("pass", "parser.error('wrong')")},
        {},
        "the command of the method broken cannot be used: it would end the whole program by sys.exit(2)",
    ),
    "no_package": ({"other.py": ""}, {}, "no_package/__init__.py"),
    "json": ({}, {}, "Python knows another json"),
    "not-a-name": ({}, {}, "no name that Python can import"),
    "taken_name": ({}, {"name": "inpaint"}, "its name inpaint is taken by the method inpaint"),
    "taken_model": ({}, {"model": "face-edit"}, "its model face-edit is taken"),
    "taken_prior": ({}, {"model": "face-prior"}, "its model face-prior is taken"),
    "taken_class": ({}, {"pipeline": "FaceEditPipeline"}, "its class_name FaceEditPipeline is taken"),
    "wrong_name": ({}, {"name": "My Blur"}, "name is 'My Blur'"),
    "wrong_tasks": ({}, {"tasks": "'restore'"}, "tasks is 'restore'; it must be a tuple"),
    "unknown_task": ({}, {"tasks": "('colour',)"}, "tasks has colour; known are restore"),
    "own_command": ({"command.py": COMMAND}, {"name": "convert"}, "facekit convert is another command"),
    "no_command": (
        {},
        {},
        "the command of the method broken cannot be used: No module named 'no_command.command'",
    ),
    "no_run": (
        {"command.py": "HELP = ''"},
        {},
        "no_run.command has no DESCRIPTION, EXAMPLES, add_options, run",
    ),
    "bad_options": (
        {"command.py": COMMAND.replace("pass", "parser.add_argument('--help')")},
        {},
        "conflicting option string: --help",
    ),
}


def write(folder: Path, name: str) -> Path:
    """One of `BROKEN` in a folder."""
    files, changes, _ = BROKEN[name]
    entry = {"name": "broken", "model": "broken", "package": name, "pipeline": "Broken", "tasks": "()"}
    package = folder / name
    package.mkdir()
    for file, text in ({"__init__.py": ENTRY.format_map(entry | changes)} | files).items():
        if name != "no_package" or file != "__init__.py":
            (package / file).write_text(text)
    return package


@pytest.mark.parametrize("name", BROKEN)
def test_it_is_said_what_is_wrong(name: str, offered: Callable[..., None], tmp_path: Path) -> None:
    package = write(tmp_path, name)
    offered(package)
    commands, left_out = find_commands()
    assert [*commands][:5] == ["restore", "mend", "inpaint", "exemplar", "edit"] and "broken" not in commands
    (reason,) = left_out
    assert BROKEN[name][2] in reason and f"Repair {package} or take it out of FACEKIT_METHODS." in reason


def test_whoever_presses_ctrl_c_is_obeyed(offered: Callable[..., None], tmp_path: Path) -> None:
    package = tmp_path / "interrupted"
    package.mkdir()
    (package / "__init__.py").write_text("raise KeyboardInterrupt")
    offered(package)
    with pytest.raises(KeyboardInterrupt):
        find_commands()


def test_what_is_not_there(offered: Callable[..., None], tmp_path: Path) -> None:
    offered(tmp_path / "gone", "gone.package", tmp_path / "gone.py")
    assert [method.name for method in methods()] == ["restore", "mend", "inpaint", "exemplar", "edit"]
    folder, module, file = refusals()
    assert f"there is no file {tmp_path}/gone/__init__.py" in folder and "No module named 'gone'" in module
    assert f"there is no file {tmp_path}/gone.py" in file


def test_in_a_process_the_others_go_on(tmp_path: Path) -> None:
    places = f"{write(tmp_path, 'no_command')}:{write(tmp_path, 'no_python')}"
    done = run("-m", "facekit", "inpaint", "--help", places=places)
    assert done.returncode == 0 and done.stdout.startswith("usage: facekit inpaint")
    first, second = done.stderr.splitlines()
    assert first.startswith(f"facekit: {tmp_path}/no_python in FACEKIT_METHODS is left out: SyntaxError")
    assert second.startswith("facekit: the command of the method broken cannot be used")
    done = run("-m", "facekit", "broken", places=places)
    assert done.returncode == 2 and "No module named 'no_command.command'" in done.stderr


def test_the_page_goes_on_without_its_tab(
    offered: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    offered(write(tmp_path, "no_run"))
    assert [method.name for method in find_tabs(None)] == ["restore", "mend", "inpaint", "exemplar", "edit"]
    assert "the tab of the method broken cannot be used" in caplog.text
    with pytest.raises(ValueError, match="the tab of the method broken cannot be used: No module named"):
        find_tabs(["broken"])
    with pytest.raises(ValueError, match=r"no tabs \['blur'\]; choose some of restore, mend"):
        find_tabs(["restore", "blur"])
    with pytest.raises(MethodError, match="the pipeline of the method broken cannot be used"):
        method_named("broken").import_pipeline()


def test_the_page_goes_on_without_a_tab_that_fails_while_it_is_laid_out(
    offered: Callable[..., None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    package = write(tmp_path, "no_run")
    (package / "tab.py").write_text("import gradio as gr\ndef build_tab():\n    gr.Image()\n    1 / 0\n")
    offered(package)
    page = build_app()
    assert "the tab of the method broken cannot be used: ZeroDivisionError: division by zero" in caplog.text
    tabs = [block.id for block in page.blocks.values() if isinstance(block, gr.Tab)]
    assert tabs == ["restore", "mend", "inpaint", "exemplar", "edit"]
    with pytest.raises(ValueError, match="division by zero"):
        find_tabs(["broken"])


def test_errors_of_our_own_methods_stay_as_they_are() -> None:
    method = Method(name="own", title="Own", model="own", starter="own", pipeline="nowhere.Own")
    with pytest.raises(ModuleNotFoundError, match="No module named 'nowhere'"):
        method.import_pipeline()
