"""Runs in a process of its own, whose HF_ENDPOINT is the stand-in: a JSON request a line, an answer a line.

huggingface_hub reads its addresses when it is imported, so the tests' own process cannot be the client.
"""

import json
import sys
import traceback
from typing import Any

import diffusers
import huggingface_hub
import torch

import facekit
from facekit.conditions.semantics import load_parser
from facekit.hub.fetching import download_files
from facekit_cli.evaluation.participants import parse_participant

# A broken download is resumed from the last whole chunk; the tests' files are smaller than the usual one.
huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 1024

LOADERS = {
    "bare": diffusers.DiffusionPipeline,
    "pipeline": facekit.FaceInpaintPipeline,
    "network": facekit.ResidualInpainter,
}


# What fetches without loading a network of the tests.
FETCHERS = {
    "convert": lambda repo: download_files(repo, ["*.json"]),
    "evaluate": lambda repo: parse_participant(f"other={repo}"),
    "parser": load_parser,
}


def load(loader: str, repo: str, **options: Any) -> dict[str, Any]:
    """Load and describe what came: class, the mark that the test put into the weights, dtype."""
    if loader in FETCHERS:
        return {"fetched": str(FETCHERS[loader](repo))}
    if "dtype" in options:
        options["dtype"] = getattr(torch, options["dtype"])
    loaded = LOADERS[loader].from_pretrained(repo, **options)
    network = loaded if loader == "network" else loaded.residual_inpainter
    weight = next(network.parameters())
    return {
        "class": type(loaded).__name__,
        "mark": float(weight.detach().flatten()[0]),
        "dtype": str(weight.dtype).removeprefix("torch."),
    }


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        try:
            answer = {"result": load(**json.loads(line))}
        except Exception as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            answer = {"error": str(error), "kinds": kinds, "trace": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
