"""The restorer that training starts from, and what stands in for networks that a first stage does without."""

from typing import Any

from torch import Tensor

from facekit.models.layers.linear import channels_at
from facekit.models.restorer import RestoreAutoEncoder


def find_style_columns(restorer: RestoreAutoEncoder) -> tuple[range, range]:
    """Which numbers of a style vector are the style code's (none without codes), and which the random style's."""
    size = restorer.config.style_dim
    first = size if restorer.config.use_style_codes else 0
    return range(first), range(first, first + size)


def change_options(restorer: RestoreAutoEncoder, options: dict[str, Any]) -> RestoreAutoEncoder:
    """A restorer of the same weights with other options, of those that change no shapes: `dropout`, `residual`.

    One that becomes residual begins as the identity.

    Raises:
        RuntimeError: an option changes shapes.
    """
    if all(restorer.config[name] == value for name, value in options.items()):
        return restorer
    changed = RestoreAutoEncoder.from_config({**restorer.config, **options})
    changed.load_state_dict(restorer.state_dict())
    if changed.config.residual and not restorer.config.residual:
        changed.silence_rgb()
    return changed


def make_empty_prompts(restorer: RestoreAutoEncoder, image: Tensor) -> dict[str, Any]:
    """Zeros for the restorer in place of codes and features, by the names of its arguments; `image` is [B, 3, S, S]."""
    config, batch = restorer.config, image.shape[0]
    features = [image.new_zeros(())] + [
        image.new_zeros(()).expand(
            batch, channels_at(4 * 2**k, config.channel_base, config.max_channels), *side
        )
        for k in range(1, restorer.num_levels + 1)
        for side in [(4 * 2**k, 4 * 2**k)]
    ]
    codes = image.new_zeros(batch, restorer.num_styles, config.style_dim)
    return {"style_codes": codes, "features": features}
