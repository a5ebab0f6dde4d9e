"""The restorer that training starts from, and what stands in for networks that a first stage does without."""

from typing import Any

from torch import Tensor

from facekit.models.restorer import RestoreAutoEncoder
from train.checks import check_form


def find_style_columns(restorer: RestoreAutoEncoder) -> tuple[range, range]:
    """Which numbers of a style vector are the style code's (none without codes), and which the random style's."""
    size = restorer.config.style_dim
    first = size if restorer.config.use_style_codes else 0
    return range(first), range(first, first + size)


def change_options(restorer: RestoreAutoEncoder, options: dict[str, Any]) -> RestoreAutoEncoder:
    """A restorer of the same weights with other options, of those that change no shapes: `dropout`, `residual`.

    One that becomes residual begins as the identity.

    Raises:
        ValueError: the options ask for the other form.
        RuntimeError: an option changes shapes.
    """
    check_form(restorer, options.get("form", restorer.config.form))
    if all(restorer.config[name] == value for name, value in options.items()):
        return restorer
    changed = RestoreAutoEncoder.from_config({**restorer.config, **options})
    changed.load_state_dict(restorer.state_dict())
    if changed.config.residual and not restorer.config.residual:
        changed.silence_rgb()
    return changed


def make_empty_prompts(restorer: RestoreAutoEncoder, image: Tensor) -> dict[str, Any]:
    """Zeros for the restorer in place of codes and features, by the names of its arguments; `image` is [B, 3, S, S]."""
    batch, nothing = image.shape[0], image.new_zeros(())
    features = [
        nothing if shape is None else nothing.expand(batch, *shape) for shape in restorer.feature_shapes
    ]
    codes = image.new_zeros(batch, restorer.num_styles, restorer.config.style_dim)
    return {"style_codes": codes, "features": features}
