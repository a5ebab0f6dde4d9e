"""Which model is to be exported, and what its card says."""

import json
from pathlib import Path

from diffusers import DiffusionPipeline
from huggingface_hub import ModelCard, hf_hub_download

from facekit.hub.errors import explain_errors
from facekit.hub.starters import starter, starters

INDEX, CARD = "model_index.json", "README.md"


def find_model(model: str) -> tuple[str, str]:
    """Where a model is, and the class of its pipeline by name.

    Args:
        model: a starter's name such as "face-restore", a model folder, or a Hub id.

    Raises:
        OSError: there is no such model, or the Hub cannot be reached.
        ValueError: it is one network, or another thing than a pipeline.
    """
    place = starter(model) if model in starters() and not Path(model).is_dir() else model
    if Path(place).is_dir():
        index = Path(place, INDEX)
        if not index.is_file():
            raise ValueError(f"it has no {INDEX}: name the folder of a pipeline, not of one network")
        name = json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    else:
        with explain_errors(place) as options:
            name = DiffusionPipeline.load_config(place, **options).get("_class_name")
    if not isinstance(name, str):
        raise ValueError(f"{INDEX} names no pipeline")
    return place, name


def read_card(place: str) -> tuple[str | None, str | None]:
    """Text and licence of the card of a model folder or Hub id; None for what is not there."""
    path = Path(place, CARD)
    if not Path(place).is_dir():
        try:
            with explain_errors(place) as options:
                path = Path(hf_hub_download(place, CARD, **options))
        except OSError:
            return None, None
    if not path.is_file():
        return None, None
    text = path.read_text(encoding="utf-8")
    try:
        licence = ModelCard(text).data.get("license")
    except ValueError:  # metadata that cannot be read
        licence = None
    return text, licence if isinstance(licence, str) else None
