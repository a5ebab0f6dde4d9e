"""A Space as it goes to the Hub: its folder, facekit's packages, and the models that its tabs need."""

import ast
import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from facekit.hub.publish import CARD, INDEXES, WEIGHTS, Plan, Upload, check_repo_id, collect, problems_of
from facekit.hub.starters import starters
from facekit.methods import VARIABLE, Method, methods

PACKAGES = ("facekit", "facekit_demo")
CARDS = "hub_cards"  # beside the package, where `facekit.hub.starters.starter` looks first
REQUIRED = ("title", "sdk", "sdk_version", "python_version", "app_file", "license", "models")
MAX_DESCRIPTION = 60  # letters, the Hub's limit
# Of a model folder a Space runs networks, settings and card; pictures and curves of the training stay here.
NOT_RUN = (".png", ".jpg", ".jsonl")


def plan_space(folder: str | os.PathLike) -> Plan:
    """Look through a Space's folder, and gather what travels with it; nothing is changed or sent.

    The packages are those that this Python runs. A model that `models:` of the front matter names and that is not
    bundled is left to be downloaded by the Space, with a note.

    Raises:
        ValueError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; name a Space's folder such as spaces/NAME.")
    plan = Plan(folder, repo_type="space")
    uploads = collect(folder, plan)
    names = [model.rsplit("/", 1)[-1] for model in _check_front_matter(folder / CARD, plan)]
    used = [method for method in methods() if any(_is_of(method, name) for name in names)]
    outside = [method for method in used if method.way_out]
    taken = {upload.path.split("/")[0] for upload in uploads}
    taken &= {*PACKAGES, CARDS, *(method.package for method in outside)}
    plan.problems += [
        f"{name}/ is in the folder, where what travels along goes: take it out" for name in taken
    ]
    _check_app(folder, outside, plan)

    package = Path(__file__).resolve().parents[1]
    for name in PACKAGES:
        if not (package.parent / name).is_dir():
            plan.problems.append(f"the package {name} is not beside facekit: install facekit whole")
            continue
        uploads += _without_cards(collect(package.parent / name, Plan(package), prefix=f"{name}/"))
    licence = package.parent / "LICENSE"
    if licence.is_file() and not (folder / "LICENSE").exists():
        uploads.append(Upload("LICENSE", licence, licence.stat().st_size))
    for method in outside:
        uploads += _outside_package(method, plan)
    needs = [starters()[need] for method in used for need in method.needs]
    for name in dict.fromkeys([*names, *needs]):
        uploads += _model(name, package, plan)

    plan.uploads = sorted(uploads, key=lambda upload: upload.path)
    for upload in plan.uploads:
        plan.problems += problems_of(upload)
    return plan


def _without_cards(uploads: list[Upload]) -> list[Upload]:
    """An installed package carries the models inside; in a Space they lie beside it."""
    return [upload for upload in uploads if not upload.path.startswith(f"facekit/{CARDS}/")]


def _is_of(method: Method, name: str) -> bool:
    """Whether a model of that name is a method's: its starter, or called as the method's models are."""
    return name == Path(method.starter).name or name.startswith(f"{method.model}-")


def _outside_package(method: Method, plan: Plan) -> list[Upload]:
    """The package or module of a method from outside, as it lies here; its starter is left to `_model`."""
    spec = find_spec(method.package)
    file = Path(spec.origin) if spec is not None and spec.origin else None
    if file is None or not file.is_file():
        plan.problems.append(f"{method.package} of the method {method.name} is no package on this disk")
        return []
    if file.name != "__init__.py":
        return [Upload(file.name, file, file.stat().st_size)]
    uploads = collect(file.parent, Plan(file.parent), prefix=f"{method.package}/")
    return [upload for upload in uploads if not upload.file.is_relative_to(method.starter)]


def _model(name: str, package: Path, plan: Plan) -> list[Upload]:
    """The files of a bundled model that a Space runs; none where it is not bundled."""
    outside = [Path(method.starter) for method in methods() if method.way_out]
    known = [folder for folder in outside if folder.is_absolute() and folder.name == name]
    for folder in (package.parent / CARDS / name, package / CARDS / name, *known):
        if folder.is_dir():
            found = collect(folder, plan, prefix=f"{CARDS}/{name}/")
            found = [upload for upload in found if upload.file.suffix not in NOT_RUN]
            paths = {upload.path.removeprefix(f"{CARDS}/{name}/") for upload in found}
            if not paths & set(INDEXES) or not any(path.endswith(WEIGHTS) for path in paths):
                plan.problems.append(
                    f"the model {name} in {CARDS}/ is not complete: finish it, or name another"
                )
            return found
    plan.notes.append(f"{CARD} names the model {name}, which is not bundled: the Space has to download it")
    return []


def _check_front_matter(file: Path, plan: Plan) -> list[str]:
    """Enter what is wrong with a Space's metadata. Returns the models it names."""
    from huggingface_hub import SpaceCard

    if not file.is_file():
        plan.problems.append(f"there is no {CARD} with the Space's front matter")
        return []
    try:
        data = SpaceCard.load(file).data.to_dict()
    except Exception as error:  # YAML's, huggingface_hub's and Python's own, by what is wrong
        plan.problems.append(f"the metadata of {CARD} is not valid: {' '.join(str(error).split())}")
        return []
    problems = [f"the metadata lacks {name}" for name in REQUIRED if not data.get(name)]
    if data.get("sdk", "gradio") != "gradio":
        problems.append(f"sdk is {data['sdk']!r}; facekit's Spaces are made with gradio")
    for name in ("sdk_version", "python_version"):
        if name in data and not isinstance(data[name], str):
            problems.append(f"{name} is {data[name]!r}, a number: put it in quotes, for 3.10 reads as 3.1")
    if len(str(data.get("short_description", ""))) > MAX_DESCRIPTION:
        problems.append(f"short_description is longer than {MAX_DESCRIPTION} letters")
    app = data.get("app_file")
    if app and not (file.parent / str(app)).is_file():
        problems.append(f"app_file is {app!r}, and there is no such file")
    models = data.get("models") or []
    models = [str(model) for model in ([models] if isinstance(models, str) else models)]
    for model in models:
        try:
            check_repo_id(model)
        except ValueError:
            problems.append(f"models has {model!r}, which is no name on the Hub")
    plan.problems += [f"{CARD}: {problem}" for problem in problems]
    return models


def _check_app(folder: Path, outside: Sequence[Method], plan: Plan) -> None:
    """Requirements are there, every module of the Space's own is Python, and methods from outside are asked for."""
    if not (folder / "requirements.txt").is_file():
        plan.problems.append("there is no requirements.txt: list the packages that the Space needs")
    files = sorted(folder.glob("*.py"))
    for file in files:
        try:
            ast.parse(file.read_bytes())
        except (SyntaxError, ValueError) as error:
            plan.problems.append(f"{file.name} is no Python ({error})")
    for method in outside:
        if not any(method.package.encode() in file.read_bytes() for file in files):
            plan.problems.append(
                f"the method {method.name} is not asked for: let the app set {VARIABLE} to {method.package} before it "
                "imports facekit_demo"
            )
