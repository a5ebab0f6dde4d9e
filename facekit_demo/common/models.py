"""The models that a host offers on a tab: read and checked at start, fetched when they are asked for.

The environment variable of a method (`Method.model_variable`, such as FACEKIT_RESTORE_MODEL), or the option of `app.py`
that sets it, names them, separated by commas; the first works until a visitor chooses another:

    FACEKIT_RESTORE_MODEL=starter,published,runs/mine,ORG/NAME
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from facekit.hub.classes import pipeline_class
from facekit.hub.fetching import Tell
from facekit.hub.memory import format_bytes
from facekit.hub.published import PUBLISHED, Published, find_published
from facekit.hub.record import read_record
from facekit.hub.shelf import converted_folder, provide
from facekit.hub.starters import STARTER, starter
from facekit.methods import Method, method_named

INDEX = "model_index.json"
# Methods whose tab has no choice, and why.
ONE_MODEL = {"edit": "its sliders belong to the model"}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class Offered:
    """A model that a tab offers.

    Attributes:
        name: by which the page and programs know it; of a folder its last part, so that no visitor sees more of it.
        source: what a pipeline is loaded from: a folder, a Hub id, or a name of published weights to be fetched.
        published: what it is of the weights that the method's authors published, if it is.
    """

    name: str
    source: str
    published: Published | None = None

    @property
    def is_here(self) -> bool:
        """Whether it is a folder, so that nothing is to be fetched. What lies in the Hub's cache does not count."""
        return Path(self.source).is_dir()

    @property
    def title(self) -> str:
        """What it is called in a sentence: the folder's name, the Hub id, or what was published."""
        if self.published is not None:
            return self.published.title
        return Path(self.source).name if self.is_here else self.source

    @property
    def label(self) -> str:
        """For the page: what it is, and what choosing it takes."""
        if self.published is not None:
            takes = "already here" if self.is_here else f"{format_bytes(self.published.size)}, downloads once"
            return f"{self.title} (published, {takes})"
        if not self.is_here:
            return f"{self.title} (from the Hub, downloads once)"
        return f"{self.title} (small, bundled, instant)" if self.name == STARTER else self.title


def offered_models(name: str) -> tuple[Offered, ...]:
    """The models of the method of that name, each once, the default first.

    Raises:
        ValueError: a word means published weights that the method does not have (see `find_published`).
    """
    method, found = method_named(name), dict[str, Offered]()
    for word in _words(method):
        model = _offered(word, method)
        if model.source not in found:
            taken = [other.name for other in found.values()]
            own, number = model.name, 1
            while model.name in taken:
                number += 1
                model = replace(model, name=f"{own}-{number}")
            found[model.source] = model
    return tuple(found.values())


def offered_model(name: str, model: str | None = None) -> Offered:
    """A method's model by the name that the page gives it; None: the default. ValueError with those there are."""
    models = offered_models(name)
    for one in models:
        if model in (None, "", one.name):
            return one
    raise ValueError(f"there is no model {model!r} here; choose {' or '.join(one.name for one in models)}")


def model_title(source: str) -> str:
    """What a model is called in a line for people: what was published, the folder's name, or the Hub id's."""
    record = read_record(source)
    return Path(source).name if record is None else record.name


def check_models(method: Method) -> None:
    """Refuse what `offered_models` could not offer. Nothing is fetched or loaded.

    Raises:
        ValueError: a word means no model, a folder is not there or holds none, the tab takes only one, or nobody knows
            where published weights lie; the message names the option, the variable and the word.
    """
    where = f"models of the tab {method.title} (--{method.name}-model or {method.model_variable})"
    words = list(_words(method))
    if len(words) > 1 and method.name in ONE_MODEL:
        raise ValueError(f"{where}: name one, not {len(words)}, for {ONE_MODEL[method.name]}.")
    for word in words:
        try:
            _check(word, method)
        except ValueError as error:
            raise ValueError(f"{where}: {error}.") from error


def fetch(model: Offered, class_name: str, tell: Tell | None = None) -> None:
    """Fetch a model, so that loading it needs no network; nothing is done where it is here.

    Args:
        class_name: of its pipeline.
        tell: is told how far the work on published weights is.

    Raises:
        MissingPackage, OSError, ValueError: as in `provide`, and in the pipeline's `download`.
    """
    if model.is_here:
        return
    if model.published is not None:
        provide(model.published, tell=tell)
    elif _HUB_ID.fullmatch(model.source):  # of a folder that went away loading says more
        pipeline_class(class_name).download(model.source)


def _words(method: Method) -> Iterator[str]:
    value = os.environ.get(method.model_variable, "").strip()
    if os.path.isdir(os.path.expanduser(value)):  # its name may have a comma
        words = [value]
    else:
        words = [word.strip() for word in value.split(",") if word.strip()]
    yield from dict.fromkeys(words or [STARTER])


def _offered(word: str, method: Method) -> Offered:
    if word == STARTER:
        return Offered(STARTER, starter(method.model))
    place = os.path.expanduser(word)
    published = find_published(place, method.class_name)
    if published is not None:
        return Offered(PUBLISHED, str(converted_folder(published) or published.name), published)
    # Of a path the last part also while the folder is away: names are those with which the page was laid out.
    on_the_hub = _HUB_ID.fullmatch(word) and not os.path.isdir(place)
    return Offered(word if on_the_hub else Path(os.path.abspath(place)).name, place)


def _check(word: str, method: Method) -> None:
    model = _offered(word, method)
    if word == STARTER:
        return
    if model.published is not None:
        if model.published.unknown and not model.is_here:
            raise ValueError(
                f"{word} cannot be fetched, because where {', '.join(model.published.unknown)} lies is not known here. "
                f"Fetch it by hand from {model.published.page} and say `facekit fetch {model.published.name} "
                "--from FOLDER`"
            )
    elif model.is_here:
        if not Path(model.source, INDEX).is_file():
            raise ValueError(f"the folder {word} holds no model: there is no {INDEX} in it")
    elif "/" not in word and os.sep not in word:
        raise ValueError(
            f"{word!r} is no folder here and no word that is known: name a folder, ORG/NAME on the Hub, {STARTER} or "
            f"{PUBLISHED}"
        )
    elif not _HUB_ID.fullmatch(word) or Path(word).parent.is_dir():
        raise ValueError(f"there is no folder {word}")
