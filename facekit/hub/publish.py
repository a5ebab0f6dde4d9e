"""Uploading a model folder to the Hub: which files go, and what is wrong with them.

Spaces are planned in `facekit.hub.publish_space` and pushed from here.
"""

import json
import logging
import os
import re
import struct
import zipfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from facekit.methods import method_of

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, ModelCard

logger = logging.getLogger(__name__)

CARD = "README.md"
INDEXES = ("model_index.json", "config.json")
WEIGHTS = ".safetensors"
TEXTS = frozenset((".json", ".jsonl", ".md", ".txt", ".yaml", ".yml", ".csv", ".py"))
LARGEST_TEXT = 50_000_000  # bytes; no card or curve is longer
# Formats that can run code when they are opened, by name; whatever its name, a pickle is known by its content.
PICKLES = frozenset((".bin", ".ckpt", ".joblib", ".npy", ".npz", ".pickle", ".pkl", ".pt", ".pth"))
REQUIRED = ("license", "library_name", "pipeline_tag", "tags", "datasets")
PIPELINE_TAGS = frozenset(("image-to-image", "unconditional-image-generation", "image-segmentation", "other"))
PLACEHOLDERS = re.compile(
    r"\[more information needed\]|\[optional\]|\bTODO\b|\bFIXME\b|\bTBD\b|\bXXX\b|lorem ipsum|\{\{.*?\}\}|"
    r"<your[ _-]|\byour[-_](?:name|org|model)\b|insert .{0,40} here",
    re.IGNORECASE,
)
# A folder of somebody's computer, at the start of a word; addresses such as https://host/data/ are not meant.
MACHINE_PATHS = re.compile(
    r"""(?:(?<=[\s"'`(=:,\[])|^)(?:file://)?(?:/(?:home|Users|root|work|mnt|data|tmp|var|opt|srv|scratch|workspace|content|"""
    r"""kaggle)/[^\s"'`]+|[A-Za-z]:\\+[^\s"'`]+|~/[^\s"'`]+)""",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Upload:
    """One file: path in the repository, file on disk, size in bytes."""

    path: str
    file: Path
    size: int


@dataclass
class Plan:
    """What a push of a folder would do.

    Attributes:
        folder: what is pushed.
        uploads: the files, by path; exactly these.
        left_out: hidden files and compiled Python, which stay here.
        problems: why the folder must not be pushed; empty when all is well.
        notes: what could be better.
        repo_type: "model" or "space".
    """

    folder: Path
    uploads: list[Upload] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    repo_type: str = "model"

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(upload.size for upload in self.uploads)


def plan_push(folder: str | os.PathLike) -> Plan:
    """Look through a model folder without changing or sending anything.

    Raises ValueError where there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; name a model folder such as hub_cards/NAME.")
    plan = Plan(folder)
    plan.uploads = collect(folder, plan)
    for upload in plan.uploads:
        plan.problems += problems_of(upload)
    paths = {upload.path for upload in plan.uploads}
    if not any(index in paths for index in INDEXES):
        plan.problems.append(f"there is neither {' nor '.join(INDEXES)}: save the model with save_pretrained")
    if not any(path.endswith(WEIGHTS) for path in paths):
        plan.problems.append(f"there are no weights ({WEIGHTS})")
    _check_card(folder / CARD, plan)
    _check_class(folder / "model_index.json", plan)
    return plan


def _check_class(index: Path, plan: Plan) -> None:
    """Note where those who download a pipeline need more than facekit to run it."""
    try:
        method = method_of(json.loads(index.read_text("utf-8"))["_class_name"])
    except (OSError, ValueError, LookupError, TypeError):  # said already
        return
    if method is not None and method.way_out:
        plan.notes.append(
            f"{method.class_name} is of the package {method.package}, which is no part of facekit: say in {CARD} "
            "where it comes from"
        )


def collect(folder: Path, plan: Plan, prefix: str = "") -> list[Upload]:
    """The files of a folder that are uploaded, under paths that begin with `prefix`.

    Hidden files and compiled Python are entered in `plan.left_out`, links out of the folder in `plan.problems`.
    """
    uploads = []
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder)
        if file.is_dir() and not file.is_symlink():
            continue
        if any(part.startswith(".") or part == "__pycache__" for part in path.parts) or file.suffix == ".pyc":
            plan.left_out.append(prefix + path.as_posix())
        elif not file.is_file() or folder.resolve() not in file.resolve().parents:
            plan.problems.append(
                f"{prefix}{path.as_posix()} is a link out of the folder, or no file: put the file in place"
            )
        else:
            uploads.append(Upload(prefix + path.as_posix(), file, file.stat().st_size))
    return uploads


def push(
    plan: Plan,
    repo_id: str,
    *,
    private: bool = False,
    revision: str | None = None,
    message: str = "Upload with facekit",
    token: str | None = None,
    endpoint: str | None = None,
) -> "CommitInfo":
    """Make the repository where there is none, and send the plan's files in one commit.

    Args:
        plan: from `plan_push` or `facekit.hub.publish_space.plan_space`.
        repo_id: ORG/NAME.
        private: of a new repository.
        revision: branch, made of main's head where there is none; None is main.
        message: of the commit.
        token, endpoint: None takes what `hf auth login` and HF_ENDPOINT set.

    A repository or branch that was made for it is removed again where the files are not taken.

    Raises:
        ValueError: the plan has problems, the Hub's own validation refuses the card, or a bad `repo_id`.
        huggingface_hub.errors.HfHubHTTPError: the Hub refuses.
        OSError: the Hub cannot be reached, or the connection broke off.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    from facekit.hub.errors import explain_push_errors

    if plan.problems:
        raise ValueError(f"{plan.folder} cannot be pushed: {'; '.join(plan.problems)}.")
    check_repo_id(repo_id)
    api = HfApi(endpoint=endpoint, token=token)
    kind = plan.repo_type
    sdk = "gradio" if kind == "space" else None
    operations = [CommitOperationAdd(upload.path, str(upload.file)) for upload in plan.uploads]
    with explain_push_errors(), ExitStack() as undo:
        if not api.repo_exists(repo_id, repo_type=kind):
            api.create_repo(repo_id, private=private, repo_type=kind, space_sdk=sdk)
            undo.callback(_take_back, f"repository {repo_id}", api.delete_repo, repo_id, repo_type=kind)
        if revision is not None and not api.revision_exists(repo_id, revision, repo_type=kind):
            api.create_branch(repo_id, branch=revision, repo_type=kind)
            undo.callback(
                _take_back, f"branch {revision}", api.delete_branch, repo_id, branch=revision, repo_type=kind
            )
        before = api.repo_info(repo_id, revision=revision, repo_type=kind).sha
        try:
            commit = api.create_commit(
                repo_id, operations, commit_message=message, revision=revision, repo_type=kind
            )
        except BaseException:
            # The answer may be what was lost, on its way back from a Hub that has the files.
            with suppress(Exception):
                if api.repo_info(repo_id, revision=revision, repo_type=kind).sha != before:
                    undo.pop_all()
            raise
        undo.pop_all()
    return commit


def _take_back(made: str, remove: Callable[..., None], *args: str, **options: str) -> None:
    """Remove the repository or branch that was made for a failed push; errors of that are not raised."""
    try:
        remove(*args, **options)
    except Exception as error:  # the Hub's, and those of an HTTP library that depends on the version
        logger.warning("the %s was made and could not be removed again: %s", made, error)


def check_repo_id(repo_id: str) -> None:
    """Raise ValueError where a name is not ORG/NAME as the Hub allows it."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise ValueError(f"{repo_id!r} is no name of a repository: {error}") from error
    if "/" not in repo_id:
        raise ValueError(f"{repo_id!r} does not say whose it is; say ORG/NAME.")


def problems_of(upload: Upload) -> list[str]:
    """What is wrong with one file."""
    suffix = upload.file.suffix.lower()
    if suffix in PICKLES or _is_pickle(upload.file):
        return [f"{upload.path} is a pickle or can hold one, and may run code when opened: save safetensors"]
    text = ""
    if suffix == WEIGHTS:
        try:
            text = json.dumps(_header(upload.file))
        except (OSError, ValueError) as error:
            return [f"{upload.path} is damaged ({error}): save it again"]
        broken = _not_finite(upload.file)
        if broken:
            shown = f"{broken[0]} and {len(broken) - 1} more" if len(broken) > 1 else broken[0]
            return [
                f"{upload.path} holds infinity or NaN in {shown}: save the weights of a sound model, in float32 or "
                "bfloat16 if float16 cannot hold them"
            ]
    elif suffix in TEXTS and upload.size <= LARGEST_TEXT:
        try:
            text = upload.file.read_text("utf-8")
        except UnicodeDecodeError:
            return [f"{upload.path} is not UTF-8 text"]
        if suffix == ".json":
            try:
                json.loads(text)
            except ValueError as error:
                return [f"{upload.path} is no JSON ({error})"]
    problems = []
    found = MACHINE_PATHS.search(text)
    if found:
        problems.append(f"{upload.path} names a path of one machine, {found[0]!r}: take it out")
    found = PLACEHOLDERS.search(text) if suffix == ".md" else None
    if found:
        problems.append(f"{upload.path} still has the placeholder {found[0]!r}: write it or take it out")
    return problems


def _is_pickle(file: Path) -> bool:
    """Pickle protocols 2 to 5 begin with a byte of their own; PyTorch's files are zips with one inside."""
    with open(file, "rb") as opened:
        start = opened.read(4)
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return True
    if start != b"PK\x03\x04":
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith((".pkl", ".npy")) for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _header(file: Path) -> dict[str, str]:
    """The free text of a safetensors file. Raises ValueError where its tensors do not fill the file."""
    size = file.stat().st_size
    with open(file, "rb") as opened:
        start = opened.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8:
            raise ValueError("its header is longer than the file")
        header = json.loads(opened.read(length))
    told = header.pop("__metadata__", {})
    end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if 8 + length + end != size:
        raise ValueError(f"it has {size:,} bytes and should have {8 + length + end:,}")
    return told


def _not_finite(file: Path) -> list[str]:
    """Names of the tensors of a sound safetensors file that have infinity or NaN."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        tensors = ((name, opened.get_tensor(name)) for name in opened.keys())
        return [n for n, value in tensors if value.is_floating_point() and not value.isfinite().all()]


def _check_card(file: Path, plan: Plan) -> None:
    """The model card by huggingface_hub's own reader, and what facekit asks of it beyond."""
    from huggingface_hub import ModelCard

    if not file.is_file():
        plan.problems.append(f"there is no model card ({CARD}): say what the model is and was trained on")
        return
    try:
        card = ModelCard.load(file)
    except Exception as error:  # YAML's, huggingface_hub's and Python's own, by what is wrong
        plan.problems.append(f"the metadata of {CARD} is not valid: {' '.join(str(error).split())}")
        return
    plan.problems += [f"{CARD}: {problem}" for problem in card_problems(card)]
    if not card.data.eval_results:
        plan.notes.append(f"{CARD} has no evaluation results (model-index) in its metadata")


def card_problems(card: "ModelCard") -> list[str]:
    """What is missing or wrong in a card that huggingface_hub could read."""
    data = card.data.to_dict()
    problems = [f"the metadata lacks {name}" for name in REQUIRED if not data.get(name)]
    if len(card.text.split()) < 50:
        problems.append("it says next to nothing about the model")
    tag = data.get("pipeline_tag")
    if tag and tag not in PIPELINE_TAGS:
        problems.append(f"pipeline_tag is {tag!r}; known here are {', '.join(sorted(PIPELINE_TAGS))}")
    for name in ("base_model", "datasets"):
        given = data.get(name) or []
        for entry in [given] if isinstance(given, str) else given:
            try:
                check_repo_id(entry if "/" in str(entry) else f"any/{entry}")
            except (TypeError, ValueError):
                problems.append(f"{name} has {entry!r}, which is no name on the Hub")
    for result in getattr(card.data, "eval_results", None) or []:
        if isinstance(result.metric_value, bool) or not isinstance(result.metric_value, int | float):
            problems.append(f"the result {result.metric_type} is {result.metric_value!r}, not a number")
    return problems
